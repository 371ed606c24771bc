"""The service, the fake exchanges and servers: processes started and stopped together."""

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from tools.servers import Server

ROOT = Path(__file__).resolve().parents[1]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP_S = 12.0  # the service gives itself 10
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


class Interrupted(Exception):
    """Somebody wants an end: Ctrl-C, SIGTERM, or the terminal was closed."""


class Program(NamedTuple):
    """A running process, what to call it, and how it is ended and started."""

    name: str
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals
    launch: Callable[[], subprocess.Popen[bytes]]

    @property
    def ended(self) -> bool:
        """Whether the process is over; its status is `process.returncode`."""
        return self.process.poll() is not None


class Processes:
    """Starts programs; on exit they stop, the last one started first, and leave nothing behind.

    Signals are blocked on entry, so that none can fall between two steps: `wait` notices them.
    """

    def __init__(self) -> None:
        self._programs: list[Program] = []
        self._directories: list[Path] = []

    def __enter__(self) -> Self:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        deadline = monotonic() + _STOP_S
        for name, process, stop_signal, _ in reversed(self._programs):
            process.send_signal(stop_signal)
            process.send_signal(signal.SIGCONT)  # somebody may have frozen it, to see what happens
            try:
                process.wait(max(0.1, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                print(f"{name} does not stop and is killed", file=sys.stderr)  # noqa: T201  to a terminal
                process.kill()
                process.wait()
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)

    def start(
        self, name: str, arguments: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> Program:
        """Start `python` with *arguments* in the repository, *environ* added to ours."""
        return self._start(
            name,
            signal.SIGTERM,
            partial(
                subprocess.Popen,
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
            ),
        )

    def start_server(self, name: str, server: Server) -> Program:
        """Start *server* and wait until it answers, or has ended instead."""
        program = self._start(name, server.stop_signal, server.start)
        self.wait_until(program, lambda: server.is_ready(program.process))
        return program

    def start_again(self, ended: Program) -> Program:
        """Start what *ended*; it keeps its place in the order of stopping."""
        program = ended._replace(process=ended.launch())
        self._programs[self._programs.index(ended)] = program
        return program

    def new_directory(self) -> Path:
        """Return a directory that is deleted when everything has stopped."""
        directory = Path(tempfile.mkdtemp(prefix="marketflow-"))
        self._directories.append(directory)
        return directory

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            Interrupted: a signal came; anything started is stopped on exit.
        """
        if signal.sigtimedwait(_SIGNALS, seconds) is not None:
            raise Interrupted

    def wait_until(self, program: Program, ready: Callable[[], bool]) -> bool:
        """Wait for *ready()*; False if *program* ended instead."""
        while not ready():
            if program.ended:
                return False
            self.wait(_POLL_S)
        return not program.ended

    def wait_until_listening(self, program: Program, port: int) -> bool:
        """Wait for *program* to listen on the local *port*; False if it ended instead."""
        return self.wait_until(program, lambda: is_taken("127.0.0.1", port))

    def _start(self, name: str, stop_signal: signal.Signals, start: Callable[..., Any]) -> Program:
        def launch() -> subprocess.Popen[bytes]:
            process: subprocess.Popen[bytes] = start(
                process_group=0,  # Ctrl-C reaches us alone: we stop the others in order
                preexec_fn=partial(_prepare, stop_signal),  # this process has one thread
            )
            return process

        program = Program(name, launch(), stop_signal, launch)
        self._programs.append(program)
        return program


def _prepare(stop_signal: signal.Signals) -> None:
    """Let a new process have its signals, and be told to stop should we vanish without a word."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal)


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens on *port*, found out without connecting.

    Raises:
        OSError: *host* is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False
