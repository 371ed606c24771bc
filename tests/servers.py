"""Throw-away PostgreSQL and Redis servers that can be killed, frozen and started again."""

import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import psutil
import psycopg2

from tests.ports import free_port
from tools.binaries import find_binary
from tools.servers import HOST, Postgres, Redis, last_words

__all__ = ["SCHEMA", "Database", "PostgresServer", "RedisServer", "find_binary", "free_port"]

SCHEMA = (Path(__file__).parents[1] / "schema.sql").read_text()

_PATIENCE_S = 30.0
_LOOK_S = 0.01
_numbers = count()


class _Server:
    """A process with children; every state can be left by `restart`."""

    def __init__(self, kind, password, settings):
        self.host = HOST
        self.port = free_port()
        self.password = password
        self.directory = Path(tempfile.mkdtemp(prefix="marketflow-"))
        self._launcher = kind(self.directory, self.port, password=password, settings=settings)
        self._process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.clean_up()

    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def start(self):
        """Start it, a Redis empty, a PostgreSQL as it was, and wait until it answers."""
        if not self.is_running():
            with _signals_let_through():
                self._process = self._launcher.start(start_new_session=True)
            self._wait_until_ready()
        return self

    def stop(self):
        """End it in good order; sessions are told, and cut."""
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(self._launcher.stop_signal)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None

    def kill(self):
        """End it as `kill -9` of every process does; nothing is written any more."""
        if self._process is None:
            return
        tree = self._tree()
        for process in tree:
            _signal(process, "kill")
        self._process.wait(_PATIENCE_S)
        self._process = None
        waited = threading.Event()
        while not all(_is_over(process) for process in tree):
            waited.wait(_LOOK_S)

    def pause(self):
        """Freeze it: connections stay, and are made, but nothing answers."""
        for process in self._tree():  # the parent first: it would notice and start new children
            _signal(process, "suspend")

    def resume(self):
        for process in reversed(self._tree()):
            _signal(process, "resume")

    def restart(self):
        self.stop()
        return self.start()

    def clean_up(self):
        """Kill it and delete all it has written."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _tree(self):
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _wait_until_ready(self):
        waited = threading.Event()
        for _ in range(int(_PATIENCE_S / _LOOK_S)):
            if not self.is_running():
                raise RuntimeError(f"server did not start: {last_words(self._launcher)}")
            if self._launcher.is_ready(self._process):
                return
            waited.wait(_LOOK_S)
        self.kill()
        words = last_words(self._launcher)
        raise RuntimeError(f"server was not ready in {_PATIENCE_S} s: {words}")


class PostgresServer(_Server):
    """A PostgreSQL of its own; with *password* it is asked for, else everybody is trusted.

    *settings* are those of `postgresql.conf`. As root it runs under another user's name.
    """

    user = Postgres.user

    def __init__(self, *, password=None, settings=None):
        super().__init__(Postgres, password, settings)

    def address(self, **changes):
        """Return the keyword arguments that a client needs."""
        return _main_database(self).address(**changes)

    def sql(self, statement, values=None):
        """Run one statement as the administrator; return its rows, or None if it has none."""
        return _main_database(self).sql(statement, values)

    @contextmanager
    def new_database(self):
        """Lend an empty database that is dropped afterwards."""
        name = f"test_{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        yield Database(self, name)
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def log(self):
        return self._launcher.log.read_text()


class Database:
    """One database of a PostgreSQL server."""

    def __init__(self, server, name):
        self.server = server
        self.name = name

    def address(self, **changes):
        """Return the keyword arguments that a client needs."""
        address = {
            "host": self.server.host,
            "port": self.server.port,
            "user": self.server.user,
            "password": self.server.password or "",
            "database": self.name,
        }
        return address | changes

    def session(self):
        """Return an administrator's psycopg2 connection in autocommit mode; close it."""
        connection = psycopg2.connect(
            **self.address(),
            connect_timeout=10,
            application_name="administrator",
            options="-c lock_timeout=10s",  # a lock left behind fails a test, and never hangs it
        )
        connection.autocommit = True
        return connection

    def sql(self, statement, values=None):
        """Run one statement as the administrator; return its rows, or None if it has none."""
        with closing(self.session()) as session:
            cursor = session.cursor()
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else None

    def reset(self):
        """End every session, drop all there is, and forget the database's settings."""
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        self.sql("DROP SCHEMA public CASCADE")
        self.sql("CREATE SCHEMA public")
        self.sql("GRANT USAGE ON SCHEMA public TO PUBLIC")
        self.sql(f"ALTER DATABASE {self.name} RESET ALL")


class RedisServer(_Server):
    """A Redis of its own that keeps nothing; with *password* it is asked for.

    *settings* are those of `redis.conf`.
    """

    def __init__(self, *, password=None, settings=None):
        super().__init__(Redis, password, settings)


@contextmanager
def _signals_let_through():
    """Unblock what the service, run by a test in this process, has blocked: children inherit it."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal(process, name):
    try:
        getattr(process, name)()
    except psutil.NoSuchProcess:
        return


def _is_over(process):
    try:
        # orphans are somebody else's to bury, who may take a while
        return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True


def _main_database(server):
    return Database(server, "postgres")
