"""What a charting client asks of the running service, in the order it asks."""

import json
from urllib.parse import urlencode

import pytest

from tests.end_to_end.feeder import now_ms
from tests.end_to_end.harness import Service, config_of

pytestmark = pytest.mark.slow

MINUTE_S = 60


class Client:
    """Sends what TradingView's UDF client sends; reads bodies as JSON, whatever the status."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def send(self, route: str, **parameters):
        query = f"?{urlencode(parameters)}" if parameters else ""
        answer = self._service.ask(f"/udf/{route}{query}")
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        return json.loads(answer.body)

    def bars(self, symbol: str, resolution: str, from_s: int, to_s: int, countback: int):
        found = self.send(
            "history",
            symbol=symbol,
            resolution=resolution,
            **{"from": from_s, "to": to_s},
            countback=countback,
        )
        if found["s"] == "no_data":
            return found.get("nextTime")
        assert found["s"] == "ok", found
        return list(zip(*(found[member] for member in "tohlcv"), strict=True))


def test_a_chart_is_opened_scrolled_back_and_kept_up_to_date(serve, feed):
    feeder = feed()
    start_ms = (now_ms() // 60_000 - 12) * 60_000
    feeder.backlog = [
        tick
        for at in range(start_ms, now_ms(), 5_000)
        if not 240_000 <= at - start_ms < 420_000
        for tick in feeder.burst(at)
    ]
    config = config_of([(feeder.name, feeder.port)])
    config["aggregation"]["late_intervals"] = 1000
    service = serve(config).start()
    feeder.wait_for_connection()
    service.wait_for_ticks(len(feeder.ledger))
    client = Client(service)

    config = client.send("config")
    assert config["supports_search"]
    assert not config["supports_group_request"]
    (found, _) = client.send("search", limit=30, query="BTC", type="", exchange="")
    symbol = client.send("symbols", symbol=found["ticker"])
    assert "s" not in symbol
    assert abs(client.send("time") - now_ms() / 1000) < 2

    now_s = now_ms() // 1000
    shown = client.bars(symbol["ticker"], "1", now_s - 3 * MINUTE_S, now_s, 5)
    opens = sorted({tick.timestamp_ms // 60_000 * MINUTE_S for tick in feeder.ledger})
    assert [bar[0] for bar in shown] == opens[-5:]
    earlier = client.bars(symbol["ticker"], "1", shown[0][0] - 60, shown[0][0], 3)
    assert [bar[0] for bar in earlier] == opens[-8:-5]
    hole_s = start_ms // 1000 + 240
    assert client.bars(symbol["ticker"], "1", hole_s, hole_s + 180, 0) == hole_s - 60
    assert client.bars(symbol["ticker"], "1", 0, opens[0], 300) is None

    feeder.send([("BTCUSDT", 123_456.5, now_ms())])
    service.wait_for_ticks(len(feeder.ledger))
    now_s = now_ms() // 1000
    *_, last = client.bars(symbol["ticker"], "1", now_s - 600, now_s + 60, 2)
    assert last[4] == last[2] == 123_456.5


def test_errors_are_told_in_bodies(service_with_built_in_prices):
    client = Client(service_with_built_in_prices)
    assert client.send("symbols", symbol="NOPE") == {"s": "error", "errmsg": "unknown_symbol"}
    answer = client.send("history", symbol="NOPE", resolution="1", to=1, **{"from": 0})
    assert answer == {"s": "error", "errmsg": "unknown_symbol"}
    answer = client.send("history", symbol="BTCUSDT", resolution="7", to=1, **{"from": 0})
    assert answer["s"] == "error"
    assert "resolution" in answer["errmsg"]


def test_the_price_scale_shows_each_pairs_price(service_with_built_in_prices):
    client = Client(service_with_built_in_prices)
    for name in service_with_built_in_prices.json("/symbols")["symbols"]:
        price = service_with_built_in_prices.json(f"/prices/latest/{name}")["price"]
        scale = client.send("symbols", symbol=f"exchange1:{name}")["pricescale"]
        assert scale in {10**n for n in range(2, 17)}
        assert round(price * scale) / scale == pytest.approx(price, rel=1e-3)
