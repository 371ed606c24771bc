import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.adapters.web.headers import Head
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.router import Later
from marketflow.adapters.web.udf import UdfApi
from tests.application.minute_rig import MinuteRig

MINUTE = 60_000
RESOLUTIONS = {"1": 1, "5": 5, "15": 15, "60": 60, "240": 240, "1D": 1440, "D": 1440}
HEAD = Head((1, 1), {"host": "localhost"})


class Client:
    """A charting client; judges the body alone."""

    def __init__(self):
        self.rig = MinuteRig()
        self.api = UdfApi(self.rig.rig.market, self.rig.candles, self.rig.clock)

    def raw(self, target):
        path, _, query = target.partition("?")
        answer = getattr(self.api, path)(Request("GET", target, path, query, HEAD))
        assert isinstance(answer, Later) == (path == "history")
        response = answer.work() if isinstance(answer, Later) else answer
        assert response.status == 200
        assert ("Cache-Control", "no-store") in response.headers
        return response

    def ask(self, target):
        return json.loads(self.raw(target).body)

    def bars(self, from_s, to_s, *, symbol="BTCUSDT", resolution="1", more=""):
        query = f"symbol={symbol}&resolution={resolution}&from={from_s}&to={to_s}{more}"
        found = self.ask(f"history?{query}")
        if found["s"] != "ok":
            return found
        assert set(found) == {"s", "t", "o", "h", "l", "c", "v"}
        return list(zip(*(found[name] for name in "tohlcv"), strict=True))


@pytest.fixture
def client():
    """A client of a service with twenty minutes of prices, none in the middle ten."""
    client = Client()
    rig = client.rig
    rig.clock.advance(MINUTE - rig.now_ms % MINUTE)
    for number in range(30):
        if not 10 <= number < 20:
            rig.tell("exchange1", 100_000.5 + number)
            rig.tell("exchange2", 0.25 + number, rig.now_ms + 9)
        rig.clock.advance(MINUTE)
    return client


