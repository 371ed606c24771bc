"""`make run STORE=postgres`: a throw-away PostgreSQL and Redis under the service."""

# ruff: noqa: T201  it talks to a terminal

import secrets
from pathlib import Path
from time import monotonic

from tools.processes import Processes, Program
from tools.servers import HOST, Postgres, Redis, Server, free_port, last_words

_DATABASE = "postgres"
_DOWN_S = 10.0  # long enough to see in /health what happens without it
_ROWS = (
    "SELECT timestamp, exchange, pair_name, average_price, tick_count"
    " FROM market_data ORDER BY timestamp DESC LIMIT 15"
)


class ServerEnded(Exception):
    """A server ended instead of starting; the message is one sentence."""


class RealServers:
    """Both servers in a directory that goes with *processes*; one that ends is started again."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._home = processes.new_directory()
        self._home.chmod(0o711)  # PostgreSQL's user must get through
        # every user of this machine can reach its ports
        self._password = secrets.token_hex(8)
        self._postgres = Postgres(self._new("postgres"), free_port(), password=self._password)
        self._redis = Redis(self._new("redis"), free_port(), password=self._password)
        self._programs: dict[str, Program] = {}
        self._ended_at: dict[str, float] = {}

    @property
    def environ(self) -> dict[str, str]:
        """What the service must be told; its own files are thrown away as well."""
        return {
            "MARKETFLOW_DATA_DIR": str(self._home / "data"),
            "MARKETFLOW_STORAGE_BACKEND": "postgres",
            "MARKETFLOW_POSTGRES_HOST": HOST,
            "MARKETFLOW_POSTGRES_PORT": str(self._postgres.port),
            "MARKETFLOW_POSTGRES_USER": self._postgres.user,
            "MARKETFLOW_POSTGRES_PASSWORD": self._password,
            "MARKETFLOW_POSTGRES_DATABASE": _DATABASE,
            "MARKETFLOW_POSTGRES_SSLMODE": "prefer",
            "MARKETFLOW_CACHE_BACKEND": "redis",
            "MARKETFLOW_REDIS_HOST": HOST,
            "MARKETFLOW_REDIS_PORT": str(self._redis.port),
            "MARKETFLOW_REDIS_USERNAME": "",
            "MARKETFLOW_REDIS_PASSWORD": self._password,
            "MARKETFLOW_REDIS_DB": "0",
            "MARKETFLOW_REDIS_TLS": "false",
        }

    def start(self) -> None:
        """Start both and wait until they answer.

        Raises:
            ServerEnded
        """
        servers: dict[str, Server] = {"postgres": self._postgres, "redis": self._redis}
        for name, server in servers.items():
            program = self._processes.start_server(name, server)
            if program.ended:
                words = (last_words(server).strip().splitlines() or ["it left no word"])[-1]
                raise ServerEnded(f"{name} ended with status {program.process.returncode}: {words}")
            self._programs[name] = program

    def tend(self) -> None:
        """Start again what has ended, after a while."""
        for name, program in self._programs.items():
            if not program.ended:
                continue
            if name not in self._ended_at:
                self._ended_at[name] = monotonic()
                print(f"\n{name} ended, it is started again in {_DOWN_S:g} s\n", flush=True)
            elif monotonic() >= self._ended_at[name] + _DOWN_S:
                del self._ended_at[name]
                self._programs[name] = self._processes.start_again(program)

    def ways_in(self, mode: str) -> list[str]:
        """Return the commands that look inside."""
        postgres = f"-h {HOST} -p {self._postgres.port} -U {self._postgres.user} {_DATABASE}"
        latest = f"HGETALL marketflow:{mode}:latest:BTCUSDT"
        return [
            f'PGPASSWORD={self._password} psql {postgres} -c "{_ROWS}"',
            f"REDISCLI_AUTH={self._password} redis-cli -p {self._redis.port} {latest}",
        ]

    def _new(self, name: str) -> Path:
        directory = self._home / name
        directory.mkdir(mode=0o700)
        return directory
