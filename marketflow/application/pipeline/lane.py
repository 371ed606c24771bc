"""The way of one exchange's chunks from its listener to the collector, and how many are on it."""

import threading
from collections import deque

from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.messages import Heard, Origin

IN_FLIGHT = 64  # chunks a source may have between listener and collector


class Lane:
    """Admits a bounded number of chunks, so that a flooding source blocks only itself."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.work: Channel[Heard] = Channel(f"work-{origin.exchange}", IN_FLIGHT)
        self._slots = threading.Semaphore(IN_FLIGHT)
        self._received_ms: deque[int] = deque()
        self._settled = threading.Condition()

    def enter(self, received_ms: int) -> None:
        """Note a chunk as on its way; the listener calls it before anything else."""
        with self._settled:
            self._received_ms.append(received_ms)

    def withdraw(self) -> None:
        """Take back the chunk noted last: it will not be queued."""
        with self._settled:
            self._received_ms.pop()
            self._settled.notify_all()

    def wait_for_slot(self) -> None:
        """Wait until the chunk noted last may be queued."""
        self._slots.acquire()

    def settle(self) -> None:
        """Note that the collector has absorbed the oldest chunk."""
        self._slots.release()
        with self._settled:
            self._received_ms.popleft()
            if not self._received_ms:
                self._settled.notify_all()

    def in_flight(self) -> int:
        """Return how many chunks are on their way."""
        return len(self._received_ms)

    def oldest_ms(self) -> int | None:
        """Return when the oldest chunk on its way was received."""
        with self._settled:
            return self._received_ms[0] if self._received_ms else None

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait until every chunk was absorbed; False after *timeout* seconds."""
        with self._settled:
            return self._settled.wait_for(lambda: not self._received_ms, timeout)
