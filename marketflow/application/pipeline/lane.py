"""The way of one exchange's chunks from its listener to the collector, and how many are on it."""

import threading
from collections import deque
from collections.abc import Callable

from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.messages import Heard, Origin

IN_FLIGHT = 64  # chunks a source may have between listener and collector


class Lane:
    """Admits a bounded number of chunks, so that a flooding source blocks only itself.

    A chunk whose way is free takes no lock: each step is one change of a deque, which no other
    thread sees half done. Who waits says so before he looks again, so none is forgotten.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.work: Channel[Heard] = Channel(f"work-{origin.exchange}", IN_FLIGHT)
        self._received_ms: deque[int] = deque()
        self._waiting = 0  # threads
        self._settled = threading.Condition()

    def enter(self, received_ms: int) -> None:
        """Note a chunk as on its way; the listener calls it before anything else."""
        self._received_ms.append(received_ms)

    def withdraw(self) -> None:
        """Take back the chunk noted last: it will not be queued."""
        self._received_ms.pop()
        self._tell()

    def wait_for_slot(self) -> None:
        """Wait until the chunk noted last may be queued."""
        if len(self._received_ms) > IN_FLIGHT:
            self._wait_for(lambda: len(self._received_ms) <= IN_FLIGHT)

    def settle(self) -> None:
        """Note that the collector has absorbed the oldest chunk."""
        self._received_ms.popleft()
        if self._waiting:
            self._tell()

    def in_flight(self) -> int:
        """Return how many chunks are on their way."""
        return len(self._received_ms)

    def oldest_ms(self) -> int | None:
        """Return when the oldest chunk on its way was received."""
        try:
            return self._received_ms[0]
        except IndexError:
            return None

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait until every chunk was absorbed; False after *timeout* seconds."""
        return self._wait_for(lambda: not self._received_ms, timeout)

    def _wait_for(self, is_so: Callable[[], bool], timeout: float | None = None) -> bool:
        with self._settled:
            self._waiting += 1
            try:
                return self._settled.wait_for(is_so, timeout)
            finally:
                self._waiting -= 1

    def _tell(self) -> None:
        with self._settled:
            self._settled.notify_all()
