"""Connections to Redis: a question takes a bounded time and one try, a failure one sentence."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from marketflow.domain.errors import CacheUnavailable

Command = tuple[str | bytes | int, ...]

# a server that is no Redis can make the client stumble over what it reads
_FAILURES = (RedisError, OSError, ValueError)
_SEND_BYTES = 65_536  # the timeout is for so much; the client's own pieces are ten times smaller
_MAX_REASON = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where a server is, how it is spoken to, and for how long its silence is borne."""

    host: str
    port: int
    timeout_s: float = 0.5
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    def unavailable(self, reason: str) -> CacheUnavailable:
        """Say that the server did not do it, in one sentence without secrets."""
        line = (reason.splitlines() or [""])[0]
        if self.password:  # some servers repeat a command they do not understand
            line = line.replace(self.password, "***")
        return CacheUnavailable(f"redis at {self.host}:{self.port}: {line[:_MAX_REASON]}")

    def failure(self, error: Exception) -> CacheUnavailable:
        """Say what *error* of the client was."""
        cause = error.__context__
        if isinstance(error, RedisTimeout):
            return self.unavailable(f"no answer within {self.timeout_s:g} s")
        if isinstance(cause, OSError) and cause.strerror:
            return self.unavailable(cause.strerror)
        return self.unavailable(str(error) or type(error).__name__)


class RedisConnection:
    """One connection, opened when needed; for one thread at a time.

    Everything takes at most the address's `timeout_s` without an answer; nothing is tried twice.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        kind: Any = SSLConnection if address.tls else Connection
        self._client = kind(
            host=address.host,
            port=address.port,
            db=address.db,
            username=address.username or None,
            password=address.password or None,
            socket_timeout=address.timeout_s,
            socket_connect_timeout=address.timeout_s,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=(),
            health_check_interval=0,
            protocol=2,
        )

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send *commands* in one go and return their answers.

        Raises:
            CacheUnavailable: one of them was refused, or there was no answer.
        """
        client = self._client
        try:
            packed = memoryview(b"".join(client.pack_commands(commands)))
            starts = range(0, len(packed), _SEND_BYTES)
            client.send_packed_command([packed[at : at + _SEND_BYTES] for at in starts])
            return [client.read_response() for _ in commands]
        except _FAILURES as error:
            client.disconnect()  # answers may still be under way: the next one starts clean
            raise self._address.failure(error) from error

    def is_quiet(self) -> bool:
        """Whether an open connection has nothing to read: no farewell, no answer come too late."""
        try:
            return not self._client.can_read(0)
        except _FAILURES:
            return False

    def close(self) -> None:
        """Close it; it is opened again when needed."""
        self._client.disconnect()


class RedisConnections:
    """Up to *most* connections, each lent to one thread at a time and kept while they work."""

    def __init__(self, address: RedisAddress, *, most: int) -> None:
        self._address = address
        self._most = most
        self._free = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[RedisConnection] = []
        self._closed = False

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send *commands* in one go and return their answers.

        Who finds all connections lent waits for one as long as for an answer.

        Raises:
            CacheUnavailable: one of them was refused, or there was no connection or no answer.
        """
        address = self._address
        if not self._free.acquire(timeout=address.timeout_s):
            raise address.unavailable(f"all {self._most} connections are in use")
        try:
            connection = self._take()
            try:
                answers = connection.ask(commands)
            except BaseException:
                connection.close()
                self._drop_idle()  # what befell this one may have befallen them
                raise
            self._give_back(connection)
            return answers
        finally:
            self._free.release()

    def close(self) -> None:
        """Close every connection for good; one that is lent, when it is given back."""
        with self._lock:
            self._closed = True
        self._drop_idle()

    def _take(self) -> RedisConnection:
        with self._lock:
            if self._closed:
                raise self._address.unavailable("it was closed")
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            return RedisConnection(self._address)
        if not connection.is_quiet():  # it ended while nobody looked, which is no failure
            connection.close()
        return connection

    def _give_back(self, connection: RedisConnection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _drop_idle(self) -> None:
        with self._lock:
            dropped, self._idle = self._idle, []
        for connection in dropped:
            connection.close()
