"""The data directory: private to us, and used by one instance at a time."""

import contextlib
import fcntl
import os
from pathlib import Path

from marketflow.domain.errors import MarketflowError, StorageUnavailable


class DataDirInUse(MarketflowError):
    """Another instance works in the data directory; names both."""


class DataDirLock:
    """The right to use *data_dir*, held until `release` or the end of the process."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock, creating the directory if it is missing.

        Raises:
            DataDirInUse: another instance holds it.
            StorageUnavailable: the directory cannot be created or written.
        """
        try:
            make_private(self._data_dir)
            fd = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageUnavailable(f"data_dir {self._data_dir}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            if not isinstance(error, BlockingIOError):
                raise StorageUnavailable(f"data_dir {self._data_dir}: {error.strerror}") from error
            raise DataDirInUse(
                f"data_dir must be used by one instance only, "
                f"was {self._data_dir}, in use by process {holder}"
            ) from None
        self._fd = fd
        # the lock is the flock: on a full disk it counts without the number
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the lock back; harmless if it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def make_private(directory: Path) -> None:
    """Create *directory* and its missing parents for our eyes only (0700).

    Raises:
        OSError: it cannot be created, or something else stands in its place.
    """
    if directory.is_dir():
        return
    if directory.parent != directory:
        make_private(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
