"""`test.sh` finds what is wrong, one line a check; the service it asks is a stand-in."""

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer, find_binary, free_port

SCRIPT = Path(__file__).parents[2] / "test.sh"
KEY = "marketflow:live:asset:btcusdt"
TICKER = {"symbol": "btcusdt", "price": 79850.12, "timestamp": 1696118400}
PRICE = {"asset": "btcusdt", "price": 79450.12, "last_updated": 1696118400, "sources": [TICKER]}
HEALTH = {"status": "ok", "mode": "live", "redis": {"configured": False, "ok": True}}
UNKNOWN = {"title": "Bad Request", "status": 400, "msg": "Invalid asset symbol"}
HISTORY = {
    "asset": "btcusdt",
    "items": [
        {"asset": "btcusdt", "timestamp": 1696118405, "price": 5.5, "updated_at": 1696118405},
        {"asset": "btcusdt", "timestamp": 1696118400, "price": 79450.12, "updated_at": 1696118400},
    ],
}
RIGHT = {
    "GET /mock/ticker/btcusdt": (200, TICKER),
    "GET /health": (200, HEALTH),
    "POST /refresh/btcusdt": (
        200,
        {"message": "Price for btcusdt refreshed", "asset": "btcusdt", "price": 79450.12},
    ),
    "GET /prices/btcusdt": (200, PRICE),
    "GET /prices/BTCUSDT": (200, PRICE),
    "GET /prices/nosuchasset": (400, UNKNOWN),
    "POST /refresh/nosuchasset": (400, UNKNOWN),
    "GET /assets/btcusdt/history?limit=20": (200, HISTORY),
}


