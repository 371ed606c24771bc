"""`make run STORE=postgres`, from its first line to the last trace of it."""

import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

import psutil
import pytest

from tests.ports import free_port
from tools.processes import is_taken

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
STOP_S = 15.0


def three_free_ports():
    while True:
        port = free_port()
        if not any(is_taken("127.0.0.1", port + n) for n in range(3)):
            return port


def until(found, timeout=20.0):
    deadline, pause = monotonic() + timeout, Event()
    while not (value := found()):
        assert monotonic() < deadline
        pause.wait(0.05)
    return value


@contextmanager
def running(path, *options):
    """Start it; yields the process and what reads all it has printed."""
    output = path / "output"
    ports = ["--port", str(free_port()), "--exchange-port", str(three_free_ports())]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.run", *ports, *options],
            cwd=ROOT,
            stdout=file,
            stderr=file,
        )
    try:
        yield process, output.read_text
    finally:
        process.terminate()
        process.wait(STOP_S)


def home_of(printed):
    return Path(re.search(r"data_dir=(\S+)/data", printed)[1])


def ask(printed, tool):
    """Run the command that was printed for *tool*."""
    command = re.search(rf"^\S+ {tool} .*$", printed, re.MULTILINE)[0]
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


def test_it_runs_on_real_servers_and_ctrl_c_leaves_nothing_behind(tmp_path):
    with running(tmp_path, "--store", "postgres") as (process, read):
        until(lambda: "redis-cli" in read(), 30)
        printed = read()
        until(lambda: '"exchange":"exchange3"' in ask(printed, "redis-cli"))
        assert "average_price" in ask(printed, "psql")
        assert home_of(printed).is_dir()
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) > 6
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) == 0
        assert [member for member in family if member.is_running()] == []
        assert not home_of(printed).exists()
        assert "killed" not in read()


def test_nothing_goes_on_when_it_is_killed(tmp_path):
    with running(tmp_path, "--store", "postgres") as (process, read):
        until(lambda: "redis-cli" in read(), 30)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=STOP_S)
        for member in alive:
            member.kill()
        shutil.rmtree(home_of(read()))
        assert alive == []


def test_without_servers_it_says_in_one_sentence_what_to_install(tmp_path):
    code = (
        "import sys; from tools import binaries, run;"
        "binaries.POSTGRES_FOLDERS = '/nowhere/*/bin';"
        "sys.exit(run.main())"
    )
    options = ["--port", str(free_port()), "--exchange-port", str(three_free_ports())]
    ended = subprocess.run(
        [sys.executable, "-c", code, *options, "--store", "postgres"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "make run: PostgreSQL 15 and Redis 6.2 or newer must be installed, there was no such "
        "postgres and no redis-server: run `apt-get install postgresql redis-server`\n"
    )
