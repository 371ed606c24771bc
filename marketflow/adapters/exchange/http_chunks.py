"""A response's body that arrives in chunks (RFC 9112, section 7.1)."""

import re
from collections.abc import Callable

from marketflow.domain.errors import QuoteFailed

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?")
_LONGEST_LINE = 4096  # bytes: a chunk's size with its extensions, which are ignored
_MAX_TRAILER_BYTES = 64 * 1024


class Chunks:
    """Collects the chunks of one body; what was decoded once is not looked at again."""

    __slots__ = ("_at", "_body", "_data", "_limit", "_missing", "_searched", "_step", "_trailers")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._at = 0  # of the bytes in hand, up to where they are decoded
        self._searched = 0  # and up to where there is no line's end
        self._body = bytearray()
        self._missing = 0  # bytes of the chunk at hand
        self._trailers = 0  # bytes of them so far
        self._step: Callable[[], bool] | None = self._size

    def feed(self, data: bytes | bytearray) -> bytes | None:
        """Take what has arrived; return the body once it is whole.

        Raises:
            QuoteFailed: the chunks are malformed, or more than the limit.
        """
        self._data += data
        while self._step is not None and self._step():
            pass
        del self._data[: self._at]
        self._searched -= self._at
        self._at = 0
        return bytes(self._body) if self._step is None else None

    def surplus(self) -> bool:
        """Tell whether more has arrived than the body."""
        return bool(self._data)

    def _size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _SIZE.fullmatch(line)
        if match is None:
            raise QuoteFailed(f"answer's chunk size must be hexadecimal, was {line[:40]!r}")
        self._missing = int(match[1], 16)
        if len(self._body) + self._missing > self._limit:
            raise QuoteFailed(f"answer must be at most {self._limit} bytes")
        self._step = self._piece if self._missing else self._trailer
        return True

    def _piece(self) -> bool:
        piece = self._data[self._at : self._at + self._missing]
        self._body += piece
        self._at += len(piece)
        self._searched = self._at
        self._missing -= len(piece)
        if self._missing:
            return False
        self._step = self._gap
        return True

    def _gap(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            raise QuoteFailed("answer's chunks must be as long as their sizes say")
        self._step = self._size
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self._trailers += len(line)
        if self._trailers > _MAX_TRAILER_BYTES:
            raise QuoteFailed(f"answer's trailers must be at most {_MAX_TRAILER_BYTES} bytes")
        if not line:
            self._step = None
        return True

    def _line(self) -> bytes | None:
        """Return the next line without its end, None until it is whole."""
        end = self._data.find(b"\n", self._searched)
        if (end if end >= 0 else len(self._data)) - self._at > _LONGEST_LINE:
            raise QuoteFailed(f"answer's chunk size must be at most {_LONGEST_LINE} bytes long")
        if end < 0:
            self._searched = len(self._data)
            return None
        line = bytes(self._data[self._at : end])
        self._at = self._searched = end + 1
        return line.removesuffix(b"\r")