def told(client, resolution="1", exchange=None):
    candles = client.rig.candles_told(exchange, RESOLUTIONS[resolution] * MINUTE)
    return [(candle[0] // 1000, *candle[1:]) for candle in candles]


def test_the_configuration_has_what_a_client_looks_for(client):
    config = client.ask("config")
    exchanges = config.pop("exchanges")
    assert config == {
        "supports_search": True,
        "supports_group_request": False,
        "supports_time": True,
        "supports_marks": False,
        "supports_timescale_marks": False,
        "supported_resolutions": ["1", "5", "15", "60", "240", "1D"],
        "symbols_types": [
            {"name": "All types", "value": ""},
            {"name": "Crypto", "value": "crypto"},
        ],
    }
    assert [one["value"] for one in exchanges] == ["", "exchange1", "exchange2", "exchange3"]
    assert all(set(one) == {"value", "name", "desc"} for one in exchanges)


def test_the_time_is_a_whole_number_of_seconds_as_plain_text(client):
    response = client.raw("time")
    assert response.content_type.startswith("text/plain")
    assert response.body.decode() == str(client.rig.now_ms // 1000)


@pytest.mark.parametrize(
    ("asked", "exchange", "ticker"),
    [
        ("btcusdt", "all", "BTCUSDT"),
        ("EXCHANGE1:btcusdt", "exchange1", "exchange1:BTCUSDT"),
        ("all%3ABTCUSDT", "all", "BTCUSDT"),
    ],
)
def test_a_symbol_is_described_without_a_status_member(client, asked, exchange, ticker):
    found = client.ask(f"symbols?symbol={asked}&currencyCode=USD")
    assert "s" not in found, "clients take it for an error"
    wanted = {
        "name": "BTCUSDT",
        "ticker": ticker,
        "type": "crypto",
        "session": "24x7",
        "timezone": "Etc/UTC",
        "exchange": exchange,
        "listed_exchange": exchange,
        "minmov": 1,
        "has_intraday": True,
        "supported_resolutions": ["1", "5", "15", "60", "240", "1D"],
    }
    assert wanted.items() <= found.items()
    assert found["description"]


@pytest.mark.parametrize(
    ("price", "scale"),
    [(99_704.89, 100), (3050.0, 100), (200.0, 1000), (3.9, 10**5), (0.3, 10**6), (4e-6, 10**11)],
)
def test_the_price_scale_is_a_power_of_ten_that_shows_the_price(price, scale):
    client = Client()
    assert client.ask("symbols?symbol=BTCUSDT")["pricescale"] == 100, "no price to show yet"
    client.rig.tell("exchange1", price)
    found = client.ask("symbols?symbol=BTCUSDT")["pricescale"]
    assert found == scale
    assert round(price * found) / found == pytest.approx(price, rel=1e-4)


@settings(max_examples=200)
@given(st.floats(5e-324, 1.7976931348623157e308))
def test_every_price_has_a_scale(price):
    client = Client()
    client.rig.tell("exchange1", price)
    assert client.ask("symbols?symbol=BTCUSDT")["pricescale"] in {10**n for n in range(2, 17)}


def test_a_search_as_clients_send_it_finds_pairs_over_all_exchanges_first(client):
    found = client.ask("search?limit=30&query=BTC&type=&exchange=")
    assert [one["full_name"] for one in found] == [
        "BTCUSDT",
        "exchange1:BTCUSDT",
        "exchange2:BTCUSDT",
        "exchange3:BTCUSDT",
    ]
    for one in found:
        assert set(one) == {"symbol", "full_name", "description", "exchange", "ticker", "type"}
        assert one["symbol"] == "BTCUSDT"
        assert client.ask(f"symbols?symbol={one['ticker']}")["ticker"] == one["ticker"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 8),
        ("query=", 8),
        ("query=usdt", 8),
        ("query=doge", 4),
        ("query=nothing", 0),
        ("exchange=Exchange2", 2),
        ("exchange=nowhere", 0),
        ("type=crypto", 8),
        ("type=stock", 0),
        ("limit=3", 3),
        ("limit=0", 0),
        ("query=exchange1:b", 1),
    ],
)
def test_a_search_is_narrowed_by_what_is_given(client, query, count):
    assert len(client.ask(f"search?{query}")) == count


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("exchange", [None, "exchange1"])
def test_bars_are_those_of_the_ticks_with_open_times_in_seconds(client, resolution, exchange):
    symbol = "BTCUSDT" if exchange is None else f"{exchange}:BTCUSDT"
    found = client.bars(0, 2**33, symbol=symbol, resolution=resolution)
    assert found == told(client, resolution, exchange)
    assert all(type(bar[0]) is int for bar in found)


def test_from_is_inclusive_and_to_is_exclusive(client):
    bars = told(client)
    first, last = bars[2][0], bars[5][0]
    assert client.bars(first, last) == bars[2:5]
    assert client.bars(first + 1, last + 1) == bars[3:6]
    assert client.bars(first - 0.5, last) == bars[2:5], "some clients send fractions"
    assert client.bars(-2_208_988_800, last) == bars[:5], "and times before the epoch"


def test_the_open_bar_is_the_last_one(client):
    client.rig.tell("exchange1", 7.0)
    bars = client.bars(client.rig.now_ms // 1000 - 600, client.rig.now_ms // 1000 + 1000)
    assert bars[-1] == (client.rig.now_ms // 1000, 7.0, 7.0, 7.0, 7.0, 1)


def test_countback_is_a_floor_it_reaches_back_and_never_trims(client):
    bars = told(client)
    first, last = bars[12][0], bars[15][0]
    assert client.bars(first, last, more="&countback=2") == bars[12:15]
    assert client.bars(first, last, more="&countback=0") == bars[12:15]
    assert client.bars(first, last, more="&countback=6") == bars[9:15], "over the hole"
    assert client.bars(first, last, more="&countback=99") == bars[:15]


def test_where_there_are_no_bars_the_newest_one_before_is_named(client):
    bars = told(client)
    hole = bars[9][0] + 60, bars[10][0]
    assert client.bars(*hole) == {"s": "no_data", "nextTime": bars[9][0]}
    assert client.bars(*hole, more="&countback=2") == bars[8:10]
    assert client.bars(0, bars[0][0]) == {"s": "no_data"}
    assert client.bars(0, bars[0][0], more="&countback=300") == {"s": "no_data"}
    assert client.bars(bars[5][0], bars[5][0]) == {"s": "no_data", "nextTime": bars[4][0]}
    late = bars[-1][0] + 600
    assert client.bars(late, late + 60) == {"s": "no_data", "nextTime": bars[-1][0]}
    assert client.bars(0, 2**33, symbol="DOGEUSDT") == {"s": "no_data"}


@pytest.mark.parametrize(
    "target",
    [
        "symbols?symbol=nope",
        "symbols?symbol=nowhere:BTCUSDT",
        "symbols?symbol=:BTCUSDT",
        "symbols?symbol=exchange1:",
        "history?symbol=nope&resolution=1&from=0&to=1",
        "history?symbol=nowhere:BTCUSDT&resolution=1&from=0&to=1",
    ],
)
def test_an_unknown_symbol_is_told_in_the_body(client, target):
    assert client.ask(target) == {"s": "error", "errmsg": "unknown_symbol"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("symbols", "symbol must be given"),
        ("symbols?symbol=", "symbol must be given"),
        ("symbols?symbol=a&symbol=b", "symbol must be given once"),
        ("symbols?symbol=%ff", "symbol is malformed"),
        ("search?limit=many", "limit must be a whole number"),
        ("history?symbol=BTCUSDT&from=0&to=1", "resolution must be given"),
        ("history?symbol=BTCUSDT&resolution=2&from=0&to=1", "resolution must be one of 1, 5, 15"),
        ("history?symbol=BTCUSDT&resolution=1&to=1", "from must be given"),
        ("history?symbol=BTCUSDT&resolution=1&from=0", "to must be given"),
        ("history?symbol=BTCUSDT&resolution=1&from=x&to=1", "from must be seconds"),
        ("history?symbol=BTCUSDT&resolution=1&from=0&to=1&countback=-1", "countback must be"),
    ],
)
def test_every_other_error_is_told_in_the_body_too(client, target, message):
    found = client.ask(target)
    assert set(found) == {"s", "errmsg"}
    assert found["s"] == "error"
    assert found["errmsg"].startswith(message)


def test_a_store_that_is_away_is_an_error_never_a_shorter_history(client):
    client.rig.store.down = "postgres is away"
    found = client.bars(0, 2**33)
    assert found == {"s": "error", "errmsg": "postgres is away"}
