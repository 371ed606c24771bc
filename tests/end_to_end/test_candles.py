"""Candles of every interval against the feeders' own ledgers, the open one included."""

import json
from collections import defaultdict

import pytest

from tests.end_to_end.feeder import Feeder, now_ms
from tests.end_to_end.harness import Service, config_of

pytestmark = pytest.mark.slow

EXCHANGES = ("exchange1", "exchange2", "exchange3")
SYMBOLS = ("BTCUSDT", "DOGEUSDT")
HISTORY_S = 1000
INTERVALS_MS = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}
RESOLUTIONS = {"1": "1m", "5": "5m", "15": "15m", "60": "1h", "240": "4h", "1D": "1d", "D": "1d"}


@pytest.fixture
def feeders(feed) -> list[Feeder]:
    return [feed(name, scale=1 + n / 1000, seed=n) for n, name in enumerate(EXCHANGES)]


@pytest.fixture
def service(serve, feeders) -> Service:
    """A service that has read a quarter of an hour, and goes on hearing nothing."""
    start_ms = now_ms() - HISTORY_S * 1000
    for n, feeder in enumerate(feeders):
        moments = range(start_ms + 7 * n, now_ms(), 877)
        # all were silent for more than a minute
        told = [at for at in moments if not 200_000 <= at - start_ms < 390_000]
        feeder.backlog = [tick for at in told for tick in feeder.burst(at)]
    config = config_of([(feeder.name, feeder.port) for feeder in feeders])
    config["aggregation"]["late_intervals"] = HISTORY_S
    service = serve(config).start()
    for feeder in feeders:
        feeder.wait_for_connection()
    service.wait_for_ticks(sum(len(feeder.ledger) for feeder in feeders), 20)
    return service


def candles_of(feeders, symbol: str, exchange: str | None, interval_ms: int) -> list[list]:
    """Work out [open_ms, open, high, low, close, ticks] of every interval with a tick."""
    intervals = defaultdict(list)
    for feeder in feeders:
        for tick in feeder.ledger:
            if tick.symbol == symbol and exchange in (None, tick.exchange):
                intervals[tick.timestamp_ms // interval_ms * interval_ms].append(tick)
    found = []
    for open_ms, ticks in sorted(intervals.items()):
        first = min(ticks, key=lambda tick: (tick.timestamp_ms, tick.exchange))
        last = min(ticks, key=lambda tick: (-tick.timestamp_ms, tick.exchange))
        prices = [tick.price for tick in ticks]
        found.append([open_ms, first.price, max(prices), min(prices), last.price, len(ticks)])
    return found


def every_question():
    for symbol in SYMBOLS:
        for exchange in (None, *EXCHANGES):
            for interval in INTERVALS_MS:
                yield symbol, exchange, interval


def test_candles_of_every_interval_are_the_ledgers(service, feeders):
    for _ in range(3):  # stored minutes, those in memory, and the open one in turn
        for symbol, exchange, interval in every_question():
            query = f"interval={interval}" + (f"&exchange={exchange}" if exchange else "")
            before_ms = now_ms()
            answer = service.json(f"/candles/{symbol}?{query}")
            expected = candles_of(feeders, symbol, exchange, INTERVALS_MS[interval])
            assert answer["candles"] == expected
            assert (answer["symbol"], answer["exchange"]) == (symbol, exchange)
            closed = [
                sum(candle[0] + INTERVALS_MS[interval] <= at for candle in expected)
                for at in (before_ms, now_ms())
            ]
            assert closed[0] <= answer["closed"] <= closed[1]
            finished = service.json(f"/candles/{symbol}?{query}&include_open=false")["candles"]
            assert finished == expected[: len(finished)]
            assert len(finished) >= answer["closed"]
        count = sum(len(feeder.ledger) for feeder in feeders)
        for feeder in feeders:
            assert feeder.send(feeder.burst())
        service.wait_for_ticks(count + 15)


def test_candles_of_stored_minutes_alone_are_the_ledgers(service, feeders):
    service.terminate()
    file = service.home / "config.json"
    config = json.loads(file.read_text())
    config["aggregation"]["late_intervals"] = 3  # what came late is in no memory any more
    file.write_text(json.dumps(config))
    service.start()
    for symbol, exchange, interval in every_question():
        query = f"interval={interval}" + (f"&exchange={exchange}" if exchange else "")
        answer = service.json(f"/candles/{symbol}?{query}")
        assert answer["candles"] == candles_of(feeders, symbol, exchange, INTERVALS_MS[interval])


def test_ranges_limits_and_filled_holes(service, feeders):
    whole = candles_of(feeders, "BTCUSDT", None, 60_000)
    first, last = whole[2][0], whole[-3][0]
    inside = whole[2:-3]
    target = f"/candles/BTCUSDT?from={first}&to={last}"
    assert service.json(target)["candles"] == inside
    assert service.json(f"{target}&limit=4")["candles"] == inside[:4]
    assert service.json(f"/candles/BTCUSDT?to={last}&limit=4")["candles"] == inside[-4:]
    filled = service.json(f"{target}&fill=prev")["candles"]
    assert [candle[0] for candle in filled] == list(range(first, last, 60_000))
    flat = [candle for candle in filled if not candle[5]]
    assert len(flat) >= 2
    for candle in flat:
        (before,) = [one for one in filled if one[0] == candle[0] - 60_000]
        assert candle[1:] == [before[4]] * 4 + [0]
    assert [candle for candle in filled if candle[5]] == inside


def test_charting_clients_are_told_the_same(service, feeders):
    to_s = now_ms() // 1000 + 3600
    for resolution, interval in RESOLUTIONS.items():
        for name, exchange in (("BTCUSDT", None), ("exchange2:BTCUSDT", "exchange2")):
            answer = service.json(
                f"/udf/history?symbol={name}&resolution={resolution}&from=0&to={to_s}&countback=2"
            )
            assert answer["s"] == "ok"
            expected = candles_of(feeders, "BTCUSDT", exchange, INTERVALS_MS[interval])
            found = zip(*(answer[member] for member in "tohlcv"), strict=True)
            assert [[bar[0] * 1000, *bar[1:]] for bar in found] == expected
