"""What every outbox promises."""

import pytest

from marketflow.adapters.storage.outbox import SqliteOutbox
from marketflow.application.ports import RefusedRow
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row
from tests.fakes import ManualClock, MemoryOutbox

DAY_MS = 86_400_000
OTHERS = ({"pair_name": "ETHUSDT"}, {"mode": Mode.TEST})


@pytest.fixture(params=["memory", "sqlite"])
def outbox(request, tmp_path):
    outbox = (
        MemoryOutbox(max_age_ms=DAY_MS)
        if request.param == "memory"
        else SqliteOutbox(
            tmp_path / "outbox.db", max_age_ms=DAY_MS, max_bytes=10_000_000, clock=ManualClock()
        )
    )
    yield outbox
    outbox.close()


def test_a_new_outbox_is_empty(outbox):
    assert outbox.oldest(10) == []
    assert outbox.count() == 0
    assert outbox.trim(NOON_MS) == 0


def test_rows_come_back_as_they_were_put(outbox):
    row = minute_row()
    outbox.put([row])
    assert outbox.oldest(10) == [row]
    assert outbox.count() == 1


def test_the_oldest_come_first_and_no_more_than_asked(outbox):
    rows = [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS) for n in range(5)]
    outbox.put(rows[3:])
    outbox.put(rows[:3])
    assert outbox.oldest(4) == rows[:4]


def test_a_better_informed_version_replaces_the_row(outbox):
    outbox.put([minute_row(tick_count=5)])
    outbox.put([minute_row(tick_count=6, average_price=100_000.5)])
    assert outbox.oldest(10) == [minute_row(tick_count=6, average_price=100_000.5)]
    assert outbox.count() == 1


def test_of_equally_informed_versions_the_later_stays(outbox):
    outbox.put([minute_row(average_price=99_999.0), minute_row(average_price=99_999.5)])
    assert outbox.oldest(10) == [minute_row(average_price=99_999.5)]
    assert outbox.count() == 1


def test_a_worse_informed_version_changes_nothing(outbox):
    outbox.put([minute_row(tick_count=6)])
    outbox.put([minute_row(tick_count=5)])
    assert outbox.oldest(10) == [minute_row(tick_count=6)]


def test_acknowledged_rows_are_gone(outbox):
    rows = [minute_row(exchange=f"exchange{n}") for n in range(3)]
    outbox.put(rows)
    outbox.acknowledge(rows[:2])
    assert outbox.oldest(10) == rows[2:]
    assert outbox.count() == 1


def test_a_row_that_changed_since_it_was_sent_stays(outbox):
    outbox.put([minute_row(tick_count=5)])
    sent = outbox.oldest(10)
    outbox.put([minute_row(tick_count=7)])
    outbox.acknowledge(sent)
    assert outbox.oldest(10) == [minute_row(tick_count=7)]
    assert outbox.count() == 1


def test_acknowledging_twice_or_the_unknown_is_harmless(outbox):
    outbox.put([minute_row()])
    outbox.acknowledge([minute_row(), minute_row(pair_name="ETHUSDT")])
    outbox.acknowledge([minute_row()])
    outbox.acknowledge([])
    outbox.put([])
    assert outbox.count() == 0


def test_a_pairs_rows_are_found_by_the_end_of_the_minute(outbox):
    ends = [NOON_MS + n * MINUTE_MS for n in range(4)]
    rows = [
        minute_row(timestamp_ms=end, exchange=name)
        for end in ends
        for name in ("exchange1", "exchange2")
    ]
    others = [minute_row(timestamp_ms=ends[1], **of) for of in OTHERS]
    outbox.put([*rows, *others])
    assert outbox.rows(Mode.LIVE, "BTCUSDT", None, ends[1], ends[3]) == rows[2:6]
    assert outbox.rows(Mode.LIVE, "BTCUSDT", "exchange2", ends[1], ends[3]) == rows[3:6:2]


def test_rows_older_than_the_limit_are_dropped_and_counted(outbox):
    rows = [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS) for n in range(3)]
    outbox.put(rows)
    assert outbox.trim(NOON_MS + DAY_MS + 2 * MINUTE_MS) == 2
    assert outbox.oldest(10) == rows[2:]
    assert outbox.count() == 1


def test_a_parked_row_is_found_by_questions_but_not_offered(outbox):
    rows = [minute_row(exchange=f"exchange{n}") for n in range(3)]
    outbox.put(rows)
    outbox.park([RefusedRow(rows[0], "it is nonsense")])
    assert outbox.oldest(10) == rows[1:]
    assert (outbox.count(), outbox.parked()) == (2, 1)
    assert outbox.rows(rows[0].mode, rows[0].pair_name, None, 0, 1 << 50) == rows


def test_another_version_of_a_parked_row_is_offered(outbox):
    outbox.put([minute_row(tick_count=5)])
    outbox.park([RefusedRow(minute_row(tick_count=5), "it is nonsense")])
    outbox.put([minute_row(tick_count=6)])
    assert outbox.oldest(10) == [minute_row(tick_count=6)]
    assert (outbox.count(), outbox.parked()) == (1, 0)


def test_a_parked_row_that_was_dropped_is_parked_no_more(outbox):
    outbox.put([minute_row()])
    outbox.park([RefusedRow(minute_row(), "it is nonsense")])
    assert outbox.trim(NOON_MS + 2 * DAY_MS) == 1
    assert (outbox.count(), outbox.parked()) == (0, 0)
