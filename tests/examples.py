"""Values that tests start from; what a test is about it says itself."""

from dataclasses import replace

from marketflow.application.ports import JournalRecord
from marketflow.domain.minute import MinuteRow
from marketflow.domain.mode import Mode

MINUTE_MS = 60_000
NOON_MS = 1_746_446_400_000  # 2025-05-05T12:00:00Z


def minute_row(**changes):
    """Return the row of one minute that ended at noon, with *changes*."""
    row = MinuteRow(
        pair_name="BTCUSDT",
        exchange="exchange1",
        timestamp_ms=NOON_MS,
        average_price=100_000.1,
        min_price=99_000.25,
        max_price=101_000.7,
        open_price=99_500.0,
        close_price=100_500.0,
        open_at_ms=NOON_MS - 59_999,
        close_at_ms=NOON_MS - 1,
        min_at_ms=NOON_MS - 30_500,
        max_at_ms=NOON_MS - 7,
        tick_count=600,
        mode=Mode.LIVE,
    )
    return replace(row, **changes)


def journal_record(number=0, *, received_ms=NOON_MS, **changes):
    """Return a chunk of two lines, with *changes*."""
    record = JournalRecord(
        Mode.LIVE, "exchange1", number, received_ms, b'{"number":%d}\n{}\n' % number
    )
    return record._replace(**changes)
