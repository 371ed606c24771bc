"""What is written to subscribers: shared frames, filters, snapshots, ids, comments, parameters."""

import json
from itertools import pairwise, product

import pytest

from marketflow.adapters.web.headers import HeadCache
from marketflow.adapters.web.http1 import Reader
from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.price_json import latest_json
from marketflow.adapters.web.rows import row_json
from marketflow.adapters.web.sse import EventStream, StreamApi
from marketflow.application.pipeline.broadcaster import Broadcaster
from marketflow.domain.errors import BadParameter, Restoring, UnknownExchange, UnknownSymbol
from marketflow.domain.mode import Mode
from tests.application.rig import Rig
from tests.examples import minute_row
from tests.fake_sources import EXCHANGES, SYMBOLS, line
from tests.sse import told

START_MS = 1_746_448_560_000


class Streaming:
    """The route over a rig, its feeds connected; `beat` is the poll thread's."""

    def __init__(self):
        self.rig = Rig()
        for feed in self.rig.telemetry.feeds.values():
            feed.connected = True
        self.broadcaster = Broadcaster(
            self.rig.market, self.rig.telemetry, clock=self.rig.clock, stale_after_ms=5_000
        )
        self.stream = EventStream(self.broadcaster, start_ms=START_MS, interval_s=0.25)
        self.api = StreamApi(self.stream, self.rig.market)
        self.feeds = {name: self.rig.feed(name) for name in EXCHANGES}
        self.now = 0.0
        self.tick_everything()
        self.beat()

    def beat(self, seconds=0.25):
        self.now += seconds
        return self.stream.beat(self.now)

    def tick(self, symbol="BTCUSDT", price=1.5, exchange="exchange1"):
        at_ms = self.rig.clock.now().wall_ms
        self.rig.receive(self.feeds[exchange].hear(line(symbol, price, at_ms)))

    def tick_everything(self):
        for exchange, symbol in product(EXCHANGES, SYMBOLS):
            self.tick(symbol, exchange=exchange)

    def ask(self, target="/stream", last_event_id=""):
        headers = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        reader = Reader(HeadCache(Limits()), Limits())
        reader.feed(f"GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
        return self.api.stream(reader.next())

    def subscribe(self, target="/stream", last_event_id=""):
        """Return a subscription that has had its hello."""
        subscription = self.ask(target, last_event_id).stream
        subscription.hello()
        return subscription


def test_the_answer_is_an_event_stream_that_nobody_stores_or_buffers():
    answer = Streaming().ask()
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert dict(answer.headers) == {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def test_it_begins_with_the_time_to_wait_then_a_snapshot_of_latest_objects():
    streaming = Streaming()
    hello = streaming.ask().stream.hello()
    assert hello.startswith(b"retry: 2000\nevent: snapshot\n")
    (snapshot,) = told(hello)
    latest = [
        json.loads(latest_json(streaming.rig.prices.latest(symbol, exchange)))
        for symbol, exchange in product(SYMBOLS, EXCHANGES)
    ]
    assert (snapshot.kind, snapshot.data["prices"]) == ("snapshot", latest)
    assert snapshot.data["mode"] == "live"
    assert [feed["exchange"] for feed in snapshot.data["feeds"]] == list(EXCHANGES)


def test_a_price_is_exactly_the_latest_object_and_its_id_names_the_process():
    streaming = Streaming()
    subscription = streaming.subscribe()
    streaming.tick(price=2.5)
    streaming.rig.clock.advance(40)
    assert streaming.beat()
    latest = latest_json(streaming.rig.prices.latest("BTCUSDT", "exchange1"))
    number = streaming.broadcaster.number
    wanted = f"event: price\nid: {START_MS}-{number}\ndata: {latest}\n\n"
    assert wanted.encode() == subscription.frame()


def test_a_minute_is_exactly_the_row_of_the_history():
    streaming = Streaming()
    subscription = streaming.subscribe()
    streaming.broadcaster.stored([minute_row()])
    streaming.beat()
    (minute,) = told(subscription.frame())
    assert (minute.kind, minute.data) == ("minute", json.loads(row_json(minute_row())))


def test_all_who_want_the_same_share_one_frame():
    streaming = Streaming()
    some = [streaming.subscribe("/stream?symbols=btcusdt,DOGEUSDT") for _ in range(2)]
    some.append(streaming.subscribe("/stream?symbols=DogeUSDT,BTCUSDT"))
    streaming.tick_everything()
    streaming.beat()
    first, *others = [subscription.frame() for subscription in some]
    assert first
    assert all(frame is first for frame in others)


@pytest.mark.parametrize(
    ("target", "exchanges", "symbols"),
    [
        ("/stream", EXCHANGES, SYMBOLS),
        ("/stream?symbols=BTCUSDT", EXCHANGES, ["BTCUSDT"]),
        ("/stream?exchange=Exchange2", ["exchange2"], SYMBOLS),
        ("/stream?symbols=dogeusdt&exchange=exchange3", ["exchange3"], ["DOGEUSDT"]),
        ("/stream?symbols=BTCUSDT%2CDOGEUSDT&other=1", EXCHANGES, SYMBOLS),
    ],
)
def test_only_what_is_wanted_is_told(target, exchanges, symbols):
    streaming = Streaming()
    subscription = streaming.ask(target).stream
    everything = {*product(exchanges, symbols)}
    (snapshot,) = told(subscription.hello())
    assert {(p["exchange"], p["symbol"]) for p in snapshot.data["prices"]} == everything
    assert {feed["exchange"] for feed in snapshot.data["feeds"]} == {*exchanges}
    streaming.tick_everything()
    for name in EXCHANGES:
        streaming.rig.telemetry.feeds[name].reconnects += 1
        streaming.broadcaster.stored(
            minute_row(exchange=name, pair_name=symbol) for symbol in SYMBOLS
        )
    streaming.beat()
    events = told(subscription.frame())
    prices = [(e.data["exchange"], e.data["symbol"]) for e in events if e.kind == "price"]
    assert set(prices) == everything
    assert len(prices) == len(everything)
    minutes = {(e.data["exchange"], e.data["pair_name"]) for e in events if e.kind == "minute"}
    assert minutes == everything
    assert {e.data["exchange"] for e in events if e.kind == "feed"} == {*exchanges}


def test_after_a_mode_switch_everybody_gets_a_snapshot_of_what_they_want():
    streaming = Streaming()
    subscription = streaming.subscribe("/stream?symbols=BTCUSDT")
    streaming.rig.switch(Mode.TEST, 1)
    feed = streaming.rig.feed("exchange1", mode=Mode.TEST, intake=1)
    at_ms = streaming.rig.clock.now().wall_ms
    streaming.rig.receive(feed.hear(line("BTCUSDT", 7.0, at_ms) + line("DOGEUSDT", 8.0, at_ms)))
    streaming.beat()
    mode, snapshot = [e for e in told(subscription.frame()) if e.kind != "feed"]
    assert (mode.kind, mode.data) == ("mode", {"mode": "test", "previous": "live"})
    assert [(p["symbol"], p["price"]) for p in snapshot.data["prices"]] == [("BTCUSDT", 7.0)]
    assert snapshot.data["mode"] == "test"


def test_who_comes_between_two_beats_is_told_nothing_that_its_snapshot_holds():
    streaming = Streaming()
    early = streaming.subscribe()
    streaming.tick(price=2.0)
    late = streaming.ask().stream
    (snapshot,) = told(late.hello())
    assert 2.0 in [price["price"] for price in snapshot.data["prices"]]
    streaming.tick("DOGEUSDT", 3.0)
    streaming.beat()
    assert [event.data["price"] for event in told(early.frame())] == [2.0, 3.0]
    assert [event.data["price"] for event in told(late.frame())] == [3.0]
    streaming.tick(price=4.0)
    streaming.beat()
    assert late.frame() is early.frame()


def test_minutes_that_were_stored_before_anybody_came_are_not_told_to_who_comes():
    streaming = Streaming()
    streaming.broadcaster.stored(
        [minute_row(timestamp_ms=START_MS + n * 60_000) for n in range(600)]
    )
    subscription = streaming.subscribe()
    streaming.broadcaster.stored([minute_row(timestamp_ms=START_MS + 3_600_000_000)])
    streaming.beat()
    minutes = [event for event in told(subscription.frame()) if event.kind == "minute"]
    assert [event.data["timestamp"] for event in minutes] == [START_MS + 3_600_000_000]


def test_when_nothing_has_changed_there_is_nothing_to_tell():
    streaming = Streaming()
    subscription = streaming.subscribe()
    assert not streaming.beat()
    assert subscription.frame() == b""


def test_a_comment_shows_every_fifteen_seconds_that_the_stream_lives():
    streaming = Streaming()
    subscription = streaming.subscribe()
    found = [(streaming.now, subscription.frame()) for _ in range(200) if streaming.beat()]
    assert [frame for _, frame in found] == [b":\n"] * 3
    assert [later - at for (at, _), (later, _) in pairwise(found)] == [15.0, 15.0]


def test_a_comment_never_comes_later_than_after_fifteen_seconds_when_beats_are_late():
    streaming = Streaming()
    found = [streaming.now for _ in range(200) if streaming.beat(0.27)]
    assert len(found) == 3
    assert all(14.5 < later - at <= 15.0 for at, later in pairwise(found))


def test_who_comes_back_gets_the_minutes_it_missed_after_a_snapshot():
    streaming = Streaming()
    streaming.broadcaster.stored([minute_row(tick_count=1)])
    streaming.beat()
    seen = streaming.stream.position
    for symbol in SYMBOLS:
        streaming.broadcaster.stored([minute_row(pair_name=symbol, tick_count=2)])
    streaming.beat()
    back = streaming.ask("/stream?symbols=BTCUSDT", f"{START_MS}-{seen}").stream
    snapshot, missed = told(back.hello())
    assert (snapshot.kind, snapshot.number) == ("snapshot", seen)
    assert (missed.kind, missed.data["tick_count"]) == ("minute", 2)
    assert missed.data["pair_name"] == "BTCUSDT"
    streaming.tick(price=9.0)
    streaming.beat()
    assert [event.kind for event in told(back.frame())] == ["price"]


@pytest.mark.parametrize(
    "last_event_id",
    [f"{START_MS - 1}-0", f"{START_MS}-", f"{START_MS}-1x", "0", "-", f"{START_MS}-{10**30}"],
)
def test_an_id_that_is_not_of_this_process_replays_nothing(last_event_id):
    streaming = Streaming()
    streaming.broadcaster.stored([minute_row()])
    streaming.beat()
    (snapshot,) = told(streaming.ask(last_event_id=last_event_id).stream.hello())
    assert snapshot.number == streaming.broadcaster.number


def test_an_id_of_the_future_replays_nothing_and_is_not_repeated():
    streaming = Streaming()
    streaming.broadcaster.stored([minute_row()])
    streaming.beat()
    (snapshot,) = told(streaming.ask(last_event_id=f"{START_MS}-999999").stream.hello())
    assert snapshot.number == streaming.broadcaster.number


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        ("symbols=", BadParameter, "symbols"),
        ("symbols=BTCUSDT,", BadParameter, "symbols"),
        ("symbols=BTCUSDT&symbols=DOGEUSDT", BadParameter, "symbols"),
        ("exchange=%ff", BadParameter, "exchange"),
        ("symbols=BTCUSDT,nosuch", UnknownSymbol, "BTCUSDT, DOGEUSDT"),
        ("exchange=nosuch", UnknownExchange, "exchange1, exchange2"),
    ],
)
def test_a_bad_parameter_is_named_with_what_is_known(query, error, said):
    with pytest.raises(error, match=said):
        Streaming().ask(f"/stream?{query}")


def test_while_restoring_there_is_no_stream():
    streaming = Streaming()
    streaming.rig.market.restoring = True
    with pytest.raises(Restoring):
        streaming.ask()
