"""A baton: who holds it runs, the others wait, unless its holder is stuck."""

import threading


class Baton:
    """Passed between threads of which one at a time should run.

    Unlike a lock it holds nobody up for ever: who waits *patience_s* without its changing hands
    takes its holder for stuck, and goes on without it.
    """

    def __init__(self, patience_s: float = 0.05) -> None:
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._times_taken = 0

    def take(self) -> bool:
        """Wait for it; False if its holder is stuck. Who took it gives it back."""
        while True:
            seen = self._times_taken
            if self._lock.acquire(timeout=self._patience_s):
                self._times_taken += 1
                return True
            if self._times_taken == seen:
                return False

    def give_back(self) -> None:
        """Let another take it."""
        self._lock.release()

    def is_held(self) -> bool:
        """Whether anybody has it."""
        return self._lock.locked()
