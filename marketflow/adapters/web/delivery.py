"""How an answer is delivered: compressed, not at all if the client has it, to other origins."""

import gzip
import re
from collections.abc import Iterable

from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.response import Response

Headers = tuple[tuple[str, str], ...]

_LEAST_BYTES = 1024
_LIVE = ("/prices", "/refresh", "/stream")  # their answers are small, or must not be held back
_REMEMBERED = 16  # compressed answers that have a tag
_QUALITY_0 = re.compile(r"q=0(?:\.0{0,3})?")
_EXPOSED = ("Access-Control-Expose-Headers", "Link, ETag, X-Request-Id")
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET, HEAD"),
    ("Access-Control-Allow-Headers", "If-None-Match, Last-Event-ID, X-Request-Id"),
    ("Access-Control-Max-Age", "600"),
)


class Delivery:
    """Finishes answers; pages of *origins* may read them."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)
        self._compressed: dict[str, bytes] = {}

    def __call__(self, request: Request, response: Response) -> Response:
        """Return *response* as *request* wants it."""
        if len(response.body) >= _LEAST_BYTES and not request.route.startswith(_LIVE):
            response = _varying(response, "Accept-Encoding")
            if accepts_gzip(request.headers.get("accept-encoding", "")):
                response = self._gzipped(response)
        known = request.headers.get("if-none-match")
        if known and _is_known(_value(response.headers, "ETag"), known):
            kept = ("ETag", "Vary", "Cache-Control")
            headers = tuple(field for field in response.headers if field[0] in kept)
            response = response._replace(status=304, body=b"", headers=headers)
        return self._to_origin(request, response) if self._origins else response

    def cors(self, request: Request) -> Headers:
        """Return the headers that let the page which asks read the answer."""
        origin = request.headers.get("origin", "")
        if origin.casefold() not in self._origins:
            return ()
        headers = (("Access-Control-Allow-Origin", origin), _EXPOSED)
        asks = request.method == "OPTIONS" and "access-control-request-method" in request.headers
        return (*headers, *_PREFLIGHT) if asks else headers

    def _gzipped(self, response: Response) -> Response:
        tag = _value(response.headers, "ETag")
        body = self._compressed.get(tag)
        if body is None:
            body = gzip.compress(response.body, 6, mtime=0)
            if tag:
                if len(self._compressed) >= _REMEMBERED:
                    self._compressed.clear()
                self._compressed[tag] = body
        headers = tuple(
            (name, f'{value[:-1]}-gzip"' if name == "ETag" else value)
            for name, value in response.headers
        )
        return response._replace(body=body, headers=(*headers, ("Content-Encoding", "gzip")))

    def _to_origin(self, request: Request, response: Response) -> Response:
        response = _varying(response, "Origin")
        return response._replace(headers=(*response.headers, *self.cors(request)))


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is among the codings of an Accept-Encoding header (RFC 9110, 12.5.3)."""
    accepted = {}
    for part in accept_encoding.casefold().split(","):
        coding, _, quality = part.partition(";")
        accepted[coding.strip()] = not _QUALITY_0.fullmatch(quality.replace(" ", ""))
    return accepted.get("gzip", accepted.get("*", False))


def _is_known(tag: str, if_none_match: str) -> bool:
    known = [known.strip().removeprefix("W/") for known in if_none_match.split(",")]
    return tag != "" and (tag in known or known == ["*"])


def _value(headers: Headers, wanted: str) -> str:
    return next((value for name, value in headers if name == wanted), "")


def _varying(response: Response, header: str) -> Response:
    known = _value(response.headers, "Vary")
    others = tuple(field for field in response.headers if field[0] != "Vary")
    vary = ("Vary", f"{known}, {header}" if known else header)
    return response._replace(headers=(*others, vary))
