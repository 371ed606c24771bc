"""`test.sh` against the real service."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.asset_rig import asset_config, quote_all, start_exchanges
from tests.servers import RedisServer

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "test.sh"
SECRET = "hush-4717"


def run(service, exchanges, **environ):
    """Return the exit status and what was printed."""
    known = {
        "PATH": os.environ["PATH"],
        "BASE": f"http://127.0.0.1:{service.port}",
        "EXCHANGES": " ".join(f"http://127.0.0.1:{exchange.port}" for exchange in exchanges),
    }
    done = subprocess.run(
        [SCRIPT], env=known | environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_smoke_script_is_content_with_the_service(serve, tmp_path, cleanup):
    exchanges = start_exchanges(cleanup)
    quote_all(exchanges, "btcusdt", (79_450.12, 1.5), (79_460.5, 0.25), (79_440.0, 12))
    service = serve(asset_config(exchanges, tmp_path)).start()
    status, printed = run(service, exchanges)
    assert status == 0, printed
    assert "10 ok, 0 failed, 1 skipped" in printed
    for exchange in exchanges:
        exchange.stop()
    status, printed = run(service, [])
    assert status == 1
    assert "FAILED   POST /refresh/btcusdt: status 502" in printed
    assert "ok       GET /prices/btcusdt: 794" in printed


def test_the_smoke_script_looks_into_redis(serve, tmp_path, cleanup):
    exchanges = start_exchanges(cleanup)
    quote_all(exchanges, "btcusdt", *[(79_450.12, 1)] * 3)
    server = cleanup.enter_context(RedisServer(password=SECRET))
    config = asset_config(
        exchanges,
        tmp_path,
        cache={"backend": "redis"},
        redis={"host": server.host, "port": server.port, "password": SECRET},
        http={"admin_token": "hush-4718"},
    )
    service = serve(config).start()
    where = {"REDIS_URL": f"redis://{server.host}:{server.port}", "REDISCLI_AUTH": SECRET}
    status, printed = run(service, exchanges, TOKEN="hush-4718", **where)
    assert status == 0, printed
    assert "11 ok, 0 failed, 0 skipped" in printed
    assert "hush" not in printed
