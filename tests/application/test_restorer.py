"""After a restart the journal's chunks give the same prices and the same minutes."""

import threading

import pytest

from marketflow.application.ports import JournalRecord
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period
from tests.application.ledger import Ledger, check_rows
from tests.application.rig import Rig
from tests.fake_sources import line
from tests.fakes import ManualClock, MemoryJournal

RULES = MinuteRules(interval_ms=2_000, grace_ms=300, late_intervals=3)
NOW = ManualClock().now()
FIVE_MINUTES = Period("5m", 300_000)


def record(price, *, age_ms=1_000, number=0, mode=Mode.LIVE, source="exchange1", **changes):
    """Return the record of one tick received *age_ms* ago."""
    received_ms = NOW.wall_ms - age_ms
    chunk = changes.pop("chunk", line("BTCUSDT", price, received_ms))
    return JournalRecord(mode, source, number, received_ms, chunk)


def restored(*records, **options):
    journal = MemoryJournal(records, complete_from_ms=options.pop("complete_from_ms", 0))
    rig = Rig(rules=RULES, journal=journal, **options)
    rig.market.restoring = True
    rig.restorer.run()
    return rig


class StopAfter(threading.Event):
    """Is set once it was looked at *looks* times."""

    def __init__(self, looks):
        super().__init__()
        self._looks = looks

    def is_set(self):
        self._looks -= 1
        return self._looks < 0


def test_windows_answer_as_before_at_once():
    rig = restored(record(2.0, age_ms=250_000), record(1.0, age_ms=40_000, number=1))
    assert not rig.market.restoring
    assert rig.prices.average("BTCUSDT", None, FIVE_MINUTES).ticks == 2
    assert rig.prices.average("BTCUSDT", None, Period("40s", 40_000)).ticks == 1
    assert rig.prices.latest("BTCUSDT").age_ms == 40_000
    assert rig.telemetry.replayed == 2


def test_minutes_of_both_modes_are_whole_and_only_the_start_modes_prices_are_answered():
    rig = restored(record(1.0), record(2.0, mode=Mode.TEST), record(3.0, source="elsewhere"))
    assert rig.prices.latest("BTCUSDT").price == 1.0
    rig.finish()
    found = {(row.mode, row.exchange, row.max_price) for row in rig.store.all()}
    assert found == {
        (Mode.LIVE, "exchange1", 1.0),
        (Mode.TEST, "exchange1", 2.0),
        (Mode.LIVE, "elsewhere", 3.0),
    }


def test_a_tick_is_judged_by_when_its_chunk_was_received_not_by_now():
    hour = 3_600_000
    received_ms = NOW.wall_ms - hour
    late = line("BTCUSDT", 9.0, received_ms - 60_000) + line("BTCUSDT", 1.0, received_ms)
    ahead = line("DOGEUSDT", 9.0, received_ms + 61_000)
    rig = restored(record(0, age_ms=hour, chunk=late + ahead))
    rig.finish()
    assert [(row.pair_name, row.max_price) for row in rig.store.all()] == [("BTCUSDT", 1.0)]


def test_minutes_begun_before_the_journal_feed_the_window_and_never_a_row():
    start_ms = NOW.wall_ms // 2_000 * 2_000 - 10_000
    rig = restored(
        *(record(float(i), age_ms=NOW.wall_ms - start_ms - 500 * i) for i in range(1, 9)),
        complete_from_ms=start_ms + 200,
        skew_ms=500,  # what came before may have had ticks so much ahead
    )
    assert rig.prices.average("BTCUSDT", None, FIVE_MINUTES).ticks == 8
    rig.finish()
    assert [row.timestamp_ms for row in rig.store.all()] == [start_ms + 4_000, start_ms + 6_000]


def test_live_chunks_go_on_where_the_journal_ended():
    rig = restored(record(1.0, number=41))
    at_ms = rig.clock.now().wall_ms
    rig.receive(rig.feed("exchange1").hear(line("BTCUSDT", 2.0, at_ms)))
    assert rig.prices.average("BTCUSDT", None, FIVE_MINUTES).ticks == 2
    assert rig.prices.latest("BTCUSDT").price == 2.0


def test_a_chunk_that_fails_is_skipped_as_its_worker_would_have(caplog):
    journal = MemoryJournal([record(1.0), record(0, chunk=b"poison\n"), record(3.0)])
    rig = Rig(rules=RULES, journal=journal)

    def decode(chunk, received_ms):
        if b"poison" in chunk:
            raise RuntimeError("poison")
        return rig.decode(chunk, received_ms)

    rig.restorer._decode = decode
    rig.restorer.run()
    assert rig.prices.average("BTCUSDT", None, FIVE_MINUTES).ticks == 2
    assert len([entry for entry in caplog.records if entry.levelname == "ERROR"]) == 1


def test_chunks_from_a_clock_that_was_ahead_do_not_hold_up_those_after_them():
    rig = restored(record(1.0, age_ms=-3_600_000))
    at_ms = rig.clock.advance(10_000).wall_ms
    rig.receive(rig.feed("exchange1").hear(line("BTCUSDT", 2.0, at_ms)))
    assert rig.prices.average("BTCUSDT", None, Period("1s", 1_000)).ticks == 1
    assert rig.prices.latest("BTCUSDT").price == 2.0


def test_it_replays_once(caplog):
    caplog.set_level("INFO")
    rig = restored(record(1.0))
    rig.restorer.run()
    assert rig.prices.average("BTCUSDT", None, FIVE_MINUTES).ticks == 1
    assert [entry.message for entry in caplog.records] == ["journal replayed"]


def test_an_empty_journal_says_nothing(caplog):
    caplog.set_level("INFO")
    rig = restored()
    assert not rig.market.restoring
    assert not caplog.records


def test_a_journal_that_cannot_be_read_costs_its_rest_not_the_service(caplog):
    class Torn(MemoryJournal):
        def replay(self):
            yield record(1.0)
            raise RuntimeError("torn")

    rig = Rig(rules=RULES, journal=Torn())
    rig.market.restoring = True
    rig.restorer.run()
    assert rig.prices.latest("BTCUSDT").price == 1.0
    assert "journal could not be replayed to its end" in [r.message for r in caplog.records]


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_a_stop_while_restoring_keeps_what_was_not_replayed_for_the_next_start(looks):
    hour = 3_600_000
    records = [record(float(i), age_ms=hour - i, number=i) for i in range(1, 4)]
    rig = restored(*records, stopping=StopAfter(looks))
    assert rig.market.restoring, "prices would lack what was not replayed"
    rig.receive(rig.feed("exchange1").hear(line("BTCUSDT", 9.0, rig.clock.now().wall_ms)))
    rig.clock.advance(10_000)
    rig.flush()
    rig.finish()

    again = Rig(rules=RULES, journal=rig.journal.reopened(), store=rig.store, clock=rig.clock)
    again.restorer.run()
    again.finish()
    ledger = Ledger(interval_ms=2_000)
    for price, at_ms in [
        *((float(i), records[i - 1].received_ms) for i in range(1, 4)),
        (9.0, NOW.wall_ms),
    ]:
        ledger.add(
            *(Mode.LIVE, "exchange1", "BTCUSDT", price, at_ms),
            received_ms=at_ms,
            received_mono=0,
        )
    check_rows(again.store.all(), ledger.minutes)
