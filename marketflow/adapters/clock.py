"""The time: a wall clock that runs on the monotonic one, unharmed by steps of the system's."""

import time

from marketflow.application.ports import Instant

_MS_NS = 1_000_000
_new = tuple.__new__


class SystemClock:
    """Holds wall minus monotonic time fixed until the system's wall clock is off by too much."""

    def __init__(self, *, max_step_ms: int) -> None:
        self._max_step_ms = max_step_ms
        self._offset_ms = self._system_offset_ms()

    def now(self) -> Instant:
        mono_ms = time.monotonic_ns() // _MS_NS
        # as `Instant(…)` in half the time
        return _new(Instant, (mono_ms, mono_ms + self._offset_ms))

    def follow(self) -> int:
        step_ms = self._system_offset_ms() - self._offset_ms
        if abs(step_ms) > self._max_step_ms:
            self._offset_ms += step_ms
        return step_ms

    def _system_offset_ms(self) -> int:
        # rounded up: a tick stamped by the same machine is never ahead of its receipt
        return -((time.monotonic_ns() - time.time_ns()) // _MS_NS)
