"""HTTP/1.x between a ticker and its clients: bytes to requests, answers to bytes; no I/O."""

import json
import re
from http import HTTPStatus
from typing import NamedTuple

MAX_HEAD = 16_384
MAX_BODY = 65_536

_REQUEST_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/1\.([01])(?=\r\n)")
_FIELD = re.compile(rb"\n(connection|content-length|transfer-encoding)[ \t]*:[ \t]*([^\r\n]*)")
_JSON = b"Content-Type: application/json\r\n"


class BadRequest(Exception):
    """What was sent cannot be answered, and what follows it means nothing."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class Request(NamedTuple):
    """One request, its body left out."""

    method: str
    path: str  # as sent, without the query
    version: str  # "1.0" or "1.1"
    keep_alive: bool


class Answer(NamedTuple):
    """One answer in JSON, and how it is sent."""

    status: HTTPStatus
    body: bytes
    headers: bytes = b""  # whole lines
    wait_ms: float = 0.0
    is_cut: bool = False  # the connection is closed in its middle


class RequestReader:
    """Cuts one connection's bytes into requests, in order."""

    def __init__(self) -> None:
        self._data = b""
        self._skip = 0  # bytes of a body to come

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._data += data

    def next(self) -> Request | None:
        """Return the next request as soon as its headers are whole; None when bytes are missing.

        Raises:
            BadRequest: what was sent is no request, or too large.
        """
        skipped = min(self._skip, len(self._data))
        self._skip -= skipped
        self._data = self._data[skipped:].lstrip(b"\r\n")
        end = self._data.find(b"\r\n\r\n")
        if end < 0 and len(self._data) <= MAX_HEAD:
            if b"\n\n" in self._data:
                raise BadRequest(HTTPStatus.BAD_REQUEST, "lines must end in CR LF")
            return None
        if not 0 <= end <= MAX_HEAD:
            reason = f"headers must be at most {MAX_HEAD} bytes"
            raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
        line = _REQUEST_LINE.match(self._data)
        if line is None:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.x request")
        fields = dict(_FIELD.findall(self._data[line.end() : end].lower()))
        self._skip = _body_length(fields)
        self._data = self._data[end + 4 :]
        connection = fields.get(b"connection", b"")
        return Request(
            line[1].decode(),
            line[2].partition(b"?")[0].decode(),
            "1.1" if line[3] == b"1" else "1.0",
            b"close" not in connection if line[3] == b"1" else b"keep-alive" in connection,
        )


def _body_length(fields: dict[bytes, bytes]) -> int:
    if b"transfer-encoding" in fields:
        raise BadRequest(HTTPStatus.NOT_IMPLEMENTED, "a body must have a Content-Length")
    length = fields.get(b"content-length", b"0").strip()
    if re.fullmatch(rb"[0-9]{1,18}", length) is None:
        raise BadRequest(HTTPStatus.BAD_REQUEST, "Content-Length must be a whole number")
    if int(length) > MAX_BODY:
        reason = f"a body must be at most {MAX_BODY} bytes"
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
    return int(length)


def complaint(status: HTTPStatus, message: str, headers: bytes = b"") -> Answer:
    """Return an answer that says what is wrong."""
    return Answer(status, json.dumps({"msg": message}).encode(), headers)


def encode(answer: Answer, request: Request | None) -> bytes:
    """Return what is sent; *request* is None where it could not be read."""
    head = b"HTTP/1.1 %d %b\r\n%b%bContent-Length: %d\r\n%b\r\n" % (
        answer.status,
        answer.status.phrase.encode(),
        _JSON,
        answer.headers,
        len(answer.body),
        _connection(request),
    )
    if request is not None and request.method == "HEAD":
        return head
    return head + (answer.body[: len(answer.body) // 2] if answer.is_cut else answer.body)


def _connection(request: Request | None) -> bytes:
    if request is None or not request.keep_alive:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if request.version == "1.0" else b""
