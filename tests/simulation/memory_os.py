"""A disk in memory: what the journal asks of `os` and of its directory, and power cuts."""

import io
import os
from types import SimpleNamespace


class File:
    """Bytes, how many of them are forced to the disk, and whether the file still has a name."""

    def __init__(self):
        self.data = bytearray()
        self.forced = 0
        self.st_nlink = 1


class MemoryOs:
    """Stands in for the module `os`, for one flat directory.

    A crash of the process changes nothing here. A power cut takes what was not forced: some
    of each file's last bytes, and some of the last names made or deleted.
    """

    def __init__(self):
        self._names = {}
        self._descriptors = {}
        self._serial = 0
        self._unforced = []  # (name, file, made) since the directory was last forced

    def __getattr__(self, name):
        return getattr(os, name)  # constants

    def open(self, path, flags, mode=0o777):
        self._serial += 1
        if flags & os.O_CREAT:
            if path.name in self._names:
                raise FileExistsError(path.name)
            self._names[path.name] = file = File()
            self._unforced.append((path.name, file, True))
        else:
            file = None  # the directory
        self._descriptors[self._serial] = file
        return self._serial

    def write(self, fd, data):
        self._descriptors[fd].data += data
        return len(data)

    def ftruncate(self, fd, length):
        file = self._descriptors[fd]
        del file.data[length:]
        file.forced = min(file.forced, length)

    def fdatasync(self, fd):
        file = self._descriptors[fd]
        file.forced = len(file.data)

    def fsync(self, fd):
        assert self._descriptors[fd] is None
        self._unforced.clear()

    def fstat(self, fd):
        return self._descriptors[fd]

    def close(self, fd):
        del self._descriptors[fd]

    def unlink(self, name):
        file = self._names.pop(name)
        file.st_nlink = 0
        self._unforced.append((name, file, False))

    def cut_power(self, rng):
        """Take what was not forced, as much of it as *rng* says."""
        keep = rng.randint(0, len(self._unforced))
        for name, file, made in reversed(self._unforced[keep:]):
            if made:
                del self._names[name]
            else:
                self._names[name] = file
                file.st_nlink = 1
        self._unforced.clear()
        for file in self._names.values():
            del file.data[rng.randint(file.forced, len(file.data)) :]
            file.forced = len(file.data)

    def file(self, name):
        try:
            return self._names[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def names(self):
        return list(self._names)


class MemoryPath:
    """A name in a `MemoryOs`, or its directory, which has none."""

    def __init__(self, disk, name=None):
        self._disk = disk
        self.name = name

    def __truediv__(self, name):
        return MemoryPath(self._disk, name)

    def is_dir(self):
        return self.name is None

    def iterdir(self):
        return [self / name for name in self._disk.names()]

    def stat(self):
        return SimpleNamespace(st_size=len(self._disk.file(self.name).data))

    def open(self, mode):
        return io.BytesIO(self.read_bytes())

    def read_bytes(self):
        return bytes(self._disk.file(self.name).data)

    def unlink(self, *, missing_ok):
        self._disk.unlink(self.name)
