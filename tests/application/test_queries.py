"""Every answer against the brute-force oracle, through decoder, workers, collector and windows."""

from math import isclose
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.domain.errors import NoPrices, Restoring, UnknownExchange, UnknownSymbol
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period
from tests.application.ledger import Ledger
from tests.application.rig import Rig
from tests.fake_sources import EXCHANGES, SYMBOLS, line

SPAN_MS = 300_000
PERIODS = ("1s", "3s", "5s", "10s", "30s", "1m", "3m", "5m")
PRICES = st.sampled_from([0.3, 0.1, 99_999.99]) | st.floats(1e-4, 1e6)
TICKS = st.tuples(
    st.sampled_from(SYMBOLS),
    PRICES,
    st.sampled_from([0, 0, -1, 7, 400, -90, 3_000, 70_000, 250_000]),
)
CHUNKS = st.tuples(
    st.integers(0, 400) | st.sampled_from([0, 5_000, 65_000]),  # ms until it comes
    st.sampled_from(EXCHANGES),
    st.lists(TICKS, min_size=1, max_size=6),
)


def period(text):
    return Period.parse(text, 86_400_000)


def prices_at(place, found):
    """Return the prices at *place* on the exchange whose name comes first."""
    there = [(name, sent.price) for name, sent in found if sent.at == place]
    first = min(name for name, _ in there)
    return {price for name, price in there if name == first}


