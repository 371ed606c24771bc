"""How the process ends, and how it refuses to begin."""

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from tests.end_to_end.harness import PROGRAM, Service, config_of, until
from tests.end_to_end.ledger import check_rows_after_kills

pytestmark = pytest.mark.slow


@pytest.fixture
def running(serve, feed) -> Service:
    """A service whose exchange sends without end."""
    feeder = feed(pulse_s=0.02)
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    service.wait_for_ticks(20)
    return service


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=10, **options
    )


def one_line(text: str) -> str:
    assert re.fullmatch(r"[^\n]+\n", text), text
    return text


@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGTERM],
        [signal.SIGINT],
        [signal.SIGTERM, signal.SIGTERM],
        [signal.SIGINT, signal.SIGINT, signal.SIGINT],
    ],
    ids=["SIGTERM", "SIGINT", "SIGTERM twice", "SIGINT three times"],
)
def test_a_signal_ends_it_with_every_tick_stored(serve, feed, signals):
    feeders = [feed(name, pulse_s=0.02) for name in ("exchange1", "exchange2")]
    service = serve(config_of([(feeder.name, feeder.port) for feeder in feeders])).start()
    until(lambda: len(feeders[1].ledger) > 200, 10, "ticks")
    at = service.signal(signals[0])
    for number in signals[1:]:
        Event().wait(0.01)
        service.signal(number)
    assert service.wait(10) == 0
    assert not service.tracebacks()
    assert "ERROR" not in "".join(service.log)
    sent = [tick for feeder in feeders for tick in feeder.ledger]
    check_rows_after_kills(service.rows(), sent, [at], sure_s=0.1)


def test_idle_clients_and_half_a_request_do_not_hold_it_up(running):
    with ExitStack() as stack:
        for number in range(50):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", running.port)))
            if number % 2:
                client.sendall(b"GET /prices/latest/BTCUSDT HTTP/1.1\r\nHost: localhost\r\n")
        running.terminate()


def test_a_signal_during_the_start_ends_it_quietly(serve, feed):
    feeder = feed()
    config = config_of([(feeder.name, feeder.port)])
    for number in (signal.SIGTERM, signal.SIGINT):
        service = serve(config).start(ready=False)
        until(lambda: any("source connected" in line for line in service.log), 10, "start")  # noqa: B023
        service.signal(number)
        assert service.wait() == 0
        assert not service.tracebacks()


def test_a_port_that_is_taken_is_one_line_and_status_1(running, tmp_path):
    result = run("--port", str(running.port), "--data-dir", str(tmp_path / "other"))
    assert result.returncode == 1
    assert str(running.port) in one_line(result.stderr)
    assert running.health()["status"] == "ok"


def test_a_second_instance_on_one_data_directory_names_it(running, serve):
    other = serve({}, port=None)
    arguments = ["--port", str(other.port), "--data-dir", str(running.data_dir)]
    result = run(*arguments)
    assert result.returncode == 1
    assert str(running.data_dir) in one_line(result.stderr)
    before = running.total("ticks_aggregated_total")
    running.wait_for_ticks(before + 10)
    assert running.health()["status"] == "ok"
    running.terminate()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "0"],
        ["--port", "65536"],
        ["--port", "-1"],
        ["--port", "abc"],
        ["--port", ""],
        ["--port", "80.5"],
        ["--port"],
        ["--port", "8080", "--port"],
        ["--prot", "8080"],
        ["8080"],
        ["--mode", "dead"],
        ["--log-level", "loud"],
        ["--config", "/nowhere/config.json"],
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, tmp_path):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    one_line(result.stderr)
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"http": {"prot": 1}}', "http.prot"),
        ('{"nonsense": 1}', "nonsense"),
        ('{"http": {"port": "8080"}}', "http.port"),
        ('{"http": {"port": true}}', "http.port"),
        ('{"aggregation": {"interval": "7s"}}', "aggregation.interval"),
        ('{"window": {"span": "-5m"}}', "window.span"),
        ('{"sources": {"live": [{"name": "a", "kind": "ftp"}]}}', "kind"),
        ('{"symbols": ["latest"]}', "latest"),
        ('{"symbols": []}', "symbols"),
        ('{"mode": "dead"}', "mode"),
    ],
)
def test_a_bad_configuration_is_one_line_and_status_2(text, named, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(text)
    result = run("--config", str(file), "--data-dir", str(tmp_path / "data"))
    assert result.returncode == 2
    assert named in one_line(result.stderr)
    assert not (tmp_path / "data").exists()


def test_bad_starts_leave_a_running_instance_alone(running, tmp_path):
    file = tmp_path / "bad.json"
    file.write_text('{"http": {"prot": 1}}')
    before = running.total("ticks_aggregated_total")
    assert run("--config", str(file), "--data-dir", str(running.data_dir)).returncode == 2
    assert run("--port", "x", "--data-dir", str(running.data_dir)).returncode == 2
    running.wait_for_ticks(before + 20)
    assert running.health()["problems"] == []
    running.terminate()


def test_help_begins_with_the_briefs_text(tmp_path):
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.startswith(
        "Usage:\n  marketflow [--port <N>]\n  marketflow --help\n\n"
        "Options:\n  --port N     Port number\n"
    )


def test_files_are_private(running):
    until(running.rows, 5, "rows")
    assert running.data_dir.stat().st_mode & 0o777 == 0o700
    modes = {
        path.name: oct(path.stat().st_mode & 0o777)
        for path in running.data_dir.rglob("*")
        if path.is_file()
    }
    assert set(modes.values()) == {"0o600"}, modes


def test_secrets_are_shown_nowhere(serve, tmp_path: Path):
    secret = "open-sesame-4711"
    service = serve({"http": {"admin_token": secret}}).start()
    assert secret not in json.dumps(service.health())
    service.ask("/mode/live", "POST", authorization=f"Bearer {secret}x")
    checked = run(*service.command("--check-config")[2:])
    assert checked.returncode == 0
    assert secret not in checked.stdout + checked.stderr
    service.terminate()
    assert secret not in "".join(service.log)
