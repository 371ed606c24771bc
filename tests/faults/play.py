"""The real pipeline without its threads, its stores outliving it, and a ledger of what it heard."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from marketflow.adapters.storage.postgres import PostgresStore
from marketflow.domain.minute import MinuteRow, MinuteRules
from marketflow.domain.mode import Mode
from tests.application.rig import Rig
from tests.end_to_end.ledger import INTERVAL_MS, Sent, StoredRow
from tests.fake_sources import SYMBOLS, line
from tests.fakes import ManualClock, MemoryMinuteStore, MemoryOutbox
from tests.faults.invariants import check_stored
from tests.servers import SCHEMA, Database

RULES = MinuteRules(interval_ms=INTERVAL_MS, grace_ms=200, late_intervals=3)
PRICES = (3.0, 1.0, 2.5, 7.25, 0.1, 0.3, 4.0)
TIMEOUT_S = 0.3

_FOR_EVER_MS = 2**60
_PATIENCE_S = 60.0  # between flushes: every retry is due


class Play:
    """One process at a time; the checks are those that the real one must pass."""

    def __init__(self, *, store: Any = None, outbox: Any = None) -> None:
        self.clock = ManualClock()
        self.outbox = outbox or MemoryOutbox()
        self.store = store or MemoryMinuteStore()
        self.sent: list[Sent] = []
        self._now = 0.0
        self.rig = self.new_process()

    def new_process(self, **parts: Any) -> Rig:
        """Put the pipeline together, on the same stores if no others are given."""
        stores = {"outbox": self.outbox, "store": self.store}
        self.rig = Rig(clock=self.clock, rules=RULES, span_ms=4_000, **(stores | parts))
        self.rig.feed()
        return self.rig

    def send(self, *prices: float, age_ms: int = 0) -> None:
        """Let the exchange send a tick of each pair for each of *prices*, a millisecond apart."""
        for price in prices:
            at_ms = self.clock.advance(1).wall_ms - age_ms
            ticks = [(symbol, price, at_ms) for symbol in SYMBOLS]
            self.sent += [Sent("exchange1", 0.0, 0.0, *tick) for tick in ticks]
            self.hear(b"".join(line(*tick) for tick in ticks))

    def hear(self, chunk: bytes) -> None:
        """Let *chunk* come in."""
        self.rig.receive(self.rig.feeds[0].hear(chunk))

    def reach_end(self, before_ms: int = 0) -> None:
        """Let time pass until so long before the current minute's end."""
        self.clock.advance(INTERVAL_MS - self.clock.now().wall_ms % INTERVAL_MS - before_ms)

    def end_minute(self) -> None:
        """Let the minute and its grace pass, and flush."""
        self.reach_end()
        self.clock.advance(RULES.grace_ms + 150)
        self.flush()

    def flush(self) -> None:
        """Flush what is due."""
        self._now += _PATIENCE_S
        self.rig.flush(self._now)

    def check(self) -> None:
        """Check the stored rows."""
        rows = [
            _as_seen(row)
            for symbol in SYMBOLS
            for row in self.store.rows(Mode.LIVE, symbol, None, 0, _FOR_EVER_MS)
        ]
        check_stored(rows, self.sent, until_ms=_FOR_EVER_MS)


@contextmanager
def store_in(database: Database, **changes: Any) -> Iterator[PostgresStore]:
    """Lend the real store, with short deadlines."""
    settings = {
        "sslmode": "prefer",
        "connect_timeout_s": TIMEOUT_S,
        "statement_timeout_s": TIMEOUT_S,
        "pool_size": 2,
        "schema": SCHEMA,
    }
    with closing(PostgresStore(**(database.address() | settings | changes))) as store:
        yield store


def _as_seen(row: MinuteRow) -> StoredRow:
    return StoredRow(
        row.mode.value,
        row.exchange,
        row.pair_name,
        row.timestamp_ms,
        row.tick_count,
        row.min_price,
        row.max_price,
        row.average_price,
        row.open_price,
        row.close_price,
        row.open_at_ms,
        row.close_at_ms,
        row.min_at_ms,
        row.max_at_ms,
    )
