"""Any program as one of `Processes`, its output in a file; and one that is waited for."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.processes import ROOT, Processes, Program

_POLL_S = 0.02


class Command:
    """A `tools.servers.Server`: *arguments*, started in the repository.

    It is ready as soon as somebody listens on *port*; without one at once.
    """

    stop_signal = signal.SIGTERM

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log: Path,
        port: int = 0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.log = log
        self._arguments = list(arguments)
        self._environ = {**os.environ, **(environ or {})}

    def start(self, **options: Any) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._arguments,
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **options,
            )

    def is_ready(self, process: "subprocess.Popen[bytes]") -> bool:  # noqa: ARG002  a server is asked so
        return not self.port or _answers(self.port)


def started(processes: Processes, name: str, command: Command) -> Program:
    """Start *command* and wait until it listens.

    Raises:
        RuntimeError: it ended instead; says its last words.
    """
    program = processes.start_server(name, command)
    if program.ended:
        raise RuntimeError(f"{name} could not start: {_tail(command.log)}")
    return program


def output_of(name: str, arguments: Sequence[str]) -> str:
    """Run *arguments* to their end and return what they print.

    Raises:
        RuntimeError: the status was not 0.
    """
    with Processes() as processes:
        command = Command(arguments, log=processes.new_directory() / "output")
        program = processes.start_server(name, command)
        while not program.ended:
            processes.wait(_POLL_S)
        if program.process.returncode:
            status = program.process.returncode
            raise RuntimeError(f"{name} ended with status {status}: {_tail(command.log)}")
        return command.log.read_text(encoding="utf-8")


def _answers(port: int) -> bool:
    # a real connection: whoever listens may still be starting to accept
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip()[-600:]
