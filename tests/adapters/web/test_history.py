import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.adapters.web.accept import prefers_csv
from marketflow.adapters.web.headers import Head
from marketflow.adapters.web.history import HistoryApi
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.router import Later
from marketflow.domain.errors import BadParameter
from tests.application.minute_rig import MinuteRig

MINUTE = 60_000
COLUMNS = {
    "pair_name": str,
    "exchange": str,
    "timestamp": int,
    "average_price": float,
    "min_price": float,
    "max_price": float,
    "open_price": float,
    "close_price": float,
    "open_at": int,
    "close_at": int,
    "min_at": int,
    "max_at": int,
    "tick_count": int,
    "mode": str,
    "datetime": str,
}


@pytest.fixture
def rig():
    """Ten minutes of three exchanges, the oldest of them settled for good."""
    rig = MinuteRig()
    rig.clock.advance(MINUTE - rig.now_ms % MINUTE)
    for _ in range(10):
        for number, name in enumerate(("exchange1", "exchange2", "exchange3")):
            rig.tell(name, 1.1 + number)
            rig.tell(name, 1 / 3 + number, rig.now_ms + 7)
        rig.clock.advance(MINUTE)
        rig.flush()
        rig.clock.advance(-100)
    rig.clock.advance(2_000)
    return rig


@pytest.fixture
def ask(rig):
    """Ask the API as the router does; the first part of the path says which route."""
    api = HistoryApi(rig.history, rig.candles, rig.gaps)
    routes = {"history": api.rows, "candles": api.candles, "gaps": api.gaps}

    def ask(target, **headers):
        path, _, query = target.partition("?")
        _, route, symbol = path.split("/")
        head = Head((1, 1), {"host": "localhost", **headers})
        answer = routes[route](Request("GET", target, path, query, head), symbol)
        assert isinstance(answer, Later), "what reads the store must not be answered inline"
        return answer.work()

    return ask


def headers_of(response):
    assert len({name for name, _ in response.headers}) == len(response.headers)
    return dict(response.headers)


def test_rows_are_the_tables_columns_by_their_names(ask, rig):
    response = ask("/history/btcusdt")
    body = json.loads(response.body)
    assert (body["symbol"], body["exchange"], len(body["rows"])) == ("BTCUSDT", None, 30)
    for row in body["rows"]:
        assert {name: type(value) for name, value in row.items()} == COLUMNS
    first = body["rows"][0]
    end = rig.now_ms - 2_000 - 9 * MINUTE
    assert first["timestamp"] == end
    assert re.fullmatch(r"2025-05-05T\d\d:\d\d:00\.000Z", first["datetime"])
    assert (first["open_at"], first["close_at"]) == (end - MINUTE, end - MINUTE + 7)
    assert (first["open_price"], first["close_price"], first["tick_count"]) == (1.1, 1 / 3, 2)


def test_csv_loads_in_the_csv_module_with_the_same_values(ask):
    rows = json.loads(ask("/history/BTCUSDT?exchange=EXCHANGE2").body)["rows"]
    assert {row["exchange"] for row in rows} == {"exchange2"}
    for answer in (
        ask("/history/BTCUSDT?exchange=exchange2&format=csv"),
        ask("/history/BTCUSDT?exchange=exchange2", accept="text/csv"),
    ):
        assert answer.content_type == "text/csv; charset=utf-8"
        table = csv.DictReader(io.StringIO(answer.body.decode(), newline=""))
        assert table.fieldnames == list(COLUMNS)
        loaded = [{name: COLUMNS[name](text) for name, text in row.items()} for row in table]
        assert loaded == rows


@pytest.mark.parametrize(
    ("accept", "csv_wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/csv", True),
        ("TEXT/CSV; q=0.5", True),
        ("text/*", True),
        ("application/json, text/csv", False),
        ("application/json;q=0.5, text/csv;q=0.6", True),
        ("application/json;q=0.5, */*;q=0.6", True),
        ("text/csv;q=0.2, */*;q=0.1", True),
        ("text/csv;q=0, */*", False),
        ("text/csv;q=0", False),
        ("text/csv;q=nonsense", False),
        ("image/png", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        (",;,=;q=", False),
    ],
)
def test_accept_decides_between_csv_and_json(ask, accept, csv_wanted):
    response = ask("/history/BTCUSDT", accept=accept)
    assert response.content_type.startswith("text/csv" if csv_wanted else "application/json")
    assert headers_of(response)["Vary"] == "Accept"
    assert ask("/history/BTCUSDT?format=json", accept=accept).content_type == "application/json"
    assert ask("/history/BTCUSDT?format=csv", accept=accept).content_type.startswith("text/csv")


@given(st.text(max_size=60))
def test_any_accept_header_is_understood_somehow(text):
    assert prefers_csv(text) in (True, False)


@pytest.mark.parametrize(
    "query", ["from=0&limit=7", "from=0&limit=7&format=csv", "from=0&limit=29"]
)
def test_links_lead_through_the_whole_history_and_end(ask, query):
    found, target = [], f"/history/BTCUSDT?{query}"
    while target:
        response = ask(target)
        text = response.body.decode()
        if "csv" in query:
            page = list(csv.DictReader(io.StringIO(text, newline="")))
        else:
            page = json.loads(text)["rows"]
        found += [(int(row["timestamp"]), row["exchange"]) for row in page]
        link = headers_of(response).get("Link", "")
        target = link and re.fullmatch(r'<(/history/BTCUSDT\?[!-~]+)>; rel="next"', link)[1]
    everything = json.loads(ask("/history/BTCUSDT").body)["rows"]
    assert found == [(row["timestamp"], row["exchange"]) for row in everything]


