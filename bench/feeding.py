"""The other end of the feeder: a process that sends what it is told, and what it has sent."""

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any

from bench.feeder import pair_names
from tools.processes import Processes
from tools.servers import free_port

EXCHANGES = ("exchange1", "exchange2", "exchange3")
_POLL_S = 0.005


@dataclass(frozen=True)
class Ledger:
    """What was sent: every burst holds a line of each pair."""

    bursts: tuple[int, ...]  # by exchange
    pairs: int
    connected: int
    cut_off: int

    @property
    def ticks(self) -> int:
        return sum(self.bursts) * self.pairs


class Feeder:
    """A running `bench.feeder`; silent until told."""

    def __init__(self, processes: Processes, *, pairs: int = 5) -> None:
        self.ports = [free_port() for _ in EXCHANGES]
        self.pairs = pair_names(pairs)
        self._processes = processes
        control = free_port()
        arguments = ["-m", "bench.feeder", "--control", str(control), "--pairs", str(pairs)]
        arguments += ["--ports", *map(str, self.ports)]
        program = processes.start("feeder", arguments)
        if not processes.wait_until_listening(program, control):
            raise RuntimeError("the feeder could not start")
        self._connection = socket.create_connection(("127.0.0.1", control), timeout=10)
        self._connection.setblocking(False)
        self.ledger()

    def wait_for_clients(self) -> None:
        """Wait until somebody listens to every exchange."""
        while self.ledger().connected < len(self.ports):
            self._processes.wait(0.02)

    def pace(self, ticks_per_s: float) -> None:
        """Send so many ticks a second from now on, each burst by a call of its own."""
        self._ask(do="pace", rate=ticks_per_s)

    def blast(self) -> None:
        """Send as fast as it is read from now on."""
        self._ask(do="pace", rate=None)

    def pause(self) -> Ledger:
        """Send nothing more; return what was sent."""
        return self._ledger_of(self._ask(do="pace", rate=0))

    def fill(self, ticks_per_s: float, seconds: float) -> None:
        """Send what such a pace would have sent in the last *seconds*, as fast as it is read."""
        self._ask(do="fill", rate=ticks_per_s, ms=int(seconds * 1000))

    def ledger(self) -> Ledger:
        """Return what has been sent; exact only while it is silent."""
        return self._ledger_of(self._ask(do="tell"))

    def close(self) -> None:
        self._connection.close()

    def _ledger_of(self, answer: dict[str, Any]) -> Ledger:
        return Ledger(
            tuple(answer["bursts"]), len(self.pairs), answer["connected"], answer["cut_off"]
        )

    def _ask(self, **command: object) -> dict[str, Any]:
        self._connection.sendall(json.dumps(command).encode() + b"\n")
        received = b""
        while not received.endswith(b"\n"):
            with contextlib.suppress(BlockingIOError):
                if not (data := self._connection.recv(65536)):
                    raise RuntimeError("the feeder has ended")
                received += data
                continue
            self._processes.wait(_POLL_S)
        answer: dict[str, Any] = json.loads(received)
        return answer
