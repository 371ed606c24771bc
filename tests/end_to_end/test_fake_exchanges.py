"""The service with the fake exchanges as separate processes, as a newcomer runs it."""

import subprocess
import sys

import pytest

from tests.end_to_end.harness import PROGRAM, config_of, until
from tests.end_to_end.ledger import SYMBOLS
from tests.ports import free_port

pytestmark = pytest.mark.slow

EXCHANGES = ("exchange1", "exchange2", "exchange3")


def test_all_thirteen_routes_answer_for_every_pair_and_exchange(serve, cleanup):
    ports = [free_port() for _ in EXCHANGES]
    command = [sys.executable, "-m", "fakeexchange", "--seed", "7"]
    for port in ports:
        command += ["--port", str(port)]
    exchanges = cleanup.enter_context(
        subprocess.Popen(command, cwd=PROGRAM.parent, stderr=subprocess.DEVNULL)
    )
    cleanup.callback(exchanges.terminate)
    service = serve(config_of(zip(EXCHANGES, ports, strict=True))).start()
    for name in EXCHANGES:
        service.wait_for_ticks(25, source=name)
    for symbol in SYMBOLS:
        for where in (symbol, *(f"{name}/{symbol}" for name in EXCHANGES)):
            for kind in ("latest", "highest", "lowest", "average"):
                assert service.json(f"/prices/{kind}/{where}")["price"] > 0
                if kind != "latest":
                    assert service.json(f"/prices/{kind}/{where}?period=30s")["count"] >= 5
    for path in ("/mode/test", "/mode/live"):
        assert service.ask(path, "POST").status == 200
    until(lambda: service.health()["status"] == "ok", 6, "ok")
    service.terminate()
    assert {row.mode for row in service.rows()} == {"live", "test"}
