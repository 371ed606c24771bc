"""What outlives a process, and what surrounds it: disk, outbox, store, time, and the judge."""

import os
from random import Random

from marketflow.adapters.storage.outbox import SqliteOutbox
from marketflow.adapters.storage.segment import BadRecord, Segment, decode
from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from tests.fake_sources import SYMBOLS
from tests.fakes import ManualClock, MemoryMinuteStore, MemoryOutbox
from tests.simulation.gate import Faults, Gate
from tests.simulation.gated import GatedOs, GatedOutbox, GatedPath, GatedStore
from tests.simulation.memory_os import MemoryOs, MemoryPath
from tests.simulation.oracle import Oracle

RULES = MinuteRules(interval_ms=2_000, grace_ms=300, late_intervals=3)
SKEW_MS = 1_000
_START_MS = 57_000  # into a minute: soon there is a second segment, and soon the first one goes


class MemoryDrive:
    """Journal, outbox and store in memory."""

    def __init__(self):
        self.os = MemoryOs()
        self.store = MemoryMinuteStore()
        self._outbox = MemoryOutbox()

    def journal_directory(self, gated):
        return MemoryPath(gated)

    def new_outbox(self):
        """Return the outbox as the next process finds it: nothing is parked."""
        rows, self._outbox = self._outbox.all(), MemoryOutbox()
        self._outbox.keep(rows)
        return self._outbox

    def cut_power(self, rng):
        """Take what was not forced to the disk; return the records still in the journal."""
        self.os.cut_power(rng)
        return set(_records(MemoryPath(self.os)))

    def close(self):
        pass


class FileDrive:
    """Journal, outbox and store in real files under *directory*."""

    def __init__(self, directory):
        directory.mkdir()
        self.os = os
        self.store = SqliteStore(directory / "marketflow.db")
        self._directory = directory
        self._outbox = None

    def journal_directory(self, gated):
        kind = type("JournalPath", (GatedPath,), {"disk": gated})
        return kind(self._directory / "journal")

    def new_outbox(self):
        """Return the outbox as the next process finds it."""
        self.close_outbox()
        self._outbox = SqliteOutbox(
            self._directory / "outbox.db", max_age_ms=10**12, max_bytes=10**9, clock=ManualClock()
        )
        return self._outbox

    def cut_power(self, rng):
        """Do nothing: the kernel keeps what it was given."""
        return set(_records(self._directory / "journal"))

    def close_outbox(self):
        if self._outbox is not None:
            self._outbox.close()

    def close(self):
        self.close_outbox()
        self.store.close()


class World:
    """One history's surroundings, and what came of it."""

    def __init__(self, drive):
        self._drive = drive
        self.steps = 0  # durable ones, that the history took
        self.judged = self.damaged = 0  # minutes, and those that the journal had lost a part of
        self.gate, self.faults = Gate(), Faults()
        self.oracle = Oracle(
            interval_ms=RULES.interval_ms, late_intervals=RULES.late_intervals, skew_ms=SKEW_MS
        )
        self.os = GatedOs(drive.os, self.gate, self.faults)
        self.journal_directory = drive.journal_directory(self.os)
        self.store = GatedStore(drive.store, self.gate, self.faults, self.oracle)
        self.true_ms = ManualClock().now().wall_ms + _START_MS
        self.offset_ms = 0  # of the next process' clock

    def new_outbox(self):
        return GatedOutbox(self._drive.new_outbox(), self.gate, self.faults, self.oracle)

    def end_process(self, down_ms):
        """Take from the process what it had open, and let time pass."""
        self.os.end_process()
        self.oracle.end_life()
        self.true_ms += down_ms

    def cut_power(self, seed):
        """Take from the disk what was not forced; call it after the process has ended."""
        self.oracle.lose_all_but(self._drive.cut_power(Random(seed)))

    def rows(self):
        """Return every row in the store."""
        return [
            row
            for mode in Mode
            for symbol in SYMBOLS
            for row in self._drive.store.rows(mode, symbol, None, 0, 2**47)
        ]

    def close(self):
        self._drive.close()


def _records(directory):
    try:
        segments = Segment.find(directory)
    except FileNotFoundError:
        return
    for segment in segments:
        try:
            yield from decode(segment.path.read_bytes())
        except BadRecord:  # torn: the rest is lost
            continue
