"""Stops asking an exchange that does not answer, and tries it again with a few questions."""

import logging
import sys
from enum import IntEnum
from threading import Lock

log = logging.getLogger(__name__)


class BreakerState(IntEnum):
    """How much an exchange is asked; the numbers are those of the metric."""

    CLOSED = 0  # everything
    HALF_OPEN = 1  # a few questions, to see whether it answers again
    OPEN = 2  # nothing


class Breaker:
    """Opens after *failures* in a row; *open_for_ms* later, *probes* successes close it again.

    While they are awaited at most *probes* questions are out at once, and one failure opens it
    again. Every question that was allowed ends in `succeeded`, `failed` or `withdrawn`. All times
    are monotonic milliseconds; any thread may call.
    """

    def __init__(
        self, exchange: str, *, failures: int = 5, open_for_ms: int = 30_000, probes: int = 2
    ) -> None:
        self.exchange = exchange
        self.state = BreakerState.CLOSED
        self.since_mono: int | None = None  # when the state changed last
        self.answered = False  # ever
        self.reason: str | None = None  # why a question failed last
        self._failures = failures
        self._open_for_ms = open_for_ms
        self._probes = probes
        self._in_a_row = 0  # failures, while closed
        self._out = 0  # questions not yet answered, while half-open
        self._proofs = 0  # successes, while half-open
        self._broken_mono = 0  # when it opened after having been closed
        self._lock = Lock()

    def room(self, now_mono: int) -> int:
        """Return how many more questions would be allowed now."""
        if self.state is BreakerState.CLOSED:
            return sys.maxsize
        if self.state is BreakerState.HALF_OPEN:
            return max(0, self._probes - self._out)
        return self._probes if self._is_over(now_mono) else 0

    def allow(self, now_mono: int) -> bool:
        """Whether the exchange may be asked one question now; it is then counted as asked."""
        if self.state is BreakerState.CLOSED:
            return True
        with self._lock:
            changed = self.state is BreakerState.OPEN and self._is_over(now_mono)
            if changed:
                self._enter(BreakerState.HALF_OPEN, now_mono)
            allowed = self.room(now_mono) > 0
            self._out += allowed
        if changed:
            log.debug("exchange is tried again", extra={"exchange": self.exchange})
        return allowed

    def succeeded(self, now_mono: int) -> None:
        """Note that a question was answered, be it that the asset is not listed."""
        if self.state is BreakerState.CLOSED and not self._in_a_row and self.answered:
            return  # nothing would change
        with self._lock:
            self.answered = True
            self._in_a_row = 0
            proved = self.state is BreakerState.HALF_OPEN and self._is_proof()
            if proved:
                self._enter(BreakerState.CLOSED, now_mono)
        if proved:
            for_s = round((now_mono - self._broken_mono) / 1000, 1)
            log.info("exchange answers again", extra={"exchange": self.exchange, "for_s": for_s})

    def failed(self, now_mono: int, reason: str) -> None:
        """Note that a question was not answered, or with nonsense."""
        with self._lock:
            before = self.state
            self.reason = reason
            self._in_a_row += 1
            broken = before is BreakerState.CLOSED and self._in_a_row >= self._failures
            if broken:
                self._broken_mono = now_mono
            if broken or before is BreakerState.HALF_OPEN:
                self._enter(BreakerState.OPEN, now_mono)
        context = {"exchange": self.exchange, "reason": reason}
        if broken:
            log.warning("exchange does not answer, it is not asked for a while", extra=context)
        elif before is BreakerState.HALF_OPEN:
            # an outage is told when it starts and when it ends: not at every try
            log.debug("exchange still does not answer", extra=context)

    def withdrawn(self) -> None:
        """Note that a question was not asked after all."""
        with self._lock:
            self._out = max(0, self._out - 1)

    def _is_over(self, now_mono: int) -> bool:
        return self.since_mono is None or now_mono - self.since_mono >= self._open_for_ms

    def _is_proof(self) -> bool:
        self._out = max(0, self._out - 1)
        self._proofs += 1
        return self._proofs >= self._probes

    def _enter(self, state: BreakerState, now_mono: int) -> None:
        self.state = state
        self.since_mono = now_mono
        self._in_a_row = self._out = self._proofs = 0
