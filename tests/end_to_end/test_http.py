"""HTTP as any client sees it: the contract's conventions."""

import json
import re

import pytest

from tests.end_to_end.client import problem, talk

pytestmark = pytest.mark.slow

GET_ROUTES = (
    "/",
    "/prices/latest/BTCUSDT",
    "/prices/latest/exchange1/BTCUSDT",
    "/prices/highest/BTCUSDT",
    "/prices/highest/exchange1/BTCUSDT",
    "/prices/highest/BTCUSDT?period=10m",
    "/prices/lowest/BTCUSDT",
    "/prices/lowest/exchange1/BTCUSDT",
    "/prices/average/BTCUSDT",
    "/prices/average/exchange1/BTCUSDT",
    "/mode",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/symbols",
    "/exchanges",
)
POST_ROUTES = ("/mode/test", "/mode/live")


@pytest.fixture
def service(service_with_built_in_prices):
    return service_with_built_in_prices


@pytest.mark.parametrize("path", GET_ROUTES)
def test_every_route_answers_get_head_and_options(service, path):
    got, head, options = (service.ask(path, method) for method in ("GET", "HEAD", "OPTIONS"))
    assert got.status == head.status == 200
    assert got.body
    assert head.body == b""
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0
    assert int(got.headers["content-length"]) == len(got.body)
    assert got.headers["date"].endswith("GMT")
    assert options.status == 204
    assert options.body == b""
    assert {"GET", "HEAD", "OPTIONS"} == set(options.headers["allow"].split(", "))


@pytest.mark.parametrize("path", POST_ROUTES)
def test_a_mode_is_posted_not_got(service, path):
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
        answer = service.ask(path, method)
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
    problem(service.ask(path), 405)
    assert service.ask(path, "OPTIONS").headers["allow"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_on_prices_are_405_with_allow(service, method):
    answer = service.ask("/prices/latest/BTCUSDT", method)
    problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_an_unknown_method_is_501(service):
    problem(service.ask("/prices/latest/BTCUSDT", "BREW"), 501)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/nothing", ""),
        ("/prices/highest", ""),
        ("/prices/latest/BTCUSDT/", ""),
        ("/prices/latest/exchange1/BTCUSDT/more", ""),
        ("//prices/latest/BTCUSDT", ""),
        ("/prices/latest/NOPE", "BTCUSDT"),
        ("/prices/highest/exchange9/BTCUSDT", "exchange1"),
        ("/prices/average/exchange1/NOPE", "BTCUSDT"),
        ("/prices/latest/%3Cscript%3E", "BTCUSDT"),
        ("/prices/latest/BTC%0d%0aX-Evil:%201", "BTCUSDT"),
        ("/prices/latest/..%2f..%2fetc", "BTCUSDT"),
    ],
)
def test_what_is_not_there_is_404_and_names_what_is(service, path, named):
    answer = service.ask(path)
    assert named in problem(answer, 404)["detail"]
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("path", ["/prices/latest/%", "/prices/latest/%zz", "/prices/latest/%ff"])
def test_a_broken_escape_is_a_client_error(service, path):
    answer = service.ask(path)
    assert answer.status in (400, 404)
    problem(answer, answer.status)


@pytest.mark.parametrize("kind", ["highest", "lowest", "average"])
@pytest.mark.parametrize(
    "value",
    ["abc", "", "0s", "-1s", "5", "1", "s", "1s5", "31d", "721h", "1e3s", "NaN", "1 s", "٣s", "1x"],
)
def test_a_bad_period_is_400_and_named(service, kind, value):
    for where in ("BTCUSDT", "exchange1/BTCUSDT"):
        quoted = "".join(f"%{byte:02X}" for byte in value.encode())
        detail = problem(service.ask(f"/prices/{kind}/{where}?period={quoted}"), 400)["detail"]
        assert "period" in detail
        assert len(detail) < 300


@pytest.mark.parametrize(
    "query", ["period=1s&period=1s", "period=1s&period=2s", "period", "period=", "period=%zz"]
)
def test_a_repeated_empty_or_malformed_period_is_400(service, query):
    assert "period" in problem(service.ask(f"/prices/highest/BTCUSDT?{query}"), 400)["detail"]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1m30s", 90_000),
        ("90s", 90_000),
        ("1.5m", 90_000),
        ("500ms", 500),
        ("0.5h", 1_800_000),
        ("1d", 86_400_000),
        ("30d", 30 * 86_400_000),
        ("%31m", 60_000),
    ],
)
def test_gos_durations_and_days_are_periods(service, text, ms):
    answer = service.json(f"/prices/average/BTCUSDT?period={text}")
    longest = answer["to"] - answer["from"]
    if ms <= 300_000:
        assert longest == ms
    else:
        assert ms - 60_000 <= longest <= ms
        assert answer["from"] % 60_000 == 0


