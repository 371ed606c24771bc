"""A bounded queue that can be closed."""

import queue
from time import monotonic
from typing import Generic, TypeVar

from marketflow.domain.errors import ChannelClosed

T = TypeVar("T")


class _End:
    """Left in a closed channel for its readers."""


_END = _End()


class Channel(Generic[T]):
    """A named `queue.Queue`: producers wait when it is full, readers finish when it is closed.

    Close it after its producers have stopped: what is put while it closes may be refused.
    """

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self._queue: queue.Queue[T | _End] = queue.Queue(capacity)
        self._closed = False

    def put(self, item: T, timeout: float | None = None) -> bool:
        """Add *item*, waiting up to *timeout* seconds for room; False if there was none.

        Raises:
            ChannelClosed: the channel was closed.
        """
        if self._closed:
            raise ChannelClosed(self.name)
        try:
            self._queue.put(item, timeout=timeout)
        except queue.Full:
            return False
        return True

    def get(self) -> T:
        """Return the next item, waiting for it.

        Raises:
            ChannelClosed: the channel is closed and empty.
        """
        while True:
            item = self._queue.get()
            if not isinstance(item, _End):
                return item
            self._pass_on()

    def take(self, limit: int, timeout: float) -> list[T]:
        """Return up to *limit* items, waiting at most *timeout* seconds for the first.

        Raises:
            ChannelClosed: the channel is closed and empty.
        """
        items: list[T] = []
        deadline = monotonic() + timeout
        try:
            while len(items) < limit:
                item = (
                    self._queue.get_nowait()
                    if items
                    else self._queue.get(timeout=max(0.0, deadline - monotonic()))
                )
                if isinstance(item, _End):
                    self._pass_on(quiet=bool(items))
                    if items:
                        break
                else:
                    items.append(item)
        except queue.Empty:
            pass
        return items

    def close(self) -> None:
        """Let readers finish what is queued, then stop; never waits for room."""
        with self._queue.mutex:
            if not self._closed:
                self._closed = True
                self._append_end()

    def depth(self) -> int:
        """Return how many items wait."""
        return max(0, self._queue.qsize() - self._closed)

    def _pass_on(self, *, quiet: bool = False) -> None:
        # a producer that was waiting for room may have put behind the end: read that first
        with self._queue.mutex:
            empty = not self._queue.queue
            self._append_end()
        if empty and not quiet:
            raise ChannelClosed(self.name)

    def _append_end(self) -> None:
        # past the bound on purpose: closing must not wait
        self._queue.queue.append(_END)
        self._queue.not_empty.notify()
