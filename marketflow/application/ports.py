"""Every port of the service on one screen: what it needs from the world, without saying how."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from marketflow.domain.candle import Candle
from marketflow.domain.minute import MinuteRow
from marketflow.domain.mode import Mode
from marketflow.domain.tick import Decoded


class Instant(NamedTuple):
    """One moment on both clocks, in milliseconds; `wall_ms - mono_ms` is the same for long."""

    mono_ms: int
    wall_ms: int


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """Return this moment."""
        ...

    def follow(self) -> int:
        """Return by how far the system's wall clock is ahead of ours; adopt it if that is much."""
        ...


class TickSource(Protocol):
    """One exchange's feed."""

    exchange: str
    address: str  # for logs: where the ticks come from; holds no secret

    def chunks(self) -> Iterator[bytes]:
        """Connect, yield an empty chunk to say so, then chunks of whole lines, until closed.

        Raises:
            FeedLost: the connection could not be made, ended or fell silent; call again.
        """
        ...

    def decode(self, chunk: bytes, received_ms: int) -> Decoded:
        """Turn a chunk into ticks; never raises for anything an exchange may send."""
        ...

    def close(self) -> None:
        """End `chunks` soon, from any thread, for good."""
        ...


class Series(NamedTuple):
    """One pair of one exchange in one mode."""

    mode: Mode
    exchange: str
    symbol: str


class EncodedTicks(NamedTuple):
    """Ticks of one series in the order they were received, as text: made once, sent when needed."""

    series: Series
    timestamps_ms: bytes  # comma-separated
    prices: bytes  # comma-separated, as they were sent: read back, each is equal to the bit
    last_timestamp_ms: int
    last_price: float


class MirrorEntry(NamedTuple):
    """What one flush adds to a series; ids grow with time and stay with their entry."""

    id_ms: int
    ticks: EncodedTicks


class TickMirror(Protocol):
    """The last minutes of every series, for other programs to read; used by one thread."""

    def last_ids(self, series: Collection[Series]) -> dict[Series, int]:
        """Return the id of the newest entry the mirror holds of each of *series*, 0 for none.

        Raises:
            CacheUnavailable: the mirror cannot be read now.
        """
        ...

    def send(self, entries: Sequence[MirrorEntry], keep_from_ms: int) -> None:
        """Add *entries*, oldest first; what the mirror has, or has newer ids than, stays as it is.

        Ids below *keep_from_ms* are forgotten in the series that are added to.

        Raises:
            CacheUnavailable: the mirror may have any of them, but none without those before it.
        """
        ...

    def ping(self) -> None:
        """Check that the mirror can be written.

        Raises:
            CacheUnavailable: it cannot, with the reason.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class JournalRecord(NamedTuple):
    """A chunk as it was received."""

    mode: Mode
    source: str
    number: int
    received_ms: int
    chunk: bytes


class JournalStatus(NamedTuple):
    """What the operator may want to know of the journal."""

    size_bytes: int
    problem: str | None  # one sentence while chunks are not journaled
    lost_chunks: int  # not journaled since the start
    damaged_segments: int = 0  # what followed the damage in them was not replayed


class Journal(Protocol):
    """Every accepted chunk, on disk before it is queued; one reader at start, many writers."""

    def complete_from_ms(self) -> int:
        """Return from when on `replay` holds everything; minutes begun earlier are not whole."""
        ...

    def replay(self) -> Iterator[JournalRecord]:
        """Yield what earlier processes appended and nobody released, in order of arrival."""
        ...

    def append(self, record: JournalRecord) -> None:
        """Write *record* before returning; a failure shows in `status`, never raises."""
        ...

    def sync(self) -> None:
        """Force what was appended to the disk; a failure shows in `status`."""
        ...

    def release(self, before_ms: int) -> None:
        """Delete segments that hold only chunks received before *before_ms*."""
        ...

    def status(self) -> JournalStatus:
        """Describe the journal."""
        ...

    def close(self) -> None:
        """Sync and close; appending afterwards is an error."""
        ...


class Page(NamedTuple):
    """Which rows of a range are wanted; whatever they are, they come by time, then exchange."""

    limit: int | None = None  # at most so many
    newest: bool = False  # the last ones of the range, instead of the first
    after: str | None = None  # where the range begins, only those of exchanges after this one


WHOLE = Page()


class Run(NamedTuple):
    """Minutes of one exchange that follow each other without a gap."""

    exchange: str
    first_end_ms: int
    last_end_ms: int


class RefusedRow(NamedTuple):
    """A row that the store will never take as it is, and why, in the store's words."""

    row: MinuteRow
    reason: str


class Outbox(Protocol):
    """Rows on their way to the store: durable, one version per key, the better informed wins."""

    def put(self, rows: Sequence[MinuteRow]) -> None:
        """Keep *rows*, durably on return.

        Raises:
            StorageUnavailable: nothing was kept.
        """
        ...

    def oldest(self, limit: int) -> list[MinuteRow]:
        """Return up to *limit* rows that are not parked, oldest first.

        Raises:
            StorageUnavailable: the outbox cannot be read.
        """
        ...

    def acknowledge(self, rows: Sequence[MinuteRow]) -> None:
        """Delete *rows* where key and tick count are still the same.

        Raises:
            StorageUnavailable: they will be offered again, which is harmless.
        """
        ...

    def park(self, refused: Sequence[RefusedRow]) -> None:
        """Offer *refused* no more until another version is put, or the service starts again.

        Raises:
            StorageUnavailable: they will be offered again, and refused again.
        """
        ...

    def rows(
        self, mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int
    ) -> list[MinuteRow]:
        """Return the kept rows of a pair whose end is in [from_ms, to_ms).

        Raises:
            StorageUnavailable: the outbox cannot be read.
        """
        ...

    def trim(self, now_ms: int) -> int:
        """Drop the oldest rows over the outbox's bounds and return how many were dropped.

        Raises:
            StorageUnavailable: the outbox cannot be written.
        """
        ...

    def count(self) -> int:
        """Return how many rows wait, parked ones not counted, without touching the disk."""
        ...

    def parked(self) -> int:
        """Return how many rows are parked, without touching the disk."""
        ...

    def notice(self) -> str | None:
        """Return one sentence if rows were lost a moment ago, for the operator."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class MinuteStore(Protocol):
    """The table `market_data`."""

    backend: str

    def upsert(self, rows: Sequence[MinuteRow]) -> list[RefusedRow]:
        """Write *rows*, durably on return; of two versions the one with more ticks stays.

        Returns those that the store will never take; all the others are written.

        Raises:
            StorageUnavailable: nothing can be said about which were written; write again.
        """
        ...

    def rows(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        page: Page = WHOLE,
    ) -> list[MinuteRow]:
        """Return a pair's rows whose end is in [from_ms, to_ms), by time, then exchange.

        Raises:
            StorageUnavailable: the store cannot be read now.
        """
        ...

    def candles(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        interval_ms: int,
    ) -> list[Candle]:
        """Return each exchange's candles that open in [from_ms, to_ms), in any order.

        Made where the rows are: a year of them makes 365 candles of a day. Both times are
        multiples of *interval_ms*.

        Raises:
            StorageUnavailable: the store cannot be read now.
        """
        ...

    def runs(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        interval_ms: int,
    ) -> list[Run]:
        """Return the runs of minutes of that length whose end is in [from_ms, to_ms), by exchange.

        Raises:
            StorageUnavailable: the store cannot be read now.
        """
        ...

    def ping(self) -> None:
        """Check that the store can be written; creates what is missing.

        Raises:
            StorageUnavailable: it cannot, with the reason.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