def test_without_from_the_newest_rows_come_ascending_and_nothing_follows(ask):
    whole = json.loads(ask("/history/BTCUSDT").body)["rows"]
    response = ask("/history/BTCUSDT?limit=4")
    assert json.loads(response.body)["rows"] == whole[-4:]
    assert "Link" not in headers_of(response)


def test_no_rows_is_an_empty_answer_not_an_error(ask):
    assert json.loads(ask("/history/DOGEUSDT").body) == {
        "symbol": "DOGEUSDT",
        "exchange": None,
        "rows": [],
    }
    assert ask("/history/DOGEUSDT?format=csv").body.decode() == ",".join(COLUMNS) + "\r\n"
    assert json.loads(ask("/candles/DOGEUSDT?fill=prev").body)["candles"] == []
    assert json.loads(ask("/gaps/DOGEUSDT").body)["gaps"] == []


@pytest.mark.parametrize("route", ["history", "candles", "gaps"])
def test_only_what_can_change_no_more_has_a_tag(ask, rig, route):
    settled_ms = rig.now_ms - 2_000 - 4 * MINUTE
    for target, tagged in (
        (f"/{route}/BTCUSDT", False),
        (f"/{route}/BTCUSDT?from=0", False),
        (f"/{route}/BTCUSDT?to={settled_ms + MINUTE}", False),
        (f"/{route}/BTCUSDT?to={settled_ms}", True),
        (f"/{route}/BTCUSDT?from={settled_ms - MINUTE}&to={settled_ms}", True),
    ):
        headers = headers_of(ask(target))
        if tagged:
            assert re.fullmatch(r'"[!#-~]+"', headers["ETag"])
            assert headers["Cache-Control"] == "no-cache"
        else:
            assert headers["Cache-Control"] == "no-store"
            assert "ETag" not in headers


def test_tags_are_equal_where_answers_are_and_differ_between_forms(ask, rig):
    target = f"/history/BTCUSDT?to={rig.now_ms - 5 * MINUTE}"
    tags = [
        headers_of(ask(one))["ETag"]
        for one in (target, target, f"{target}&format=csv", f"{target}&limit=1")
    ]
    assert tags[0] == tags[1]
    assert len(set(tags)) == 3


def test_candles_come_in_the_order_of_ccxt(ask, rig):
    body = json.loads(ask("/candles/btcusdt?interval=5m&exchange=Exchange1").body)
    told = rig.candles_told("exchange1", 5 * MINUTE)
    assert body == {
        "symbol": "BTCUSDT",
        "exchange": "exchange1",
        "interval": "5m",
        "candles": [list(candle) for candle in told],
        "closed": sum(candle[0] + 5 * MINUTE <= rig.now_ms for candle in told),
    }


def test_candles_that_are_too_many_are_followed_by_a_link(ask, rig):
    found, target = [], "/candles/BTCUSDT?from=0&limit=3"
    while target:
        response = ask(target)
        found += json.loads(response.body)["candles"]
        link = headers_of(response).get("Link", "")
        target = link and re.fullmatch(r'<(/candles/BTCUSDT\?[!-~]+)>; rel="next"', link)[1]
    assert found == [list(candle) for candle in rig.candles_told(None, MINUTE)]


def test_gaps_name_exchange_and_whole_minutes(ask, rig):
    end = rig.now_ms - 2_000
    rig.clock.advance(3 * MINUTE)
    body = json.loads(ask(f"/gaps/BTCUSDT?from={end - MINUTE}").body)
    assert body["gaps"] == [
        {"exchange": f"exchange{n}", "from": end, "to": end + 3 * MINUTE} for n in (1, 2, 3)
    ]
    assert (body["from"], body["to"]) == (end - MINUTE, end + 3 * MINUTE)


BAD = {
    "history": [
        *("limit=0", "limit=5001", "limit=-1", "limit=x", "limit=", "limit=1&limit=2"),
        *("from=yesterday", "to=1e9", "from=", "from=2&to=1", "format=xml", "exchange="),
        *("cursor=", "cursor=abc", "cursor=MTox!", "cursor=%C3%A9", "cursor=OmV4", "cursor=MTo"),
        *("cursor=MTplA", "cursor=MTpl=", "cursor=MTpl%0A", "format=json&format=csv"),
    ],
    "candles": [
        *("interval=2m", "interval=", "interval=1M", "interval=60", "limit=5001"),
        *("include_open=yes", "include_open=", "fill=next", "from=2&to=1", "fill=prev&fill=prev"),
    ],
    "gaps": ["from=x", "to=", "from=2&to=1", "exchange=a&exchange=b"],
}


@pytest.mark.parametrize(
    ("route", "query"), [(r, q) for r, queries in BAD.items() for q in queries]
)
def test_a_malformed_parameter_is_refused_by_name(ask, route, query):
    with pytest.raises(BadParameter) as bad:
        ask(f"/{route}/BTCUSDT?{query}")
    name = query.partition("=")[0]
    assert str(bad.value).startswith(name)


def test_unknown_parameters_are_ignored(ask):
    for route in BAD:
        assert ask(f"/{route}/BTCUSDT?nonsense=1&nonsense=&x").status == 200
