"""One process of a history: the real parts, one step of one of its threads at a time."""

import threading
from random import Random

from marketflow.adapters.storage.journal import FileJournal
from marketflow.application.pipeline.backoff import Backoff
from marketflow.application.ports import JournalRecord
from marketflow.domain.mode import Mode
from tests.application.rig import Rig
from tests.fake_sources import EXCHANGES, SYMBOLS, line
from tests.fakes import ManualClock
from tests.simulation.gate import Crash
from tests.simulation.world import RULES, SKEW_MS

_IN_FLIGHT = 60  # of each source; its lane would make the listener wait for more
_SOURCES = EXCHANGES[:2]
_WINDOW_MS = 4_000


class Interruption(threading.Event):
    """What happens while the journal is replayed: *steps*, by the record before which they do."""

    def __init__(self, steps):
        super().__init__()
        self.life = None
        self._steps = steps
        self._records = 0

    def is_set(self):
        """Say whether the process is told to stop; the restorer asks before each record."""
        for step in self._steps.get(self._records, ()):
            if step == ("stop",):
                self.set()
            else:
                self.life.take(step)
        self._records += 1
        return super().is_set()


class Life:
    """A process from its start on, until it is stopped or simply not used any more."""

    def __init__(self, world, *, while_restoring=None):
        self.world = world
        self.number = world.oracle.life
        self.clock = ManualClock(
            mono_ms=1_000_000 * (1 + self.number % 7), wall_ms=world.true_ms + world.offset_ms
        )
        self.journal = FileJournal(world.journal_directory, max_bytes=10**9, rows_need_ms=10**9)
        interruption = Interruption(while_restoring or {})
        self.rig = Rig(
            clock=self.clock,
            rules=RULES,
            span_ms=_WINDOW_MS,
            journal=self.journal,
            outbox=world.new_outbox(),
            store=world.store,
            skew_ms=SKEW_MS,
            stopping=interruption,
        )
        # its jitter must be the same each time
        self.rig.flusher._backoff = Backoff(0.2, 2.0, Random(1))
        self.mode, self.intake = Mode.LIVE, 0
        self.working = []  # batches between workers and collector, by source
        self.stuck = []  # those of an intake that was given up
        self.disk_failed = world.faults.disk is not None
        self.sync_failed = world.faults.sync is not None
        self._listen()
        interruption.life = self
        self.rig.market.restoring = True
        world.oracle.restore(self.journal.complete_from_ms())
        self.rig.restorer.run()
        self.interrupted = interruption.is_set()

    def take(self, step):
        """Do one thing that a thread of the process may do next: a method's name, its arguments."""
        name, *arguments = step
        getattr(self, name)(*arguments)

    def hear(self, source, ticks, gap_ms):
        """Hear a chunk of (symbol, price, age) from *source*, *gap_ms* after the last."""
        self.pause(gap_ms)
        if len(self.working[source]) >= _IN_FLIGHT:
            return
        now = self.clock.now()
        told = [
            (SYMBOLS[symbol], price, self.world.true_ms - age_ms) for symbol, price, age_ms in ticks
        ]
        data = b"".join(line(*tick) for tick in told)
        feed = self.feeds[source]
        number = feed.listener._number
        record = JournalRecord(self.mode, _SOURCES[source], number, now.wall_ms, data)
        lost = self.journal.status().lost_chunks
        try:
            batch = feed.hear(data)
        except Crash as crash:
            if crash.site == "chunk written":  # before that, nobody has heard it
                self.world.oracle.hear(record, told, now.mono_ms)
            raise
        chunk = self.world.oracle.hear(record, told, now.mono_ms)
        chunk.journaled = self.journal.status().lost_chunks == lost
        assert chunk.journaled or self.disk_failed, "a chunk was lost without reason"
        self.working[source].append(batch)

    def absorb(self, count, seed):
        """Let *count* batches reach the collector, in any order."""
        rng = Random(seed)
        for _ in range(count):
            busy = [batches for batches in self.working if batches]
            if not busy:
                return
            batches = rng.choice(busy)
            self.rig.receive(batches.pop(rng.randrange(len(batches))))

    def absorb_stuck(self):
        """Let the batches of a worker that was given up arrive after all."""
        self.rig.receive(*self.stuck)
        self.stuck.clear()

    def close(self):
        """Let the collector close minutes."""
        self.rig.collector.close_minutes(self.clock.now())

    def flush(self, count):
        """Let the flusher take up to *count* closings, and move rows on."""
        closings = self.rig.closings.take(count, 0)
        self.rig.flusher.flush(closings, self.clock.now().mono_ms / 1000)

    def sync(self):
        """Let the journal be forced to the disk."""
        self.journal.sync()
        if not self.sync_failed:
            self.world.oracle.force()

    def pause(self, ms):
        """Let time pass."""
        self.clock.advance(ms)
        self.world.true_ms += ms

    def fault(self, part, state):
        """Break *part* of the surroundings, or mend it."""
        setattr(self.world.faults, part, state)
        self.disk_failed |= self.world.faults.disk is not None
        self.sync_failed |= self.world.faults.sync is not None

    def switch(self, given_up):
        """Switch modes; the last chunk of the source *given_up* may be stuck in its worker."""
        self.absorb_stuck()
        if given_up is not None:
            batches = self.working[given_up]
            # any other would be absorbed after its successors: its row would be no less true,
            # but not made of the first of its ticks
            last = self.feeds[given_up].listener._number - 1
            self.stuck = [batch for batch in batches if batch.number == last]
            self.working[given_up] = [batch for batch in batches if batch.number != last]
        self.absorb(2 * _IN_FLIGHT, 0)
        self.mode = Mode.TEST if self.mode == Mode.LIVE else Mode.LIVE
        self.intake += 1
        self.rig.switch(self.mode, self.intake)
        self._listen()

    def calm(self):
        """Let everything work and come to rest; then every minute that is over must be stored."""
        self.world.faults.heal()
        self.absorb_stuck()
        self.absorb(2 * _IN_FLIGHT, 0)
        self.pause(RULES.interval_ms)
        for _ in range(4):
            self.pause(2_500)  # longer than the flusher's patience
            self.close()
            self.flush(64)
        self._judge(self.clock.now().wall_ms - RULES.grace_ms - 2_500)

    def stop(self):
        """End as on a signal; if all is well, all that was heard is stored then."""
        self.absorb_stuck()
        self.absorb(2 * _IN_FLIGHT, 0)
        self.close()
        self.flush(64)
        self.rig.finish()
        self.journal.close()
        if not self.sync_failed:
            self.world.oracle.force()
        problem = self.rig.flusher.state.problem
        assert problem is None, problem
        if self.world.faults.is_well() and not self.interrupted:
            self._judge(2**60)

    def _listen(self):
        self.working = [[] for _ in _SOURCES]
        self.feeds = [
            self.rig.feed(exchange, mode=self.mode, intake=self.intake) for exchange in _SOURCES
        ]

    def _judge(self, until_ms):
        flusher = self.rig.flusher
        assert flusher.waiting_count() == 0, "nothing must wait when all is well"
        parked = {
            row.key
            for mode in Mode
            for symbol in SYMBOLS
            for row in flusher.waiting(mode, symbol, None, 0, 2**47)
        }
        assert len(parked) == flusher.parked_count()
        assert not parked or any("parked" in problem for problem in flusher.problems())
        self.world.oracle.judge(self.world.rows(), until_ms=until_ms, parked=parked)