def test_unknown_parameters_are_ignored(service):
    answer = service.json("/prices/highest/BTCUSDT?x=1&x=2&period=5s&%zz=1&&=")
    assert answer["period"] == "5s"


def test_names_are_matched_without_regard_to_case(service):
    for path in ("/prices/latest/btcusdt", "/prices/latest/EXCHANGE1/bTcUsDt"):
        answer = service.json(path)
        assert answer["symbol"] == "BTCUSDT"
        assert answer["exchange"] in ("exchange1", "exchange2", "exchange3")
    assert service.json("/prices/average/Exchange2/btcusdt")["exchange"] == "exchange2"


def test_a_request_id_is_kept_if_it_is_one_and_made_up_otherwise(service):
    for good in ("abc", "A.b-c_9", "x" * 128):
        answer = service.ask("/mode", x_request_id=good)
        assert answer.headers["x-request-id"] == good
    made_up = set()
    for bad in ("", "a b", "x" * 129, "a;b", "é", "<script>"):
        answer = service.ask("/mode", x_request_id=bad)
        made_up.add(answer.headers["x-request-id"])
    assert len(made_up) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,128}", made) for made in made_up)
    assert problem(service.ask("/nothing", x_request_id="mine-1"), 404)["request_id"] == "mine-1"


def test_prices_and_errors_are_never_cached(service):
    for path in (*GET_ROUTES[1:14], "/nothing", "/prices/latest/NOPE"):
        assert service.ask(path).headers["cache-control"] == "no-store", path


def test_metrics_have_their_content_type(service):
    answer = service.ask("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = set(re.findall(r"^# TYPE (\S+)", answer.body.decode(), re.MULTILINE))
    assert len(names) == answer.body.count(b"# TYPE")
    samples = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    assert len({line.rpartition(" ")[0] for line in samples}) == len(samples)
    wanted = (
        "ticks_received_total ticks_rejected_total ticks_late_total ticks_aggregated_total"
        " feed_connected feed_reconnects_total feed_last_tick_timestamp_seconds channel_depth"
        " rows_stored_total outbox_rows journal_bytes store_errors_total http_requests_total"
        " http_request_duration_seconds http_connections build_info feed_latency_seconds"
    )
    assert {f"marketflow_{name}" for name in wanted.split()} <= names


def test_every_route_is_counted_by_its_template(service):
    service.ask("/prices/latest/exchange1/ETHUSDT")
    service.ask("/surely/not/there")
    service.ask("/prices/latest/BTCUSDT", "BREW")
    routes = set(re.findall(r'http_requests_total\{route="([^"]*)"', str(service.metrics())))
    assert "/prices/latest/{exchange}/{symbol}" in routes
    assert "other" in routes
    assert not any("ETHUSDT" in route or "surely" in route for route in routes)


def test_health_has_every_member(service):
    health = service.health()
    assert health["status"] == "ok"
    members = "status mode uptime_s version problems feeds postgres redis storage channels threads"
    assert set(members.split()) <= health.keys()
    feed = health["feeds"]["exchange1"]
    members = "connected stale last_tick_ms ticks_per_s reconnects rejected"
    assert set(members.split()) <= feed.keys()
    assert {"backend", "outbox_rows", "journal_bytes"} <= health["storage"].keys()
    assert {"depth", "capacity"} <= health["channels"]["inbox"].keys()
    assert health["threads"]["expected"] == health["threads"]["alive"] > 0


def test_http_1_0_is_answered_and_closed(service):
    found = talk(service, b"GET /mode HTTP/1.0\r\n\r\n")
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["mode"] == "test"


def test_connection_close_is_obeyed(service):
    request = b"GET /mode HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    found = talk(service, request + request)
    assert found.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in found.lower()


def test_a_hundred_pipelined_requests_are_answered_in_order(service):
    paths = ["/prices/latest/BTCUSDT", "/prices/highest/BTCUSDT?period=10m", "/nothing", "/mode"]
    requests = [
        f"GET {paths[n % 4]} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: n{n}\r\n\r\n"
        for n in range(99)
    ]
    last = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: n99\r\nConnection: close\r\n\r\n"
    found = talk(service, "".join([*requests, last]).encode()).decode()
    assert re.findall(r"X-Request-Id: (\S+)", found) == [f"n{n}" for n in range(100)]
    statuses = re.findall(r"HTTP/1.1 (\d+) ", found)
    assert statuses == ["200", "200", "404", "200"] * 25
