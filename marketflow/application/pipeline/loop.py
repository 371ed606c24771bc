"""A thread with a name, an owner and an end, that can be started again if it dies."""

import logging
import threading
from collections.abc import Callable
from time import monotonic

log = logging.getLogger(__name__)


class Loop:
    """Runs *body* on a named thread until it returns.

    A body that returns has ended; one whose thread vanished otherwise has died, and `revive`
    runs it again.
    """

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        self.name = name
        self._body = body
        self._ended = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def dead(self) -> bool:
        """Whether the thread was started and vanished without ending."""
        return self._thread is not None and not self._ended and not self._thread.is_alive()

    def revive(self) -> bool:
        """Start the thread again if it died; whether it had."""
        if not self.dead():
            return False
        log.error("thread died and is started again", extra={"loop": self.name})
        self.start()
        return True

    def join(self, deadline: float) -> bool:
        """Wait for the end until the monotonic *deadline*; whether it came."""
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self.alive()

    def _run(self) -> None:
        self._body()
        self._ended = True
