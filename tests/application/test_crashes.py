"""A process that dies at any point, again and again: in the end the stored rows are the ledger."""

from pathlib import Path
from random import Random

import pytest

from marketflow.adapters.storage.journal import FileJournal
from marketflow.adapters.storage.outbox import SqliteOutbox
from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from tests.application.ledger import Ledger, check_rows
from tests.application.rig import Rig
from tests.application.test_restorer import StopAfter
from tests.fake_sources import SYMBOLS, line
from tests.fakes import ManualClock, MemoryMinuteStore, MemoryOutbox

RULES = MinuteRules(interval_ms=2_000, grace_ms=300, late_intervals=3)
SKEW_MS = 1_000
FEEDS = [(Mode.LIVE, "exchange1"), (Mode.LIVE, "exchange2"), (Mode.TEST, "exchange1")]
GAPS_MS = [0, 1, 15, 15, 40, 120, 120, 400, 2_500]
PAUSES_MS = [0, 5, 300, 2_000, 7_000, 65_000, 200_000]


class Disk:
    """What outlives a process: the journal's directory, outbox, store; and the wall clock."""

    def __init__(self, directory: Path, *, sqlite: bool):
        self.journal = directory / "journal"
        self.wall_ms = ManualClock().now().wall_ms
        self.outbox, self.store = MemoryOutbox(), MemoryMinuteStore()
        if sqlite:
            clock = ManualClock()
            self.outbox = SqliteOutbox(
                directory / "outbox.db", max_age_ms=10**12, max_bytes=10**9, clock=clock
            )
            self.store = SqliteStore(directory / "marketflow.db")

    def close(self):
        self.outbox.close()
        self.store.close()


class Life:
    """One process: starts from what is on disk, and can be dropped at any moment."""

    def __init__(self, disk, ledger, rng, *, stop_while_restoring=False):
        self.disk, self.ledger, self.rng = disk, ledger, rng
        self.journal = FileJournal(disk.journal, max_bytes=10**8, rows_need_ms=10**6)
        self.clock = ManualClock(mono_ms=rng.randint(10**6, 10**9), wall_ms=disk.wall_ms)
        self.rig = Rig(
            clock=self.clock,
            rules=RULES,
            span_ms=4_000,
            journal=self.journal,
            outbox=disk.outbox,
            store=disk.store,
            skew_ms=SKEW_MS,
            stopping=StopAfter(rng.randint(0, 30)) if stop_while_restoring else None,
        )
        self.feeds = [self.rig.feed(exchange, mode=mode) for mode, exchange in FEEDS]
        self.working = []
        self.now = 0.0
        self.rig.market.restoring = True
        self.rig.restorer.run()

    def step(self):
        """Do one thing that a thread of the process might do next."""
        kind = self.rng.random()
        if kind < 0.55 and len(self.working) < 60:
            self._hear()
        elif kind < 0.8:
            self._absorb(self.rng.randint(0, len(self.working)))
        elif kind < 0.9:
            self.rig.collector.close_minutes(self.clock.now())
        else:
            self.now += self.rng.choice([0.05, 1.0])
            self.rig.flusher.flush(self.rig.closings.take(self.rng.randint(1, 9), 0), self.now)

    def crash(self):
        """End without a word."""
        self._end()

    def stop(self):
        """End as on a signal."""
        self._absorb(len(self.working))
        self.rig.finish()
        self._end()

    def _hear(self):
        at = self.rng.randrange(len(FEEDS))
        now = self.clock.advance(self.rng.choice(GAPS_MS))
        ticks = [
            (
                self.rng.choice(SYMBOLS),
                self.rng.choice([0.1, 0.3, self.rng.uniform(1, 2)]),
                now.wall_ms - self.rng.choice([0, 0, 30, 1_999, 5_000, 7_000, 9_000, -900]),
            )
            for _ in range(self.rng.randint(1, 4))
        ]
        for tick in ticks:
            self.ledger.add(
                *(*FEEDS[at], *tick), received_ms=now.wall_ms, received_mono=now.mono_ms
            )
        self.working.append(self.feeds[at].hear(b"".join(line(*tick) for tick in ticks)))

    def _absorb(self, count):
        self.rng.shuffle(self.working)
        for _ in range(count):
            self.rig.receive(self.working.pop())

    def _end(self):
        self.disk.wall_ms = self.clock.now().wall_ms + self.rng.choice(PAUSES_MS)
        self.journal.close()  # its bytes were written before; a test must not leak descriptors


@pytest.mark.parametrize(
    ("seed", "sqlite"), [*((seed, False) for seed in range(12)), (100, True), (101, True)]
)
def test_in_the_end_the_stored_rows_are_the_ledger(tmp_path, seed, sqlite):
    disk, ledger, rng = Disk(tmp_path, sqlite=sqlite), Ledger(interval_ms=2_000), Random(seed)
    for _ in range(10 if sqlite else 25):
        life = Life(disk, ledger, rng, stop_while_restoring=rng.random() < 0.2)
        for _ in range(rng.choice([0, 5, 60, 150])):
            if not sqlite and rng.random() < 0.05:
                disk.outbox.down = rng.choice([None, "full"])
                disk.store.down = rng.choice([None, "away"])
            life.step()
        if rng.random() < 0.25:
            life.stop()
        else:
            life.crash()
    disk.outbox.down = disk.store.down = None
    last = Life(disk, ledger, rng)
    last.stop()
    found = [row for mode in Mode for symbol in SYMBOLS for row in rows_of(disk, mode, symbol)]
    check_rows(found, ledger.minutes)
    assert disk.outbox.count() == 0
    assert len(ledger.minutes) > 50
    disk.close()


def rows_of(disk, mode, symbol):
    return disk.store.rows(mode, symbol, None, 0, 2**60)
