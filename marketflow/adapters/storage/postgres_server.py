"""Which PostgreSQL is meant, and its complaints in our words."""

import re
from dataclasses import dataclass, field

import psycopg2

from marketflow.domain.errors import StorageUnavailable

_WHERE = re.compile(r"^connection to server (at|on) .*? failed: ")
_SEVERITY = re.compile(r"^[A-Z]+: {1,2}")
# bad values, broken constraints, a trigger that objects, a key too long for its index
_REFUSING_CLASSES = ("22", "23", "44")
_REFUSING_CODES = ("P0001", "54000")
_GONE_CLASSES = ("08", "57P")


class ConnectionLost(StorageUnavailable):
    """The connection ended; a new one may work at once."""


class ValuesRefused(StorageUnavailable):
    """The server is well, but will never take these values; `reason` is why."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A database on a server, who we are there, and how long it may take to answer."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    sslmode: str
    connect_timeout_s: float
    statement_timeout_s: float

    def unavailable(self, reason: str) -> StorageUnavailable:
        """Return the error that says so of this server."""
        return StorageUnavailable(self._about(reason))

    def no_answer(self, within_s: float) -> StorageUnavailable:
        """Return the error for a server that let a deadline pass."""
        return self.unavailable(f"no answer within {within_s:.1f} s")

    def failure(self, error: Exception, *, lost: bool, has_values: bool) -> StorageUnavailable:
        """Translate what psycopg2 raised; *lost* says that the connection is unusable."""
        reason = self.reason_of(error)
        code = getattr(error, "pgcode", None) or ""
        if lost or code.startswith(_GONE_CLASSES):
            return ConnectionLost(self._about(reason))
        unsendable = not isinstance(error, psycopg2.Error)
        refused = unsendable or code.startswith(_REFUSING_CLASSES) or code in _REFUSING_CODES
        if refused and has_values:
            return ValuesRefused(self._about(reason), reason)
        return self.unavailable(reason)

    def reason_of(self, error: Exception) -> str:
        """Return what *error* says, in one line that holds no password."""
        diagnostics = getattr(error, "diag", None)
        complaint = getattr(diagnostics, "message_primary", None) or str(error)
        return essence(self._without_password(complaint))

    def _about(self, reason: str) -> str:
        return f"postgres at {self.host}:{self.port}: {reason}"

    def _without_password(self, text: str) -> str:
        # as it is, and as it is written in a connection string
        quoted = self.password.replace("\\", "\\\\").replace("'", "\\'")
        for secret in (quoted, self.password):
            if secret:
                text = text.replace(secret, "***")
        return text


def essence(complaint: str) -> str:
    """Return the one line of a long complaint that says what happened."""
    lines = complaint.strip().splitlines() or ["no reason given"]
    # of several addresses of one host, the last complaint is about the last one tried
    attempts = [line for line in lines if _WHERE.match(line)]
    line = _SEVERITY.sub("", _WHERE.sub("", (attempts or lines)[-1 if attempts else 0]))
    starts_a_sentence = line[:1].isupper() and line[1:2].islower()
    return line[0].lower() + line[1:] if starts_a_sentence else line
