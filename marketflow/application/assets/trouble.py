"""Whether a store works, and when to try it again: told to the log when it changes."""

import logging
from threading import Lock

from marketflow.application.pipeline.backoff import Backoff

log = logging.getLogger(__name__)

_LEAST_WAIT_S = 0.05


class Trouble:
    """Notes failures and successes of one store, from any thread.

    *starts* and *ends* are the sentences for the log. Times are monotonic milliseconds.
    """

    def __init__(self, *, starts: str, ends: str) -> None:
        self.problem: str | None = None  # one sentence while it lasts
        self.errors = 0  # attempts that failed
        self.retry_mono = 0  # not to be tried again before
        self._starts = starts
        self._ends = ends
        self._since_mono = 0
        self._backoff = Backoff(0.2, 2.0)
        self._lock = Lock()

    def wait_s(self, usual_s: float, now_mono: int) -> float:
        """Return how long to wait for work: *usual_s*, in trouble until the next attempt."""
        if self.problem is None:
            return usual_s
        return max(_LEAST_WAIT_S, (self.retry_mono - now_mono) / 1000)

    def failed(self, reason: str, now_mono: int) -> None:
        """Note that an attempt failed."""
        with self._lock:
            started = self.problem is None
            self.problem = reason
            self.errors += 1
            if now_mono >= self.retry_mono:  # of attempts side by side the first one counts
                self.retry_mono = now_mono + round(self._backoff.next() * 1000)
            if started:
                self._since_mono = now_mono
        if started:
            log.warning(self._starts, extra={"reason": reason})

    def succeeded(self, now_mono: int) -> None:
        """Note that an attempt succeeded."""
        if self.problem is None:
            return
        with self._lock:
            self.problem = None
            self.retry_mono = now_mono
            self._backoff.reset()
            for_s = round((now_mono - self._since_mono) / 1000, 1)
        log.info(self._ends, extra={"for_s": for_s})
