"""Everything that listens and decodes for one mode: started as one, stopped as one."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from marketflow.application.pipeline.backoff import Backoff
from marketflow.application.pipeline.baton import Baton
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.listener import Listener
from marketflow.application.pipeline.loop import Loop
from marketflow.application.pipeline.messages import Batch, Heard, Origin, Reset
from marketflow.application.pipeline.workers import Workers
from marketflow.application.ports import Clock, Journal, TickSource
from marketflow.application.telemetry import Telemetry
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

_FIRST_DELAY_S = 0.5


@dataclass(frozen=True, slots=True)
class Plumbing:
    """What every intake is connected to."""

    inbox: Channel[Heard]
    batches: Channel[Batch | Reset]
    journal: Journal
    clock: Clock
    telemetry: Telemetry
    rules: MinuteRules
    workers_per_source: int
    backoff_max_s: float


class Intake:
    """One run of a mode's sources: a lane, a listener and a worker pool for each."""

    def __init__(
        self, mode: Mode, number: int, sources: Sequence[TickSource], plumbing: Plumbing
    ) -> None:
        self.mode = mode
        self.number = number
        self._lanes: list[Lane] = []
        self._listeners: list[Listener] = []
        self._loops: list[Loop] = []
        self._pools: list[Workers] = []
        self._baton = Baton()  # of all sources' workers
        for source in sources:
            self._add(source, plumbing)

    def start(self) -> None:
        """Start the workers, then listen."""
        for pool in self._pools:
            pool.start()
        for loop in self._loops:
            loop.start()

    def stop(self, deadline: float) -> list[str]:
        """Stop listening, let every chunk be absorbed, stop the workers.

        Returns the names of what was still alive at the monotonic *deadline*.
        """
        for listener in self._listeners:
            listener.close()
        stuck = [loop.name for loop in self._loops if not loop.join(deadline)]
        for pool in self._pools:
            pool.revive()  # nobody else does now: a chunk that a dead worker holds would not end
        stuck += [
            lane.work.name
            for lane in self._lanes
            if not lane.wait_until_empty(max(0.0, deadline - monotonic()))
        ]
        for pool in self._pools:
            if not pool.stop(deadline):
                stuck += pool.names
        return stuck

    def oldest_ms(self) -> int | None:
        """Return when the oldest chunk not yet absorbed was received."""
        ages = [age for lane in self._lanes if (age := lane.oldest_ms()) is not None]
        return min(ages, default=None)

    def channels(self) -> list[Channel[Heard]]:
        """Return the work channels."""
        return [lane.work for lane in self._lanes]

    def threads(self) -> tuple[int, int]:
        """Return how many threads there should be, and how many are alive."""
        expected = len(self._loops) + sum(len(pool.names) for pool in self._pools)
        alive = sum(loop.alive() for loop in self._loops)
        return expected, alive + sum(pool.alive() for pool in self._pools)

    def revive(self) -> int:
        """Start again what died; how many threads had."""
        return sum(loop.revive() for loop in self._loops) + sum(
            pool.revive() for pool in self._pools
        )

    def _add(self, source: TickSource, plumbing: Plumbing) -> None:
        lane = Lane(Origin(self.mode, source.exchange, self.number))
        listener = Listener(
            source,
            lane,
            journal=plumbing.journal,
            inbox=plumbing.inbox,
            clock=plumbing.clock,
            feed=plumbing.telemetry.feeds[source.exchange],
            backoff=Backoff(_FIRST_DELAY_S, plumbing.backoff_max_s),
        )
        self._lanes.append(lane)
        self._listeners.append(listener)
        self._loops.append(Loop(f"listener-{source.exchange}", listener.run))
        self._pools.append(
            Workers(
                lane,
                source.decode,
                count=plumbing.workers_per_source,
                rules=plumbing.rules,
                batches=plumbing.batches,
                baton=self._baton,
            )
        )


IntakeFactory = Callable[[Mode, int], Intake]
