"""`python -m fakeexchange` as its users start it."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from time import monotonic, time

import pytest

from fakeexchange.prices import Playback, bursts

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


@contextmanager
def running(ports, *options, option="--port"):
    chosen = [word for port in ports for word in (option, str(port))]
    with subprocess.Popen(
        [sys.executable, "-m", "fakeexchange", *chosen, *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for port in ports:
                assert f"port={port}" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def heard(port, count):
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        connection.makefile("rb") as stream,
    ):
        return [json.loads(line) for line in islice(stream, count)]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_promptly_and_quietly_with_status_0(ending):
    ports = free_ports(1)
    with running(ports) as process, socket.create_connection(("127.0.0.1", ports[0])) as client:
        assert client.recv(1)
        began = monotonic()
        process.send_signal(ending)
        assert process.wait(5) == 0
        assert monotonic() - began < 1
        assert [line.split('msg="')[1][:16] for line in process.stderr] == ["client connected"]


def test_several_ports_are_several_exchanges():
    ports = free_ports(3)
    with running(ports, "--seed", "1"):
        for number, port in enumerate(ports, start=1):
            ticks = heard(port, 5)
            stamp = ticks[0]["timestamp"]
            lines = Playback(bursts(number, seed=1)).take(0, stamp).splitlines()
            assert ticks == [json.loads(line) for line in lines]


def asked(port, path):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_over_http_several_ports_are_several_exchanges_that_list_ten_thousand_assets():
    ports = free_ports(3)
    with running(ports, option="--http-port"):
        for symbol in ("btcusdt", "symbol10000"):
            answers = [asked(port, f"/mock/ticker/{symbol}") for port in ports]
            assert {status for status, _ in answers} == {200}
            prices = [answer["price"] for _, answer in answers]
            assert len(set(prices)) == 3
            assert max(prices) / min(prices) < 1.002
        assert asked(ports[0], "/mock/ticker/symbol10001")[0] == 404


def test_one_process_serves_both_kinds_and_the_chosen_symbols():
    tcp, over_http = free_ports(2)
    with running([tcp], "--http-port", str(over_http), "--symbols", "xrpusdt") as process:
        assert f"kind=http host=127.0.0.1 port={over_http}" in process.stderr.readline()
        assert heard(tcp, 1)[0]["symbol"] == "XRPUSDT"
        assert asked(over_http, "/mock/ticker/XRPUSDT")[1]["symbol"] == "xrpusdt"
        assert asked(over_http, "/mock/ticker/btcusdt")[0] == 404


@pytest.mark.parametrize("option", ["--port", "--http-port"])
def test_a_taken_port_is_one_line_and_status_1(option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "fakeexchange", option, str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        1,
        "",
        f"fakeexchange: cannot listen on 127.0.0.1:{port}: Address already in use\n",
    )


def test_a_recording_is_played_with_timestamps_of_now(tmp_path):
    path = tmp_path / "recording.ndjson"
    recorded = [
        {"symbol": "BTCUSDT", "price": 99881.6126506916, "timestamp": 1_600_000_000_000},
        {"symbol": "SOLUSDT", "price": 200.66892666564016, "timestamp": 1_600_000_001_000},
    ]
    path.write_text(
        "".join(json.dumps(tick, separators=(",", ":")) + "\n" for tick in recorded),
        encoding="ascii",
    )
    ports = free_ports(1)
    began_ms = time() * 1000
    with running(ports, "--replay", str(path), "--speed", "10"):
        ticks = heard(ports[0], 4)
    assert [tick["price"] for tick in ticks] == [tick["price"] for tick in recorded] * 2
    stamps = [tick["timestamp"] for tick in ticks]
    assert began_ms - 1 <= stamps[0] <= time() * 1000
    assert [stamp - stamps[0] for stamp in stamps] == pytest.approx([0, 100, 200, 300], abs=1)
