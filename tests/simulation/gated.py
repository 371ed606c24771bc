"""Disk, outbox and store with faults: each thing done to them passes the gate."""

import errno
import os
from pathlib import Path

from marketflow.application.ports import RefusedRow
from marketflow.domain.errors import StorageUnavailable


class GatedOs:
    """What the journal takes for the module `os`; *raw* does the work: `os`, or one in memory."""

    def __init__(self, raw, gate, faults):
        self._raw = raw
        self._gate = gate
        self._faults = faults
        self._open = set()

    def __getattr__(self, name):
        return getattr(self._raw, name)

    def open(self, path, flags, mode=0o777):
        makes = flags & os.O_CREAT
        if makes and self._faults.disk == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        fd = self._raw.open(path, flags, mode)
        self._open.add(fd)
        if makes:
            self._gate.passed("segment made")
        return fd

    def writev(self, fd, buffers):
        if self._faults.disk == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        data = b"".join(buffers)
        half = self._raw.write(fd, data[: len(data) // 2])
        if self._faults.disk is not None:
            return half
        self._gate.passed("chunk half written")
        self._raw.write(fd, data[half:])
        self._gate.passed("chunk written")
        return len(data)

    def ftruncate(self, fd, length):
        if self._faults.disk == "torn":
            raise OSError(errno.EIO, "Input/output error")
        self._raw.ftruncate(fd, length)
        self._gate.passed("torn chunk cut off")

    def fdatasync(self, fd):
        if self._faults.sync is not None:
            raise OSError(errno.EIO, "Input/output error")
        self._raw.fdatasync(fd)
        self._gate.passed("segment forced")

    def fsync(self, fd):
        self._raw.fsync(fd)
        self._gate.passed("directory forced")

    def unlink(self, path):
        self._raw.unlink(path)
        self._gate.passed("segment deleted")

    def close(self, fd):
        self._open.discard(fd)
        self._raw.close(fd)

    def end_process(self):
        """Close what the dead process had open."""
        for fd in self._open:
            self._raw.close(fd)
        self._open.clear()


class GatedPath(type(Path())):
    """A path that is deleted by the `disk` of its subclass."""

    disk = None

    def unlink(self, missing_ok=False):
        self.disk.unlink(self)


class _Gated:
    """Hands everything on to *inner*, unless its fault is there."""

    name = ""

    def __init__(self, inner, gate, faults, oracle):
        self._inner = inner
        self._gate = gate
        self._faults = faults
        self._oracle = oracle

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def _write(self, site, work, rows=()):
        fault = getattr(self._faults, self.name)
        if fault == "down":
            raise StorageUnavailable(f"{self.name} is down")
        result = work()
        self._took_effect(site, rows)
        self._gate.passed(site)
        if fault == "lost":
            raise StorageUnavailable(f"the answer of the {self.name} was lost")
        return result

    def _took_effect(self, site, rows):
        pass


class GatedOutbox(_Gated):
    """An outbox; every version of a row that is put is shown to the oracle."""

    name = "outbox"

    def put(self, rows):
        for row in rows:
            self._oracle.identify(row)
        self._write("rows put", lambda: self._inner.put(rows), rows)

    def oldest(self, limit):
        if self._faults.outbox == "down":
            raise StorageUnavailable("outbox is down")
        return self._inner.oldest(limit)

    def acknowledge(self, rows):
        self._write("rows acknowledged", lambda: self._inner.acknowledge(rows))

    def park(self, refused):
        self._write("rows parked", lambda: self._inner.park(refused))

    def trim(self, now_ms):
        return self._write("outbox trimmed", lambda: self._inner.trim(now_ms))

    def _took_effect(self, site, rows):
        for row in rows:
            self._oracle.kept(row)


class GatedStore(_Gated):
    """A store; what a transaction leaves of the rows it touches is shown to the oracle."""

    name = "store"

    def upsert(self, rows):
        for row in rows:
            self._oracle.identify(row)
        taken = [row for row in rows if row.exchange != self._faults.refused]
        cursed = [row for row in rows if row.exchange == self._faults.refused]
        if self._faults.store != "down":
            self._gate.passed("store asked")
        more = self._write("store committed", lambda: self._inner.upsert(taken), taken)
        return more + [RefusedRow(row, "it is cursed") for row in cursed]

    def ping(self):
        if self._faults.store == "down":
            raise StorageUnavailable("store is down")
        self._inner.ping()

    def _took_effect(self, site, rows):
        ends = {}
        for row in rows:
            ends.setdefault((row.mode, row.pair_name), []).append(row.timestamp_ms)
        keys = {row.key for row in rows}
        for (mode, symbol), ends_ms in ends.items():
            found = self._inner.rows(mode, symbol, None, min(ends_ms), max(ends_ms) + 1)
            assert len(found) == len({row.key for row in found}), "a key must be stored once"
            for row in found:
                if row.key in keys:
                    self._oracle.stored(row)