class Market:
    """A rig beside a ledger; a worker that meets `poison` fails."""

    def __init__(self):
        self.rig = Rig(span_ms=SPAN_MS)
        self.ledger = Ledger()
        self.feeds = {name: self.rig.feed(name, decode=self._decode) for name in EXCHANGES}
        self.failed = 0

    def hear(self, exchange, ticks, *, poison=False):
        """Send (symbol, price, age) *ticks* in one chunk; the batch its worker made of it."""
        now = self.rig.clock.now()
        lines = [line(symbol, price, now.wall_ms - age) for symbol, price, age in ticks]
        batch = self.feeds[exchange].hear(b"".join(lines) + (b"poison\n" if poison else b""))
        if not poison:
            for symbol, price, age in ticks:
                self.ledger.add(
                    *(Mode.LIVE, exchange, symbol, price, now.wall_ms - age),
                    received_ms=now.wall_ms,
                    received_mono=now.mono_ms,
                )
        return batch

    def check(self, period_ms):
        """Compare every answer for *period_ms* with the ledger's."""
        span, since = Period(f"{period_ms}ms", period_ms), self.rig.clock.now().mono_ms - period_ms
        for symbol in SYMBOLS:
            for exchange in (None, *EXCHANGES):
                self._check_extremes(symbol, exchange, span, since)
                self._check_average(symbol, exchange, span, since)
                self._check_latest(symbol, exchange)
                self._check_stats(symbol, exchange, span, since)

    def _decode(self, chunk, received_ms):
        if b"poison" in chunk:
            self.failed += 1
            raise RuntimeError("poison")
        return self.rig.decode(chunk, received_ms)

    def _check_extremes(self, symbol, exchange, span, since):
        for highest in (True, False):
            expected = self.ledger.extreme(symbol, exchange, since, highest=highest)
            try:
                answer = self.rig.prices.extreme(symbol, exchange, span, highest=highest)
            except NoPrices:
                assert expected is None
            else:
                actual = (answer.price, answer.timestamp_ms, answer.exchange, answer.ticks)
                assert actual == expected
                assert answer.to_ms - answer.from_ms == span.ms

    def _check_average(self, symbol, exchange, span, since):
        expected = self.ledger.average(symbol, exchange, since)
        try:
            answer = self.rig.prices.average(symbol, exchange, span)
        except NoPrices:
            assert expected is None
        else:
            assert answer.ticks == expected[1]
            assert isclose(answer.price, expected[0], rel_tol=1e-9)

    def _check_stats(self, symbol, exchange, span, since):
        found = self.ledger.window(symbol, exchange, since)
        try:
            stats = self.rig.prices.stats(symbol, exchange, span)
        except NoPrices:
            assert not found
            return
        prices = [sent.price for _, sent in found]
        assert (stats.low, stats.high, stats.ticks) == (min(prices), max(prices), len(prices))
        assert isclose(stats.average, sum(prices) / len(prices), rel_tol=1e-9)
        assert stats.low <= stats.average <= stats.high
        places = [sent.at for _, sent in found]
        assert stats.open in prices_at(min(places), found)
        assert stats.close in prices_at(max(places), found)

    def _check_latest(self, symbol, exchange):
        expected = self.ledger.latest(symbol, exchange)
        try:
            answer = self.rig.prices.latest(symbol, exchange)
        except NoPrices:
            assert not expected
        else:
            assert (answer.exchange, answer.price, answer.timestamp_ms) in expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(CHUNKS, min_size=1, max_size=25),
    st.lists(st.integers(1, SPAN_MS), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_every_answer_equals_brute_force_whatever_the_order_workers_finish_in(chunks, spans, rng):
    market, finished = Market(), []
    for gap_ms, exchange, ticks in chunks:
        market.rig.clock.advance(gap_ms)
        finished.append(market.hear(exchange, ticks, poison=rng.random() < 0.1))
    rng.shuffle(finished)
    market.rig.receive(*finished)
    market.rig.clock.advance(rng.choice([0, 1, 999]))
    for span in (*spans, *(period(text).ms for text in PERIODS)):
        market.check(span)
    feeds = market.rig.telemetry.feeds.values()
    assert sum(feed.late for feed in feeds) == market.ledger.late
    assert sum(feed.in_flight() for feed in feeds) == 0
    assert all(feed.lane.in_flight() == 0 for feed in market.feeds.values())


def test_ten_minutes_of_three_exchanges_equal_brute_force_in_every_period_of_the_brief():
    market, rng, price = Market(), Random(5), dict.fromkeys(SYMBOLS, 100.0)
    for turn in range(2_000):
        market.rig.clock.advance(rng.randint(100, 500))
        finished = []
        for exchange in EXCHANGES:
            for _ in range(rng.randint(0, 3)):
                for symbol in SYMBOLS:
                    price[symbol] *= 1 + rng.uniform(-0.01, 0.01)
                ticks = [(symbol, price[symbol], rng.choice([0, 3, 150])) for symbol in SYMBOLS]
                finished.append(market.hear(exchange, ticks, poison=rng.random() < 0.02))
        rng.shuffle(finished)
        market.rig.receive(*finished)
        if turn % 400 == 399:
            for text in PERIODS:
                market.check(period(text).ms)
    assert market.failed > 10


def test_a_tick_counts_from_when_it_happened_and_never_before_the_one_ahead_of_it():
    market = Market()
    rig = market.rig
    rig.receive(market.hear("exchange1", [("BTCUSDT", 5.0, 2_000)]))
    for ms, ticks in ((2_000, 1), (1_999, None)):
        if ticks:
            assert rig.prices.average("BTCUSDT", None, period(f"{ms}ms")).ticks == ticks
        else:
            with pytest.raises(NoPrices):
                rig.prices.average("BTCUSDT", None, period(f"{ms}ms"))
    rig.receive(market.hear("exchange1", [("BTCUSDT", 6.0, 500), ("BTCUSDT", 7.0, 9_000)]))
    assert rig.prices.average("BTCUSDT", None, period("500ms")).ticks == 2
    assert rig.prices.latest("BTCUSDT").price == 7.0
    assert rig.prices.latest("BTCUSDT").age_ms == 500


def test_a_tick_from_the_future_counts_from_when_it_was_received():
    market = Market()
    market.rig.receive(market.hear("exchange1", [("BTCUSDT", 5.0, -30_000)]))
    market.rig.clock.advance(1_000)
    latest = market.rig.prices.latest("btcusdt", "EXCHANGE1")
    assert (latest.symbol, latest.exchange, latest.age_ms) == ("BTCUSDT", "exchange1", 1_000)
    assert market.rig.prices.extreme("BTCUSDT", None, period("1s"), highest=True).age_ms == 0
    with pytest.raises(NoPrices):
        market.rig.prices.average("BTCUSDT", None, period("999ms"))


def test_the_latest_price_is_stale_when_it_is_older_than_allowed():
    market = Market()
    market.rig.receive(market.hear("exchange1", [("BTCUSDT", 5.0, 0)]))
    market.rig.clock.advance(5_000)
    assert not market.rig.prices.latest("BTCUSDT").stale
    market.rig.clock.advance(1)
    assert market.rig.prices.latest("BTCUSDT").stale


def test_what_cannot_be_answered_is_said_in_canonical_names():
    prices = Market().rig.prices
    with pytest.raises(NoPrices, match=r"^no prices for BTCUSDT yet$"):
        prices.latest("btcusdt")
    with pytest.raises(NoPrices, match=r"^no prices for BTCUSDT on exchange1 yet$"):
        prices.latest("btcusdt", "EXCHANGE1")
    for ask in (prices.average, lambda *question: prices.extreme(*question, highest=True)):
        with pytest.raises(NoPrices, match=r"^no prices for BTCUSDT in the last 5s$"):
            ask("btcusdt", None, period("5s"))
        with pytest.raises(NoPrices, match=r"^no prices for BTCUSDT on exchange1 in the last 7m$"):
            ask("btcusdt", "EXCHANGE1", period("7m"))
        with pytest.raises(UnknownSymbol):
            ask("nope", None, period("5s"))
        with pytest.raises(UnknownExchange):
            ask("btcusdt", "nope", period("7m"))


def test_nothing_is_answered_while_the_journal_is_replayed():
    rig = Market().rig
    rig.market.restoring = True
    with pytest.raises(Restoring):
        rig.prices.latest("BTCUSDT")
    with pytest.raises(Restoring):
        rig.prices.average("BTCUSDT", None, period("7m"))
