"""A request body that arrives in chunks (RFC 9112, section 7.1), without trailers."""

import re

from marketflow.adapters.web.refusal import Refusal

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~]*)?")
_LONGEST_SIZE_LINE = 256  # bytes, with its extensions, which are ignored


class ChunkedBody:
    """Collects the chunks of one body; what was decoded once is not looked at again."""

    __slots__ = ("_body", "_limit")

    def __init__(self, limit: int) -> None:
        self._body = bytearray()
        self._limit = limit

    def decode(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """Take chunks from *data* at *at*; return the body once it is whole, and where it stopped.

        Raises:
            Refusal: the chunks are malformed, or more than the limit.
        """
        while True:
            line_end = data.find(b"\r\n", at, at + _LONGEST_SIZE_LINE)
            if line_end < 0:
                self._check_unfinished(data[at : at + _LONGEST_SIZE_LINE])
                return None, at
            size = self._size(data[at:line_end])
            if size == 0:
                return self._end(data, line_end + 2, at)
            end = line_end + 2 + size
            if data[end : end + 2] != b"\r\n"[: max(0, len(data) - end)]:
                raise Refusal(400, "chunk must be as long as its size says")
            if len(data) < end + 2:
                return None, at
            self._body += data[line_end + 2 : end]
            at = end + 2

    def _size(self, line: bytes) -> int:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise Refusal(400, "chunk size must be a hexadecimal number")
        size = int(match[1], 16)
        if len(self._body) + size > self._limit:
            raise Refusal(413, f"body must be at most {self._limit} bytes")
        return size

    def _check_unfinished(self, line: bytes) -> None:
        line = line.removesuffix(b"\r")
        if line and (len(line) + 1 >= _LONGEST_SIZE_LINE or _SIZE_LINE.fullmatch(line) is None):
            raise Refusal(400, "chunk size must be a hexadecimal number and a line of its own")

    def _end(self, data: bytes, trailers: int, at: int) -> tuple[bytes | None, int]:
        rest = data[trailers : trailers + 2]
        if rest == b"\r\n":
            return bytes(self._body), trailers + 2
        if rest not in {b"", b"\r"}:
            raise Refusal(400, "body must end without trailers")
        return None, at
