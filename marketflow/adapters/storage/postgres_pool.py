"""Connections to PostgreSQL, a bounded number of them, lent for one use at a time."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from marketflow.adapters.storage.postgres_connection import PostgresConnection, connect
from marketflow.adapters.storage.postgres_server import (
    ConnectionLost,
    PostgresServer,
    ValuesRefused,
)
from marketflow.domain.errors import StorageUnavailable

T = TypeVar("T")


class PostgresPool:
    """Up to *size* connections, opened when first needed and kept while they work.

    A failure makes every connection of that time suspect: none is lent again. So a server that
    was replaced, or made read-only and back, is met with new eyes.
    """

    def __init__(self, server: PostgresServer, size: int) -> None:
        self.server = server
        self._size = size
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[PostgresConnection] = []
        self._generation = 0
        self._closed = False

    def run(self, work: Callable[[PostgresConnection], T]) -> T:
        """Return what *work* makes of a connection; it must be harmless to do it twice.

        All of its statements together have the server's statement timeout. A connection found
        dead is replaced once, within that time.

        Raises:
            ValuesRefused: raised by *work*; the connection stays in use.
            StorageUnavailable: there was no connection, or *work* raised it.
        """
        patience_s = self.server.statement_timeout_s
        if not self._free.acquire(timeout=patience_s):
            raise self.server.unavailable(f"all {self._size} connections are in use")
        try:
            return self._run(work)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close every connection; one in use is closed when it is given back."""
        with self._lock:
            self._closed = True
        self._forget(self._generation)

    def _run(self, work: Callable[[PostgresConnection], T]) -> T:
        started = monotonic()
        connect_by = started + self.server.connect_timeout_s
        connection = self._take()
        if connection is not None:
            deadline = started + self.server.statement_timeout_s
            try:
                return self._use(connection, work, deadline)
            except ConnectionLost:
                # it may have died long ago, while nobody looked
                connect_by = min(connect_by, deadline)
        connection = self._open(connect_by)
        return self._use(connection, work, monotonic() + self.server.statement_timeout_s)

    def _use(
        self,
        connection: PostgresConnection,
        work: Callable[[PostgresConnection], T],
        deadline: float,
    ) -> T:
        connection.deadline = deadline
        try:
            result = work(connection)
        except ValuesRefused:
            self._give_back(connection)
            raise
        except BaseException:
            connection.close()
            self._forget(connection.generation)
            raise
        self._give_back(connection)
        return result

    def _take(self) -> PostgresConnection | None:
        with self._lock:
            if self._closed:
                raise self.server.unavailable("it was closed")
            return self._idle.pop() if self._idle else None

    def _open(self, deadline: float) -> PostgresConnection:
        with self._lock:
            generation = self._generation
        try:
            return connect(self.server, generation, deadline)
        except StorageUnavailable:
            self._forget(generation)
            raise

    def _give_back(self, connection: PostgresConnection) -> None:
        with self._lock:
            if connection.generation == self._generation and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _forget(self, generation: int) -> None:
        with self._lock:
            if generation != self._generation:
                return
            self._generation += 1
            suspects, self._idle = self._idle, []
        for connection in suspects:
            connection.close()
