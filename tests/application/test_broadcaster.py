"""What subscribers are told: what changed, conflated and in order, and no minute twice."""

from marketflow.application.pipeline.broadcaster import (
    Broadcaster,
    FeedState,
    ModeChange,
    Quote,
    Snapshot,
)
from marketflow.domain.minute import MinuteRow
from marketflow.domain.mode import Mode
from tests.application.rig import Rig
from tests.examples import minute_row
from tests.fake_sources import line


class Told:
    """A broadcaster beside a rig whose feeds are all connected."""

    def __init__(self):
        self.rig = Rig()
        for feed in self.rig.telemetry.feeds.values():
            feed.connected = True
        self.broadcaster = Broadcaster(
            self.rig.market, self.rig.telemetry, clock=self.rig.clock, stale_after_ms=5_000
        )
        self.feeds = {}

    def tick(self, symbol="BTCUSDT", price=1.0, exchange="exchange1", age_ms=0):
        state = self.rig.market.state
        key = state.intake, exchange
        if key not in self.feeds:
            self.feeds[key] = self.rig.feed(exchange, mode=state.mode, intake=state.intake)
        at_ms = self.rig.clock.now().wall_ms - age_ms
        self.rig.receive(self.feeds[key].hear(line(symbol, price, at_ms)))

    def take(self, kind):
        """Return what is told, of one kind."""
        return [event.what for event in self.broadcaster.take() if isinstance(event.what, kind)]

    def prices(self):
        return [(q.exchange, q.symbol, q.latest.price) for q in self.take(Quote)]


def test_of_many_ticks_the_newest_of_each_series_is_told_once():
    told = Told()
    for price in (1.0, 2.0, 3.0):
        told.tick(price=price)
        told.tick("DOGEUSDT", price / 10, "exchange2")
    assert told.prices() == [("exchange1", "BTCUSDT", 3.0), ("exchange2", "DOGEUSDT", 0.3)]
    assert told.prices() == []


def test_a_tick_of_the_same_price_is_told_too():
    told = Told()
    told.tick()
    told.take(Quote)
    told.tick()
    assert told.prices() == [("exchange1", "BTCUSDT", 1.0)]


def test_numbers_grow_and_what_replaces_something_comes_later():
    told = Told()
    told.tick(price=1.0)
    told.tick("DOGEUSDT", 2.0)
    told.broadcaster.note()
    told.tick(price=3.0)
    events = [event for event in told.broadcaster.take() if isinstance(event.what, Quote)]
    assert [event.symbol for event in events] == ["DOGEUSDT", "BTCUSDT"]
    numbers = [event.number for event in events]
    assert numbers == sorted(set(numbers))
    assert told.broadcaster.number >= numbers[-1]


def test_a_snapshot_holds_what_was_noted_and_nothing_it_holds_is_new_afterwards():
    told = Told()
    told.tick(price=1.0)
    told.broadcaster.note()
    snapshot, number = told.broadcaster.snapshot(), told.broadcaster.number
    assert [quote.latest.price for quote in snapshot.quotes] == [1.0]
    assert snapshot.mode == Mode.LIVE
    told.tick("DOGEUSDT", 2.0)
    news = [event for event in told.broadcaster.take() if event.number > number]
    assert [event.symbol for event in news if isinstance(event.what, Quote)] == ["DOGEUSDT"]


def test_a_price_is_what_a_question_would_be_answered_with():
    told = Told()
    told.tick(price=7.5, age_ms=40)
    (quote,) = told.take(Quote)
    for wait_ms in (0, 10, 5_000):
        told.rig.clock.advance(wait_ms)
        asked = told.rig.prices.latest("BTCUSDT", "exchange1")
        assert told.broadcaster.price(quote) == asked


def test_a_mode_switch_is_told_then_a_snapshot_and_nothing_of_the_old_mode():
    told = Told()
    told.tick(price=1.0)
    told.broadcaster.note()
    told.rig.switch(Mode.TEST, 1)
    told.tick(price=2.0)
    events = [event.what for event in told.broadcaster.take()]
    change, snapshot = [what for what in events if not isinstance(what, FeedState)]
    assert change == ModeChange(Mode.TEST, Mode.LIVE)
    assert isinstance(snapshot, Snapshot)
    assert [quote.latest.price for quote in snapshot.quotes] == [2.0]
    told.tick(price=3.0)
    assert told.prices() == [("exchange1", "BTCUSDT", 3.0)]


