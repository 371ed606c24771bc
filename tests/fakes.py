"""In-memory stand-ins for the ports; they keep every promise of the port they stand in for."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from math import inf
from threading import Lock

from marketflow.application.ports import (
    WHOLE,
    EncodedTicks,
    Instant,
    JournalRecord,
    JournalStatus,
    MirrorEntry,
    Page,
    RefusedRow,
    Run,
    Series,
)
from marketflow.domain.candle import Candle, candle_of
from marketflow.domain.errors import CacheUnavailable, StorageUnavailable
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
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        page: Page = WHOLE,
    ) -> list[MinuteRow]:
        rows = [
            row
            for row in self.all()
            if row.mode == mode
            and row.pair_name == symbol
            and exchange in (None, row.exchange)
            and from_ms <= row.timestamp_ms < to_ms
            and (page.after is None or (row.timestamp_ms, row.exchange) > (from_ms, page.after))
        ]
        if page.limit is None:
            return rows
        return rows[-page.limit :] if page.newest else rows[: page.limit]

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
        self._parked: set[MinuteKey] = set()

    def put(self, rows: Sequence[MinuteRow]) -> None:
        self.keep(rows)
        self._parked.difference_update(row.key for row in rows)

    def oldest(self, limit: int) -> list[MinuteRow]:
        return [row for row in self.all() if row.key not in self._parked][:limit]

    def park(self, refused: Sequence[RefusedRow]) -> None:
        self.check()
        self._parked.update(row.key for row, _ in refused if row.key in self._rows)

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
        self._parked &= self._rows.keys()
        return len(dropped)

    def count(self) -> int:
        return len(self._rows) - len(self._parked)

    def parked(self) -> int:
        return len(self._parked)

    def notice(self) -> str | None:
        return None


class MemoryMinuteStore(_Rows):
    """A store that keeps its rows in a dict; `upserts` counts the transactions."""

    backend = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.upserts = 0

    def upsert(self, rows: Sequence[MinuteRow]) -> list[RefusedRow]:
        refused = [RefusedRow(row, "it is nonsense") for row in rows if not _makes_sense(row)]
        self.keep([row for row in rows if _makes_sense(row)])
        self.upserts += 1
        return refused

    def candles(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        interval_ms: int,
    ) -> list[Candle]:
        rows = self.rows(mode, symbol, exchange, from_ms + 1, to_ms + 1)
        return [candle_of(row, interval_ms) for row in rows]

    def runs(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        interval_ms: int,
    ) -> list[Run]:
        runs: dict[tuple[str, int], Run] = {}
        for row in self.rows(mode, symbol, exchange, from_ms, to_ms):
            end_ms = row.timestamp_ms
            if end_ms % interval_ms == 0:
                before = runs.pop((row.exchange, end_ms - interval_ms), None)
                first_ms = end_ms if before is None else before.first_end_ms
                runs[row.exchange, end_ms] = Run(row.exchange, first_ms, end_ms)
        return sorted(runs.values())

    def ping(self) -> None:
        self.check()


def _makes_sense(row: MinuteRow) -> bool:
    prices = (row.average_price, row.open_price, row.close_price)
    return (
        0 < row.min_price <= row.max_price < inf
        and all(row.min_price <= price <= row.max_price for price in prices)
        and 0 < row.tick_count < 2**63
    )


class MemoryMirror:
    """A mirror of ticks in dicts; `sends` counts what succeeded.

    Set `down` to a reason and every use fails with it; set `answer_lost` and the next `send` is
    taken, but fails all the same.
    """

    def __init__(self) -> None:
        self.down: str | None = None
        self.answer_lost = False
        self.sends = 0
        self.pings = 0
        self.closed = False
        self.latest: dict[tuple[Mode, str], dict[str, tuple[int, float]]] = {}
        self._streams: dict[Series, dict[int, EncodedTicks]] = {}

    def last_ids(self, series: Collection[Series]) -> dict[Series, int]:
        self._check()
        return {one: max(self._streams.get(one, ()), default=0) for one in series}

    def send(self, entries: Sequence[MirrorEntry], keep_from_ms: int) -> None:
        self._check()
        for id_ms, ticks in entries:
            series = ticks.series
            stream = self._streams.setdefault(series, {})
            if id_ms > max(stream, default=0):
                stream[id_ms] = ticks
            for old_ms in [known_ms for known_ms in stream if known_ms < keep_from_ms]:
                del stream[old_ms]
            latest = self.latest.setdefault((series.mode, series.symbol), {})
            latest[series.exchange] = (ticks.last_timestamp_ms, ticks.last_price)
        if self.answer_lost:
            self.answer_lost = False
            raise CacheUnavailable("the answer was lost")
        self.sends += 1

    def ping(self) -> None:
        self._check()
        self.pings += 1

    def close(self) -> None:
        self.closed = True

    def ids(self, series: Series) -> list[int]:
        """Return the ids of a series' entries, in order."""
        return list(self._streams.get(series, ()))

    def ticks(self, series: Series) -> list[tuple[int, float]]:
        """Return every tick of a series, in order."""
        return [
            (int(timestamp), float(price))
            for ticks in self._streams.get(series, {}).values()
            for timestamp, price in zip(
                ticks.timestamps_ms.split(b","), ticks.prices.split(b","), strict=True
            )
        ]

    def forget(self) -> None:
        """Lose everything, as a server without persistence does when it is started again."""
        self._streams.clear()
        self.latest.clear()

    def _check(self) -> None:
        if self.down is not None:
            raise CacheUnavailable(self.down)
