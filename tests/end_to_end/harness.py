"""The real process under test: started on a free port, asked over HTTP, ended by signals."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from tests.end_to_end.ledger import StoredRow, milliseconds
from tests.ports import free_port

PROGRAM = Path(__file__).parents[2] / "marketflow.py"
START_S = 15.0
STOP_S = 10.0  # what the service promises

_TABLE = "SELECT name FROM sqlite_master WHERE name = 'market_data'"
_ROWS = """
SELECT mode, exchange, pair_name, timestamp, tick_count, min_price, max_price, average_price,
       open_price, close_price, open_at, close_at, min_at, max_at
FROM market_data
"""

T = TypeVar("T")


class Answer(NamedTuple):
    """A whole HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read strictly: NaN and Infinity are refused."""
        return json.loads(self.body, parse_constant=_refuse)


def until(found: Callable[[], T], timeout: float, what: str) -> T:
    """Return *found()* as soon as it is true; fails after *timeout* seconds."""
    deadline, pause = monotonic() + timeout, Event()
    while not (value := found()):
        assert monotonic() < deadline, f"within {timeout} s there was no {what}"
        pause.wait(0.02)
    return value


def config_of(
    live: Iterable[tuple[str, int]], test: Iterable[tuple[str, int]] = (), **sections: Any
) -> dict[str, Any]:
    """Return a configuration with TCP sources, two-second minutes, and nobody to ask for quotes."""
    sources = {"live": [_tcp(*source) for source in live]}
    if test:
        sources["test"] = [_tcp(*source) for source in test]
    return {
        "mode": "live",
        "sources": sources,
        "aggregation": {"interval": "2s", "grace": "200ms"},
        "sources_http": {"live": []},
        **sections,
    }


class Service:
    """One instance on one data directory; may be started again after it ended."""

    def __init__(self, home: Path, config: dict[str, Any], *, port: int | None = None) -> None:
        self.home = home
        self.port = port or free_port()
        self.data_dir = home / "data"
        self._config_file = home / "config.json"
        self._config_file.write_text(json.dumps(config))
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self.log: list[str] = []

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def start(self, *arguments: str, ready: bool = True) -> "Service":
        """Start the process; waits until it serves prices, unless told not to."""
        self._process = subprocess.Popen(
            self.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._reader = Thread(target=self._read_log, args=(self._process,), name="log-reader")
        self._reader.start()
        if ready:
            until(self._is_ready, START_S, "service that is ready")
        return self

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that starts the service."""
        files = ["--config", str(self._config_file), "--data-dir", str(self.data_dir)]
        return [sys.executable, str(PROGRAM), "--port", str(self.port), *files, *arguments]

    def signal(self, number: int) -> float:
        """Send a signal; return when, on the monotonic clock."""
        assert self._process is not None
        at = monotonic()
        self._process.send_signal(number)
        return at

    def wait(self, timeout: float = STOP_S) -> int:
        """Return the exit status."""
        assert self._process is not None
        assert self._reader is not None
        status = self._process.wait(timeout)
        self._reader.join()
        return status

    def terminate(self) -> None:
        """Stop it in order: status 0, in time, without a traceback."""
        self.signal(signal.SIGTERM)
        status = self.wait()
        assert status == 0, self.log[-20:]
        assert not self.tracebacks()

    def kill(self) -> float:
        """End it without a word; return when, on the monotonic clock."""
        at = self.signal(signal.SIGKILL)
        self.wait()
        return at

    def clean_up(self) -> None:
        """End it if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask over a connection of its own; `x_request_id` is the header X-Request-Id."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())

    def json(self, path: str) -> Any:
        """Return the JSON of a 200."""
        answer = self.ask(path)
        assert answer.status == 200, (path, answer)
        return answer.json

    def health(self) -> Any:
        """Return what /health says."""
        return self.ask("/health").json

    def metrics(self) -> dict[str, float]:
        """Return every sample of /metrics by `name{labels}`, without the prefix."""
        found = {}
        for line in self.ask("/metrics").body.decode().splitlines():
            if not line.startswith("#"):
                sample, _, value = line.rpartition(" ")
                found[sample.removeprefix("marketflow_")] = float(value)
        return found

    def total(self, name: str, **labels: str) -> int:
        """Return the sum of a metric's samples that have *labels*."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return round(
            sum(
                value
                for sample, value in self.metrics().items()
                if re.match(rf"{name}(\{{|$)", sample) and all(part in sample for part in wanted)
            )
        )

    def wait_for_ticks(self, count: int, timeout: float = 10.0, **labels: str) -> None:
        """Wait until so many ticks are in the windows."""
        until(
            lambda: self.total("ticks_aggregated_total", **labels) >= count,
            timeout,
            f"{count} ticks aggregated",
        )

    def rows(self) -> list[StoredRow]:
        """Return the stored minutes, as another program reads them; none before the first."""
        file = self.data_dir / "marketflow.db"
        if not file.exists():
            return []
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            if not database.execute(_TABLE).fetchall():
                return []
            return [
                StoredRow(*row[:3], milliseconds(row[3]), *row[4:10], *map(milliseconds, row[10:]))
                for row in database.execute(_ROWS)
            ]

    def tasks(self) -> int:
        """Return how many threads the process has, as the kernel counts them."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def rss_mb(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_s(self) -> float:
        """Return the processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def tracebacks(self) -> list[str]:
        """Return the log lines that tell of an unexpected exception."""
        return [line for line in self.log if "Traceback" in line]

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            return self.ask("/health/ready").status == 200
        except ConnectionRefusedError:
            return False

    def _read_log(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            self.log += (line.decode().rstrip("\n") for line in lines)


def _tcp(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "kind": "tcp", "host": "127.0.0.1", "port": port}


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
