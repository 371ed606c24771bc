"""In-memory stand-ins for the ports; they keep every promise of the port they stand in for."""

from collections.abc import Iterable, Iterator, Sequence
from threading import Lock

from marketflow.application.ports import Instant, JournalRecord, JournalStatus
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.minute import MinuteKey, MinuteRow
from marketflow.domain.mode import Mode


class ManualClock:
    """A clock that moves when it is told to."""

    def __init__(self, *, mono_ms: int = 1_000_000, wall_ms: int = 1_746_448_560_000) -> None:
        self._now = Instant(mono_ms, wall_ms)
        self._step_ms = 0

    def now(self) -> Instant:
        return self._now

    def follow(self) -> int:
        return self._step_ms

    def advance(self, ms: int) -> Instant:
        """Let *ms* milliseconds pass and return the new moment."""
        self._now = Instant(self._now.mono_ms + ms, self._now.wall_ms + ms)
        return self._now

    def step(self, ms: int) -> None:
        """Set the system's wall clock *ms* ahead (or back); `now` takes no notice."""
        self._step_ms += ms


class MemoryJournal:
    """A journal whose disk is a list; `reopened` is what the next process would see.

    Set `problem` to a sentence and appended chunks are lost until it is None again.
    """

    def __init__(self, earlier: Iterable[JournalRecord] = (), *, complete_from_ms: int = 0) -> None:
        self.earlier = list(earlier)
        self.appended: list[JournalRecord] = []
        self.problem: str | None = None
        self.syncs = 0
        self.closed = False
        self._complete_from_ms = complete_from_ms
        self._lost = 0
        self._lock = Lock()

    def complete_from_ms(self) -> int:
        return self._complete_from_ms

    def replay(self) -> Iterator[JournalRecord]:
        yield from list(self.earlier)

    def append(self, record: JournalRecord) -> None:
        if self.closed:
            raise RuntimeError("journal is closed")
        with self._lock:
            if self.problem:
                self._lost += 1
            else:
                self.appended.append(record)

    def sync(self) -> None:
        self.syncs += 1

    def release(self, before_ms: int) -> None:
        with self._lock:
            held = self.earlier + self.appended
            self.earlier = [record for record in self.earlier if record.received_ms >= before_ms]
            self.appended = [record for record in self.appended if record.received_ms >= before_ms]
            if len(self.earlier) + len(self.appended) < len(held):
                self._complete_from_ms = max(self._complete_from_ms, before_ms)

    def status(self) -> JournalStatus:
        size = sum(len(record.chunk) for record in self.earlier + self.appended)
        return JournalStatus(size, self.problem, self._lost)

    def close(self) -> None:
        self.closed = True

    def reopened(self) -> "MemoryJournal":
        """Return the journal of a process started after this one ended."""
        return MemoryJournal(self.earlier + self.appended, complete_from_ms=self._complete_from_ms)


class _Rows:
    """Minute rows by key; set `down` to a reason and every use of them fails with it."""

    def __init__(self) -> None:
        self.down: str | None = None
        self._rows: dict[MinuteKey, MinuteRow] = {}
        self._lock = Lock()

    def check(self) -> None:
        if self.down is not None:
            raise StorageUnavailable(self.down)

    def rows(
        self, mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int
    ) -> list[MinuteRow]:
        return [
            row
            for row in self.all()
            if row.mode == mode
            and row.pair_name == symbol
            and exchange in (None, row.exchange)
            and from_ms <= row.timestamp_ms < to_ms
        ]

    def all(self) -> list[MinuteRow]:
        """Return every row, by time, then exchange."""
        self.check()
        with self._lock:
            rows = list(self._rows.values())
        return sorted(rows, key=lambda row: (row.timestamp_ms, row.exchange, row.pair_name))

    def keep(self, rows: Sequence[MinuteRow]) -> None:
        self.check()
        with self._lock:
            for row in rows:
                known = self._rows.get(row.key)
                if known is None or row.tick_count >= known.tick_count:
                    self._rows[row.key] = row

    def close(self) -> None:
        pass


class MemoryOutbox(_Rows):
    """An outbox that keeps its rows in a dict."""

    def __init__(self, *, max_age_ms: int = 604_800_000, max_rows: int = 1_000_000) -> None:
        super().__init__()
        self._max_age_ms = max_age_ms
        self._max_rows = max_rows

    def put(self, rows: Sequence[MinuteRow]) -> None:
        self.keep(rows)

    def oldest(self, limit: int) -> list[MinuteRow]:
        return self.all()[:limit]

    def acknowledge(self, rows: Sequence[MinuteRow]) -> None:
        self.check()
        with self._lock:
            for row in rows:
                known = self._rows.get(row.key)
                if known is not None and known.tick_count == row.tick_count:
                    del self._rows[row.key]

    def trim(self, now_ms: int) -> int:
        rows = self.all()
        over = max(0, len(rows) - self._max_rows)
        dropped = [
            row
            for place, row in enumerate(rows)
            if place < over or row.timestamp_ms < now_ms - self._max_age_ms
        ]
        with self._lock:
            for row in dropped:
                self._rows.pop(row.key, None)
        return len(dropped)

    def count(self) -> int:
        return len(self._rows)


class MemoryMinuteStore(_Rows):
    """A store that keeps its rows in a dict; `upserts` counts the transactions."""

    backend = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.upserts = 0

    def upsert(self, rows: Sequence[MinuteRow]) -> None:
        self.keep(rows)
        self.upserts += 1

    def ping(self) -> None:
        self.check()