def test_a_switch_there_and_back_is_told():
    told = Told()
    told.rig.switch(Mode.TEST, 1)
    told.rig.switch(Mode.LIVE, 2)
    assert told.take(ModeChange) == [ModeChange(Mode.LIVE, Mode.LIVE)]


def test_a_feed_is_told_when_it_goes_stale_comes_back_is_lost_and_connects():
    told = Told()
    feed = told.rig.telemetry.feeds["exchange1"]
    told.tick()
    assert told.take(FeedState) == [FeedState("exchange1", True, False, 0)]
    told.rig.clock.advance(5_001)
    assert told.take(FeedState) == [FeedState("exchange1", True, True, 0)]
    told.tick()
    assert told.take(FeedState) == [FeedState("exchange1", True, False, 0)]
    feed.connected = False
    assert told.take(FeedState) == [FeedState("exchange1", False, False, 0)]
    feed.connected, feed.reconnects = True, 1
    assert told.take(FeedState) == [FeedState("exchange1", True, False, 1)]
    assert told.take(FeedState) == []


def test_a_feed_that_was_lost_and_connected_in_between_is_told_all_the_same():
    told = Told()
    told.rig.telemetry.feeds["exchange2"].reconnects = 1
    assert told.take(FeedState) == [FeedState("exchange2", True, True, 1)]


def test_a_minute_is_told_once_for_each_version():
    told = Told()
    told.broadcaster.stored([minute_row(tick_count=5)])
    told.broadcaster.stored([minute_row(tick_count=5), minute_row(tick_count=4)])
    assert [minute.tick_count for minute in told.take(MinuteRow)] == [5]
    told.broadcaster.stored([minute_row(tick_count=5)])
    assert told.take(MinuteRow) == []
    told.broadcaster.stored([minute_row(tick_count=6)])
    assert [minute.tick_count for minute in told.take(MinuteRow)] == [6]


def test_minutes_of_the_other_mode_are_not_told():
    told = Told()
    told.broadcaster.stored([minute_row(), minute_row(mode=Mode.TEST)])
    assert [minute.mode for minute in told.take(MinuteRow)] == [Mode.LIVE]
    assert [event.what.mode for event in told.broadcaster.minutes_after(0)] == [Mode.LIVE]
    told.rig.switch(Mode.TEST, 1)
    told.broadcaster.take()
    assert [event.what.mode for event in told.broadcaster.minutes_after(0)] == [Mode.TEST]


def test_held_minutes_are_told_again_in_order_each_in_its_newest_version():
    told = Told()
    for end_ms in (60_000, 120_000, 180_000):
        told.broadcaster.stored([minute_row(timestamp_ms=end_ms, tick_count=1)])
        told.broadcaster.take()
    position = told.broadcaster.number
    told.broadcaster.stored([minute_row(timestamp_ms=120_000, tick_count=2)])
    told.broadcaster.take()
    held = [(e.what.timestamp_ms, e.what.tick_count) for e in told.broadcaster.minutes_after(0)]
    assert held == [(60_000, 1), (180_000, 1), (120_000, 2)]
    (missed,) = told.broadcaster.minutes_after(position)
    assert (missed.what.tick_count, missed.number) == (2, told.broadcaster.number)


def test_only_the_newest_minutes_are_held():
    told = Told()
    for end in range(1, 3_001):
        told.broadcaster.stored([minute_row(timestamp_ms=end * 60_000)])
        if end % 200 == 0:
            told.broadcaster.take()
    held = told.broadcaster.minutes_after(0)
    assert [e.what.timestamp_ms // 60_000 for e in held] == list(range(3_001 - 1_024, 3_001))


def test_a_backlog_of_minutes_is_told_in_pieces_and_while_nobody_asks_it_is_bounded():
    told = Told()
    told.broadcaster.stored(minute_row(timestamp_ms=end * 60_000) for end in range(1, 5_001))
    pieces = []
    while piece := told.take(MinuteRow):
        pieces.append(len(piece))
    assert pieces == [256] * 4
