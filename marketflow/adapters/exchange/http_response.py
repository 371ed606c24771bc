"""HTTP/1.x responses to GET: from bytes to `Response`, tolerantly, bounded and without I/O.

Real servers end lines with a bare LF, fold header lines, repeat Content-Length, send none at all:
whatever has one meaning only is taken in that meaning (RFC 9112).
"""

import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

from marketflow.adapters.exchange.http_chunks import Chunks
from marketflow.domain.errors import QuoteFailed

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1024 * 1024

_VERSION = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.([01])[ \t]+([1-5][0-9]{2})(?:[ \t][^\n]*|\r)?(?:\n|\Z)")
_HEAD_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
# values are stripped afterwards: a pattern that strips needs quadratic time for hostile lines
_FIELDS = re.compile(
    rb"^(content-length|transfer-encoding|content-encoding|connection)[ \t]*:([^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_WHOLE = re.compile(rb"[0-9]{1,19}")
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class Response(NamedTuple):
    """A whole response; its body is decoded."""

    status: int
    body: bytes
    keep: bool  # the connection may be used again


class _Head:
    """What a response's head says about the rest of it."""

    __slots__ = ("chunked", "encoding", "keep", "length", "status")

    def __init__(self, head: bytes) -> None:
        status_line = _STATUS_LINE.match(head)
        if status_line is None:
            raise QuoteFailed(f"answer must begin with an HTTP status, was {_shown(head)}")
        self.status = int(status_line[2])
        if b"\n " in head or b"\n\t" in head:
            head = _FOLD.sub(b" ", head)
        values: dict[bytes, list[bytes]] = {}
        for name, value in _FIELDS.findall(head):
            members = [member.strip() for member in value.lower().split(b",")]
            values.setdefault(name.lower(), []).extend(member for member in members if member)
        wishes = values.get(b"connection", ())
        self.keep = b"close" not in wishes and (status_line[1] == b"1" or b"keep-alive" in wishes)
        self.chunked = _is_chunked(values.get(b"transfer-encoding", []))
        self.length = None if self.chunked else _length(values.get(b"content-length", []))
        self.encoding = [one for one in values.get(b"content-encoding", ()) if one != b"identity"]


class ResponseReader:
    """Collects one response; it says the same however the bytes are split.

    It raises `QuoteFailed` where what arrives is no response or too much of one, and must not be
    fed again after that or after it returned a response.
    """

    __slots__ = ("_chunks", "_data", "_head", "_head_bytes", "_searched", "_step", "started")

    def __init__(self) -> None:
        self.started = False  # something has arrived
        self._data: bytes | bytearray = b""
        self._searched = 0  # of the head's bytes
        self._head_bytes = 0  # of those before this one: a server may send several
        self._head: _Head | None = None
        self._chunks: Chunks | None = None
        self._step: Callable[[], Response | None] = self._read_head

    def feed(self, data: bytes) -> Response | None:
        """Take what has arrived; return the response once it is whole."""
        self.started = True
        if self._chunks is not None:
            return self._read_chunks(data)
        if not self._data:
            self._data = data  # most arrive in one piece, which is not copied
        elif isinstance(self._data, bytes):
            self._data = bytearray(self._data + data)
        else:
            self._data += data
        return self._step()

    def end(self) -> Response:
        """Return the response that ends where the connection does."""
        head = self._head
        if head is None or head.chunked or head.length is not None:
            raise QuoteFailed("connection was closed before the answer was whole")
        return self._response(head, self._data, keep=False)

    def _read_head(self) -> Response | None:
        while (head := self._next_head()) is not None:
            if head.status == 101:
                raise QuoteFailed("answer must be HTTP, was another protocol")
            if head.status >= 200:
                return self._begin_body(head)
        return None

    def _next_head(self) -> _Head | None:
        if not self._searched:
            stripped = self._data.lstrip(b"\r\n")
            self._head_bytes += len(self._data) - len(stripped)
            self._data = stripped
        if self._searched < len(_VERSION):
            start = self._data[: len(_VERSION)]
            if start != _VERSION[: len(start)]:
                raise QuoteFailed(f"answer must be HTTP/1.0 or 1.1, was {_shown(self._data)}")
        end = _HEAD_END.search(self._data, self._searched)
        size = self._head_bytes + (end.end() if end else len(self._data))
        if size > MAX_HEAD_BYTES:
            raise QuoteFailed(f"answer's head must be at most {MAX_HEAD_BYTES} bytes")
        if end is None:
            self._searched = max(0, len(self._data) - 2)
            return None
        head = _Head(bytes(self._data[: end.start()]))
        self._data = self._data[end.end() :]
        self._searched = 0
        self._head_bytes = size
        return head

    def _begin_body(self, head: _Head) -> Response | None:
        self._head = head
        if head.status in (204, 304):
            return self._response(head, b"", keep=head.keep and not self._data)
        if head.chunked:
            self._chunks = Chunks(MAX_BODY_BYTES)
            return self._read_chunks(self._data)
        if head.length is not None:
            self._step = self._read_length
        else:
            self._step = self._read_on
        return self._step()

    def _read_length(self) -> Response | None:
        head = self._head
        assert head is not None and head.length is not None  # noqa: PT018  one thought
        missing = head.length - len(self._data)
        if missing > 0:
            return None
        if missing == 0:
            return self._response(head, self._data, keep=head.keep)
        return self._response(head, self._data[: head.length], keep=False)

    def _read_on(self) -> Response | None:
        if len(self._data) > MAX_BODY_BYTES:
            raise QuoteFailed(f"answer must be at most {MAX_BODY_BYTES} bytes")
        return None

    def _read_chunks(self, data: bytes | bytearray) -> Response | None:
        head, chunks = self._head, self._chunks
        assert head is not None and chunks is not None  # noqa: PT018  one thought
        body = chunks.feed(data)
        if body is None:
            return None
        return self._response(head, body, keep=head.keep and not chunks.surplus())

    def _response(self, head: _Head, body: bytes | bytearray, *, keep: bool) -> Response:
        if head.encoding and body:
            body = _decompress(head.encoding, body)
        return Response(head.status, bytes(body), keep)


def _is_chunked(codings: list[bytes]) -> bool:
    if codings and codings != [b"chunked"]:
        raise QuoteFailed(f"answer's transfer encoding must be chunked, was {_shown(codings[0])}")
    return bool(codings)


def _length(lengths: list[bytes]) -> int | None:
    if not lengths:
        return None
    if len(set(lengths)) > 1 or not _WHOLE.fullmatch(lengths[0]):
        raise QuoteFailed(f"answer's length must be one whole number, was {_shown(lengths[-1])}")
    length = int(lengths[0])
    if length > MAX_BODY_BYTES:
        raise QuoteFailed(f"answer must be at most {MAX_BODY_BYTES} bytes, was {length}")
    return length


def _decompress(encoding: list[bytes], body: bytes | bytearray) -> bytes:
    # we ask for none; some servers compress all the same
    if len(encoding) > 1 or encoding[0] not in (b"gzip", b"x-gzip", b"deflate"):
        raise QuoteFailed(f"answer's encoding must be gzip or none, was {_shown(encoding[0])}")
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise QuoteFailed("answer must be what its encoding says") from error
    if not inflater.eof or len(plain) > MAX_BODY_BYTES:
        raise QuoteFailed(f"answer must be whole and at most {MAX_BODY_BYTES} bytes unpacked")
    return plain


def _shown(data: bytes | bytearray) -> str:
    return repr(bytes(data[:20]))