class StandIn(BaseHTTPRequestHandler):
    """Answers as a service and an exchange do, but for what the test has changed."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, value = self.server.answers.get(f"{self.command} {self.path}", (404, {}))
        if self.command == "POST" and self.headers["Authorization"] != self.server.wanted:
            status, value = 401, {}
        if self.command == "GET" and "Authorization" in self.headers:
            status, value = 500, {"msg": "told a secret"}
        body = json.dumps(value, separators=self.server.separators).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  the library's naming

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def serving(changes=(), *, token="", separators=(",", ":")):
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.answers = RIGHT | dict(changes)
    server.wanted = f"Bearer {token}" if token else None
    server.separators = separators
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(base, **environ):
    """Return the exit status and the printed lines."""
    known = {"PATH": os.environ["PATH"], "BASE": base, "EXCHANGES": f"{base} {base} {base}"}
    done = subprocess.run(
        [SCRIPT], env=known | environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.fixture(scope="module")
def server():
    with RedisServer(password="hush-4713") as server:
        yield server


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_with_a_right_service_every_check_is_ok(separators):
    with serving(separators=separators) as base:
        status, lines = run(base + "/")
    assert (status, lines[-1]) == (0, "10 ok, 0 failed, 1 skipped")
    assert len(lines) == 12
    assert lines[0].startswith(f"ok       {base}/ quotes")
    assert lines[-2].startswith("skipped: redis has")


@pytest.mark.parametrize(
    ("asked", "answer", "named", "failures"),
    [
        ("GET /mock/ticker/btcusdt", (500, TICKER), "quotes btcusdt: status 500", 3),
        ("GET /mock/ticker/btcusdt", (200, TICKER | {"symbol": "x"}), "quotes btcusdt", 3),
        ("GET /mock/ticker/btcusdt", (200, TICKER | {"price": None}), "quotes btcusdt", 3),
        ("GET /health", (503, HEALTH | {"status": "down"}), "GET /health: status 503", 1),
        ("GET /prices/btcusdt", (200, PRICE | {"price": 0.0}), "GET /prices/btcusdt", 2),
        ("GET /prices/btcusdt", (404, {"msg": "Asset not found"}), "GET /prices/btcusdt", 2),
        ("GET /prices/BTCUSDT", (200, PRICE | {"price": 1.5}), "answers the same", 1),
        ("GET /prices/BTCUSDT", (200, PRICE | {"asset": "BTCUSDT"}), "answers the same", 1),
        ("GET /prices/nosuchasset", (404, UNKNOWN), "GET /prices/nosuchasset is refused", 1),
        (
            "GET /prices/nosuchasset",
            (400, UNKNOWN | {"msg": "Invalid asset symbol."}),
            "GET /prices/nosuchasset is refused",
            1,
        ),
        ("POST /refresh/nosuchasset", (200, UNKNOWN), "POST /refresh/nosuchasset is refused", 1),
        (
            "GET /assets/btcusdt/history?limit=20",
            (200, HISTORY | {"items": HISTORY["items"][:1]}),
            "history has the refreshed price: wanted 79450.12",
            1,
        ),
        (
            "POST /refresh/btcusdt",
            (502, {"msg": "No exchange answered"}),
            "POST /refresh/btcusdt: status 502",
            2,
        ),
    ],
)
def test_what_is_wrong_fails_the_run_and_is_named(asked, answer, named, failures, tmp_path):
    with serving({asked: answer}) as base:
        status, lines = run(base, PATH=f"{impatience(tmp_path)}:{os.environ['PATH']}")
    assert status == 1
    assert named in next(line for line in lines if line.startswith("FAILED   "))
    assert len([line for line in lines if line.startswith("FAILED   ")]) == failures
    assert f" {failures} failed," in lines[-1]


def impatience(path):
    """Return a directory whose `sleep` does not."""
    sleep = path / "sleep"
    sleep.write_text("#!/bin/sh\n")
    sleep.chmod(0o755)
    return path


def test_a_service_that_is_not_there_fails_every_check_and_no_check_hangs(tmp_path):
    base = f"http://127.0.0.1:{free_port()}"
    path = f"{impatience(tmp_path)}:{os.environ['PATH']}"
    status, lines = run(base, PATH=path, EXCHANGES="")
    assert status == 1
    assert lines[0] == "skipped: mock exchanges: EXCHANGES is empty"
    assert lines[-1] == "0 ok, 7 failed, 2 skipped"


def test_the_admin_token_is_sent_where_it_is_wanted_and_nowhere_else():
    with serving(token="hush-4714") as base:
        status, lines = run(base, TOKEN="hush-4714")
    assert (status, lines[-1]) == (0, "10 ok, 0 failed, 1 skipped")
    assert "hush-4714" not in "".join(lines)


def uses_redis():
    return {"GET /health": (200, HEALTH | {"redis": {"configured": True, "ok": True}})}


def test_redis_must_hold_the_price_for_a_limited_time(server):
    find_binary("redis-cli")
    where = {"REDIS_URL": f"redis://127.0.0.1:{server.port}", "REDISCLI_AUTH": server.password}
    client = redis.Redis("127.0.0.1", server.port, password=server.password, protocol=2)
    with serving(uses_redis()) as base, client:
        status, lines = run(base, **where)
        assert (status, lines[-2]) == (
            1,
            f"FAILED   redis has {KEY} for a limited time: redis-cli PTTL: -2",
        )
        client.set(KEY, "{}")
        assert run(base, **where)[1][-2].endswith("PTTL: -1")
        client.pexpire(KEY, 60_000)
        status, lines = run(base, **where)
        assert (status, lines[-2]) == (0, f"ok       redis has {KEY} for a limited time")
        status, lines = run(base, **(where | {"REDISCLI_AUTH": "wrong"}))
        assert status == 1
        assert "redis-cli PING" in lines[-2]


def test_without_redis_cli_redis_is_skipped_and_says_so(tmp_path):
    for tool in ("sh", "curl", "grep", "sed", "head", "tail", "tr", "cut", "sleep"):
        (tmp_path / tool).symlink_to(find_binary(tool))
    with serving(uses_redis()) as base:
        status, lines = run(base, PATH=str(tmp_path))
    assert status == 0
    assert lines[-2].endswith(": redis-cli is not installed")
