"""Throw-away PostgreSQL and Redis servers: how each is created, started and asked if it is ready.

Whoever starts one owns the process and the directory.
"""

import contextlib
import os
import pwd
import random
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tools.binaries import find_binary

HOST = "127.0.0.1"
_LOG_TAIL = 2000  # characters

Settings = Mapping[str, object]


class Server(Protocol):
    """What can be started in a directory of its own, and again when it has ended."""

    port: int
    stop_signal: signal.Signals  # ends it in good order, whoever is connected
    log: Path

    def start(self, **options: Any) -> "subprocess.Popen[bytes]":
        """Start the process, with *options* of `Popen`; what it needs is created the first time.

        Raises:
            FileNotFoundError: it is not installed; says what to install.
            RuntimeError: what it needs cannot be created.
        """
        ...

    def is_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        """Whether *process* answers."""
        ...


class Postgres:
    """A PostgreSQL; with *password* it is asked for, else everybody is trusted.

    *settings* are those of `postgresql.conf`. As root it runs under another user's name.
    """

    user = "marketflow"  # the administrator
    stop_signal = signal.SIGINT  # sessions are told, and cut

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        password: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.port = port
        self.log = directory / "log"
        self._directory = directory
        self._data = directory / "data"
        self._password = password
        self._settings: dict[str, object] = {
            "listen_addresses": HOST,
            "port": port,
            "unix_socket_directories": directory,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 30,
            "log_checkpoints": "off",
            **(settings or {}),
        }

    def start(self, **options: Any) -> "subprocess.Popen[bytes]":
        binary = find_binary("postgres")
        if not self._data.exists():
            self._create(binary)
        arguments = [part for item in self._settings.items() for part in ("-c", "%s=%s" % item)]
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  what we found
                [binary, "-D", str(self._data), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",  # ours may be none of its user's business
                **_as_nobody_special(),
                **options,
            )

    def is_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        try:
            state = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        # a file left by a killed server says "ready" too, but of another process
        return len(state) > 7 and state[0] == str(process.pid) and "ready" in state[7]

    def _create(self, binary: str) -> None:
        owner = _as_nobody_special()
        if owner:
            os.chown(self._directory, owner["user"], owner["group"])
        secret = self._directory / "secret"
        secret.touch(mode=0o600)
        if owner:
            os.chown(secret, owner["user"], owner["group"])
        secret.write_text(self._password or "unused", encoding="utf-8")
        auth = "scram-sha-256" if self._password else "trust"
        # of the same version: beside it, wherever PATH leads to it from
        beside = Path(binary).resolve().with_name("initdb")
        done = subprocess.run(  # noqa: S603  what we found
            [
                str(beside) if beside.exists() else find_binary("initdb"),
                *("-D", str(self._data), "-U", self.user, "-A", auth, f"--pwfile={secret}"),
                *("--no-sync", "--encoding=UTF8", "--locale=C"),
            ],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **owner,
        )
        secret.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr.strip()}")


class Redis:
    """A Redis that keeps nothing; with *password* it is asked for.

    *settings* are those of `redis.conf`.
    """

    stop_signal = signal.SIGTERM

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        password: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.port = port
        self.log = directory / "log"
        self._password = password
        self._settings: dict[str, object] = {
            "bind": HOST,
            "port": port,
            "dir": directory,
            "save": '""',
            "appendonly": "no",
            **(settings or {}),
        }

    def start(self, **options: Any) -> "subprocess.Popen[bytes]":
        lines = [f"{name} {value}\n" for name, value in self._settings.items()]
        if self._password:
            lines.append(f"requirepass {self._password}\n")
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  what we found
                [find_binary("redis-server"), "-"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                **options,
            )
        assert process.stdin is not None
        # not as arguments: those are everybody's to read; and if it has ended, its log says why
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write("".join(lines).encode())
        return process

    def is_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        if process.poll() is not None:
            return False
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def free_port() -> int:
    """Return a port nobody listens on, of those no client is given by the system."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def last_words(server: Server) -> str:
    """Return the end of what *server* has logged."""
    return server.log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]


def _as_nobody_special() -> dict[str, Any]:
    """Return the options of `Popen` for a program that refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL must not run as root, and there is no user postgres or nobody")
