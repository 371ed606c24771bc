"""Fan-out: from the one inbox to the workers of each source."""

import logging

from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.messages import Heard
from marketflow.domain.errors import ChannelClosed

log = logging.getLogger(__name__)


class Distributor:
    """Routes every chunk to the work channel of its source, which always has room for it."""

    def __init__(self, inbox: Channel[Heard]) -> None:
        self._inbox = inbox

    def run(self) -> None:
        """Route until the inbox is closed."""
        while True:
            try:
                heard = self._inbox.get()
            except ChannelClosed:
                return
            try:
                heard.lane.work.put(heard)
            except ChannelClosed:
                # its intake was given up after its deadline; the journal still has the chunk
                context = {"source": heard.lane.origin.exchange}
                log.error("chunk came too late for its workers", extra=context)
