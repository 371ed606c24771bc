"""Looks after the others: restarts threads that died, samples rates, watches the clock."""

import logging
import threading
from collections.abc import Callable, Sequence

from marketflow.application.modes import Modes
from marketflow.application.pipeline.loop import Loop
from marketflow.application.ports import Clock
from marketflow.application.telemetry import Telemetry

log = logging.getLogger(__name__)

_STEP_S = 0.5
_NOTABLE_STEP_MS = 1_000


class Supervisor:
    """One look every half second."""

    def __init__(
        self,
        *,
        modes: Modes,
        loops: Callable[[], Sequence[Loop]],
        clock: Clock,
        telemetry: Telemetry,
        stopping: threading.Event,
    ) -> None:
        self._modes = modes
        self._loops = loops
        self._clock = clock
        self._telemetry = telemetry
        self._stopping = stopping

    def run(self) -> None:
        """Look until the service stops."""
        while not self._stopping.wait(_STEP_S):
            try:
                self.step()
            except Exception:
                log.exception("supervisor failed")

    def step(self) -> None:
        """Look once."""
        now_mono = self._clock.now().mono_ms
        died = sum(loop.revive() for loop in self._loops()) + self._modes.revive()
        if died:
            self._telemetry.thread_restarts += died
            self._telemetry.restart_mono = now_mono
        for feed in self._telemetry.feeds.values():
            feed.sample(now_mono)
        self._watch_clock()

    def _watch_clock(self) -> None:
        step_ms = self._clock.follow()
        before_ms, self._telemetry.clock_step_ms = self._telemetry.clock_step_ms, step_ms
        if abs(step_ms - before_ms) > _NOTABLE_STEP_MS:
            log.warning("system clock was stepped", extra={"by_s": (step_ms - before_ms) / 1000})
