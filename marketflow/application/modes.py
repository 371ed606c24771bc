"""Switching between live and test: the old intake wholly out, a reset, the new one in."""

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.intake import Intake, IntakeFactory
from marketflow.application.pipeline.messages import Batch, Reset
from marketflow.application.state import Market, State
from marketflow.domain.errors import ChannelClosed, Restoring
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

_SWITCH_S = 5.0  # how long a switch waits for the old intake


class Switched(NamedTuple):
    """The outcome of a request to switch."""

    mode: Mode
    previous: Mode
    changed: bool


class Modes:
    """Owns the current intake; one switch at a time."""

    def __init__(
        self,
        mode: Mode,
        *,
        new_intake: IntakeFactory,
        new_state: Callable[[Mode, int], State],
        batches: Channel[Batch | Reset],
        market: Market,
    ) -> None:
        self._new_intake = new_intake
        self._new_state = new_state
        self._batches = batches
        self._market = market
        self._lock = threading.Lock()
        self._stopped = False
        self._listening = False
        self._number = 0
        self.intake: Intake = new_intake(mode, self._number)

    @property
    def mode(self) -> Mode:
        """The mode whose sources are listened to."""
        return self.intake.mode

    def start(self) -> None:
        """Start listening in the first mode."""
        self.intake.start()
        self._listening = True

    def switch(self, mode: Mode) -> Switched:
        """Change to *mode*; on return every answer is the new mode's. Blocks for a moment.

        Raises:
            Restoring: the journal is being replayed; nothing has changed.
            ChannelClosed: the service is stopping.
        """
        with self._lock:
            if self._market.restoring:
                raise Restoring("restoring")
            previous = self.intake.mode
            if self._stopped:
                raise ChannelClosed("batches")
            if mode == previous:
                return Switched(previous, previous, changed=False)
            self._listening = False
            stuck = self.intake.stop(monotonic() + _SWITCH_S)
            if stuck:
                log.error("old intake given up", extra={"mode": previous, "alive": stuck})
            self._number += 1
            reset = Reset(self._new_state(mode, self._number))
            self._batches.put(reset)
            reset.done.wait(_SWITCH_S)
            self.intake = self._new_intake(mode, self._number)
            self.intake.start()
            self._listening = True
        log.info("mode switched", extra={"mode": mode, "previous": previous})
        return Switched(mode, previous, changed=True)

    def threads(self) -> tuple[int, int]:
        """Return how many threads there should be, and how many are alive; none in a switch."""
        return self.intake.threads() if self._listening else (0, 0)

    def revive(self) -> int:
        """Start the intake's dead threads again, unless a switch is under way; how many."""
        if not self._lock.acquire(blocking=False):
            return 0
        try:
            return 0 if self._stopped else self.intake.revive()
        finally:
            self._lock.release()

    def stop(self, deadline: float) -> list[str]:
        """Stop listening for good; the names of what was still alive at *deadline*."""
        # a switch under way finishes first, unless it takes too long
        locked = self._lock.acquire(timeout=max(0.0, deadline - monotonic()))
        try:
            self._stopped = True
            return self.intake.stop(deadline)
        finally:
            if locked:
                self._lock.release()
