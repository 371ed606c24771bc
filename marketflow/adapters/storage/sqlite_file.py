"""A SQLite database file: its connections, what makes them new, and errors in our words."""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from marketflow.adapters.storage.data_dir import make_private
from marketflow.domain.errors import StorageUnavailable

log = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 2.0
# FULL: what a commit has acknowledged must survive a power cut
_SETTINGS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")
_BEGIN = "BEGIN IMMEDIATE"
_COMMIT = "COMMIT"
# our statements never change: what SQLite does not understand of them is the file's fault
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
# a message that quotes a damaged schema is no UTF-8, and Python says only that
_FAILURES = (sqlite3.Error, OSError, UnicodeDecodeError)
_COMPANIONS = ("-wal", "-shm")


Identity = tuple[int, int]  # device and inode


class DatabaseCorrupt(StorageUnavailable):
    """The file holds no usable database; *file* is the one that was looked at."""

    def __init__(self, message: str, file: Identity | None) -> None:
        super().__init__(message)
        self.file = file


class SqliteFile:
    """A database that is opened when first used, and again when its file was taken away.

    A connection is lent to one thread at a time, so there are as many as threads ever used the
    database at once. *prepare* creates what a file must hold; it is called for every new file.
    """

    def __init__(
        self, path: Path, name: str, *, prepare: Callable[[sqlite3.Connection], None]
    ) -> None:
        self.path = path
        self._name = name
        self._context = {"path": str(path)}
        self._prepare = prepare
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._generation = 0  # connections of an earlier one belong to a file that is gone
        self._identities: list[Identity | None] = []
        self._prepared = False
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection in autocommit mode; one that failed is never lent again.

        Raises:
            DatabaseCorrupt: the file holds no usable database.
            StorageUnavailable: anything else that SQLite or the disk refused.
        """
        with self._lock:  # until the file is named: another thread may set it aside
            try:
                connection, generation = self._borrow(), self._generation
                file = self._identities[0]
            except _FAILURES as error:
                raise self._unavailable(error, _identity(self.path)) from error
        try:
            yield connection
        except _FAILURES as error:
            self._discard(connection, generation)
            raise self._unavailable(error, file) from error
        except BaseException:
            self._discard(connection, generation)
            raise
        with self._lock:
            if generation == self._generation:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that may write; everything is committed at the end, or nothing."""
        with self.connection() as connection:
            connection.execute(_BEGIN)
            yield connection
            connection.execute(_COMMIT)

    def set_aside(self, corrupt: DatabaseCorrupt, suffix: str) -> bool:
        """Rename the corrupt file, so that the next use starts another one.

        False if it is no longer there: another thread has set it aside.

        Raises:
            StorageUnavailable: it cannot be renamed.
        """
        with self._lock:
            if corrupt.file is None or corrupt.file != _identity(self.path):
                return False
            self._forget()
            self._identities = []
            aside = _beside(self.path, suffix)
            try:
                self.path.rename(aside)
                for companion in _COMPANIONS:
                    with contextlib.suppress(FileNotFoundError):
                        _beside(self.path, companion).rename(_beside(aside, companion))
            except OSError as error:
                raise self._unavailable(error) from error
        return True

    def close(self) -> None:
        """Close every connection; one in use is closed when it is given back."""
        with self._lock:
            self._closed = True
            self._forget()

    def _borrow(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("it was closed")
        known = self._identities
        if known and known[0] != _identity(self.path):
            log.warning("database file was taken away, opening it anew", extra=self._context)
            self._forget()
            # what the old file's log and index left would be taken for the new file's
            for companion, identity in zip(_COMPANIONS, known[1:], strict=True):
                path = _beside(self.path, companion)
                if identity is not None and identity == _identity(path):
                    path.unlink()
        return self._idle.pop() if self._idle else self._open()

    def _open(self) -> sqlite3.Connection:
        make_private(self.path.parent)
        # never opened here if it exists: closing it again would drop SQLite's own locks
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            for setting in _SETTINGS:
                connection.execute(setting)
            if not self._prepared:
                self._prepare(connection)
                self._prepared = True
        except BaseException:
            connection.close()
            raise
        self._identities = [_identity(_beside(self.path, part)) for part in ("", *_COMPANIONS)]
        return connection

    def _discard(self, connection: sqlite3.Connection, generation: int) -> None:
        connection.close()
        with self._lock:
            # whatever it was, look at the file with fresh eyes
            if generation == self._generation:
                self._forget()

    def _forget(self) -> None:
        self._generation += 1
        self._prepared = False
        while self._idle:
            self._idle.pop().close()

    def _unavailable(self, error: Exception, file: Identity | None = None) -> StorageUnavailable:
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"{self._name} {self.path.name}: {reason}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _CORRUPT or isinstance(error, UnicodeDecodeError):
            return DatabaseCorrupt(message, file)
        return StorageUnavailable(message)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:  # opening it will say why
        return None
    return found.st_dev, found.st_ino
