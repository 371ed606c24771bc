"""From the start of the process: to the first answer, and through a journal."""

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, time_ns

from bench.command import Command, started
from bench.feeder import Script, pair_names
from bench.feeding import EXCHANGES
from bench.service import Service
from bench.session import Session
from marketflow.adapters.storage.journal import FileJournal
from marketflow.application.ports import JournalRecord
from marketflow.domain.mode import Mode
from tools.processes import Processes
from tools.servers import free_port

FIRST_ANSWER = "Start on the embedded default"
REPLAY = "Replay of the journal"
_REPEATS = 5
_PATIENCE_S = 20.0
_LOOK_S = 0.002
_QUESTION = b"GET /prices/latest/BTCUSDT HTTP/1.1\r\nHost: localhost\r\n\r\n"
_TICKS = 3_000_000
_FEW_TICKS = 100_000
_CHUNK_BYTES = 64 * 1024
_SPAN_MS = 100_000
_TOOK = re.compile(r'msg="journal replayed".* took_s=([\d.]+)')


def first_answer(session: Session) -> None:
    """Measure until a price is answered, several times a round."""
    answers, prices = [], []
    for number in session.each_round():
        for _ in range(_REPEATS):
            answer_ms, price_ms = _start_ms()
            answers.append(answer_ms)
            prices.append(price_ms)
        session.tell(f"round {number}, first answer", answers[-1], "ms")
    add = session.report.add
    add(FIRST_ANSWER, "to the first answer", answers, unit="ms", at_most=300)
    add(FIRST_ANSWER, "to the first price", prices, unit="ms")


def replay(session: Session) -> None:
    """Measure how fast a restarted service gets through what it had journaled."""
    for name, chunk_bytes, ticks, least in (
        ("chunks of 64 KiB", _CHUNK_BYTES, _TICKS, 1_200_000),
        ("chunks of one burst", 1, _FEW_TICKS, None),
    ):
        rates = []
        for number in session.each_round():
            rates.append(_replay_rate(chunk_bytes, ticks))
            session.tell(f"round {number}, {name}", rates[-1], "ticks/s")
        session.report.add(REPLAY, name, rates, unit="ticks/s", at_least=least)


class _Asked(Command):
    """The service as it is shipped; ready when it has answered a price."""

    def __init__(self, home: Path) -> None:
        port = free_port()
        where = ["--port", str(port), "--data-dir", str(home / "data")]
        super().__init__(
            [sys.executable, "marketflow.py", *where],
            log=home / "log",
            port=port,
            environ={"PATH": os.environ.get("PATH", "")},
        )
        self.answered = self.priced = 0.0

    def is_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        deadline, pause = monotonic() + _PATIENCE_S, threading.Event()
        while monotonic() < deadline and process.poll() is None:
            answer = self._ask()
            self.answered = self.answered or (monotonic() if answer else 0.0)
            if answer.startswith(b"HTTP/1.1 200"):
                self.priced = monotonic()
                return True
            pause.wait(_LOOK_S)
        return False

    def _ask(self) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(_QUESTION)
                return connection.recv(4096)
        except OSError:
            return b""


def _start_ms() -> tuple[float, float]:
    with Processes() as processes:
        asked = _Asked(processes.new_directory())
        began = monotonic()
        started(processes, "marketflow", asked)
        return (asked.answered - began) * 1000, (asked.priced - began) * 1000


def _replay_rate(chunk_bytes: int, ticks: int) -> float:
    pairs = pair_names(5)
    service = Service(ports=[free_port() for _ in EXCHANGES], pairs=pairs)
    written = _write_journal(service.directory / "data" / "journal", chunk_bytes, ticks)
    with service:
        service.wait_until(lambda: _TOOK.search(service.log.read_text(encoding="utf-8")))
        replayed = service.counts()["ticks_replayed"]
        took = _TOOK.search(service.log.read_text(encoding="utf-8"))
    if replayed != written:
        raise RuntimeError(f"ticks replayed must be {written}, were {replayed:.0f}")
    assert took is not None
    return replayed / float(took[1])


def _write_journal(directory: Path, chunk_bytes: int, ticks: int) -> int:
    """Journal *ticks* that have come in the last minutes, as listeners would; return how many."""
    directory.parent.mkdir(mode=0o700, exist_ok=True)
    scripts = [Script(number, pair_names(5)) for number in range(1, len(EXCHANGES) + 1)]
    line_bytes = len(scripts[0].burst())
    bursts = max(1, chunk_bytes // line_bytes)
    count = ticks // (bursts * 5 * len(EXCHANGES))
    began_ms = time_ns() // 1_000_000 - _SPAN_MS
    journal = FileJournal(directory, max_bytes=1 << 30, rows_need_ms=600_000)
    for number in range(count):
        at_ms = began_ms + number * _SPAN_MS // count
        for exchange, script in zip(EXCHANGES, scripts, strict=True):
            chunk = b"".join(script.burst(at_ms) for _ in range(bursts))
            journal.append(JournalRecord(Mode.LIVE, exchange, number, at_ms, chunk))
    journal.close()
    return count * bursts * 5 * len(EXCHANGES)
