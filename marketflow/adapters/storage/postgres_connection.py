"""One connection to PostgreSQL that never waits longer than it may."""

import contextlib
import select
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, cursor

from marketflow.adapters.storage.postgres_server import PostgresServer

_APPLICATION = "marketflow"
# The server must not go on long after we gave up, say waiting for a lock: we come again, and our
# forsaken sessions would use up its connections. Digits: servers before 12 round by default.
_SETTINGS = "SET statement_timeout = %s; SET extra_float_digits = 3"
_GIVE_UP_AFTER_US_S = 1.0
_KEEPALIVE_S = 30
_PORTION = 1000

# Asynchronous connections and a wait of our own: libpq's timeouts do not cover a server, or a
# network, that falls silent, and a wait callback would change psycopg2 for the whole process.


class PostgresConnection:
    """An open connection, used by one thread at a time.

    Every statement must be answered by `deadline` (monotonic seconds), which its borrower sets.
    After any error but `ValuesRefused` it can only be closed.
    """

    def __init__(self, server: PostgresServer, connection: Any, generation: int) -> None:
        self.server = server
        self.generation = generation
        self.deadline = 0.0
        self._connection = connection

    def execute(
        self, statement: str, values: Sequence[object] | Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run *statement* and return the rows of its answer, if it has any.

        Raises:
            ValuesRefused: the server will never take *values*.
            ConnectionLost: it is not known whether it was run.
            StorageUnavailable: the same, or the server cannot do it now.
        """
        try:
            answer: cursor = self._connection.cursor()
            answer.execute(statement, values)
            answered = _wait(self._connection, self.deadline)
        # ValueError and OverflowError: psycopg2 cannot write the values down
        except (psycopg2.Error, ValueError, OverflowError) as error:
            lost = bool(self._connection.closed)
            # the cause stays out: its text may hold the connection string
            raise self.server.failure(error, lost=lost, has_values=values is not None) from None
        if not answered:
            raise self.server.no_answer(self.server.statement_timeout_s)
        return _fetched(answer)

    def close(self) -> None:
        """Close it, in whatever state it is; never waits."""
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()


def connect(server: PostgresServer, generation: int, deadline: float) -> PostgresConnection:
    """Open a connection by *deadline*; only the look-up of the host's name may take longer.

    Raises:
        StorageUnavailable: the server cannot be reached, or does not let us in.
    """
    connection = None
    answered = False
    try:
        connection = psycopg2.connect(
            host=server.host,
            port=server.port,
            user=server.user or None,
            password=server.password or None,
            dbname=server.database,
            sslmode=server.sslmode or None,
            application_name=_APPLICATION,
            client_encoding="UTF8",
            keepalives_idle=_KEEPALIVE_S,
            async_=True,
        )
        answered = _wait(connection, deadline)
        if answered:
            limit_s = server.statement_timeout_s + _GIVE_UP_AFTER_US_S
            settings = connection.cursor()  # named: psycopg2 needs it alive until the answer
            settings.execute(_SETTINGS, (round(limit_s * 1000),))
            answered = _wait(connection, deadline)
    except (psycopg2.Error, ValueError) as error:
        raise server.unavailable(server.reason_of(error)) from None
    finally:
        if connection is not None and not answered:
            connection.close()
    if not answered:
        raise server.no_answer(server.connect_timeout_s)
    return PostgresConnection(server, connection, generation)


def _fetched(answer: cursor) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    if answer.description is not None:
        # in portions: each holds up all other threads
        while portion := answer.fetchmany(_PORTION):
            rows += portion
    return rows


def _wait(connection: Any, deadline: float) -> bool:
    while (state := connection.poll()) != POLL_OK:
        left_s = deadline - monotonic()
        if left_s <= 0:
            return False
        waiter = select.poll()  # not select(): descriptors may be above 1,023
        waiter.register(
            connection.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT
        )
        waiter.poll(left_s * 1000)
    return True
