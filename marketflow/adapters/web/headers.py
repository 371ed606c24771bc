"""Header blocks: checked and taken apart once, then remembered."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.refusal import Refusal

# the value is stripped afterwards: a pattern that strips needs quadratic time for hostile lines
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")
_HOST = re.compile(r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?)?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_DIGITS = re.compile(r"[0-9]+")
_ONCE = frozenset({"host", "content-length", "transfer-encoding"})

_REMEMBERED = 256  # blocks; cold ones push each other out by starting afresh
_LONGEST_REMEMBERED = 2048  # bytes


class Head:
    """What a header block says, for any request line above it."""

    headers: Mapping[str, str]
    __slots__ = (
        "chunked",
        "expects_continue",
        "has_body",
        "headers",
        "keep_alive",
        "length",
        "request_id",
        "version",
    )

    def __init__(self, version: tuple[int, int], headers: dict[str, str]) -> None:
        self.version = version
        self.headers = MappingProxyType(headers)
        self.length = _content_length(headers)
        self.chunked = _is_chunked(version, headers)
        self.has_body = self.length > 0 or self.chunked
        self.expects_continue = _expects_continue(version, headers)
        wishes = {wish.strip() for wish in headers.get("connection", "").lower().split(",")}
        self.keep_alive = "close" not in wishes and (version > (1, 0) or "keep-alive" in wishes)
        sent_id = headers.get("x-request-id", "")
        self.request_id = sent_id if _REQUEST_ID.fullmatch(sent_id) else None
        _check_host(version, headers)

    def for_host(self, host: str) -> "Head":
        """Return the same head, addressed to *host*."""
        return Head(self.version, {**self.headers, "host": host})


class HeadCache:
    """Remembers header blocks, not requests: clients repeat the former, whatever they ask for."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._heads: dict[bytes, Head] = {}

    def head(self, block: bytes) -> Head:
        """Return the head of *block*: the minor version's digit, then CR LF before each line.

        Raises:
            Refusal: the block is malformed, too large or contradicts itself.
        """
        head = self._heads.get(block)
        if head is None:
            head = self._parse(block)
            if len(block) <= _LONGEST_REMEMBERED:
                if len(self._heads) >= _REMEMBERED:
                    self._heads.clear()
                self._heads[block] = head
        return head

    def check_sizes(self, lines: bytes) -> None:
        """Refuse header *lines*, the last perhaps unfinished, that are too long or too many."""
        limits = self._limits
        if len(lines) > limits.max_header_bytes:
            raise Refusal(431, f"headers must be at most {limits.max_header_bytes} bytes")
        if lines.count(b"\r\n") >= limits.max_headers:
            raise Refusal(431, f"headers must be at most {limits.max_headers}")
        if len(lines) > limits.max_line and max(map(len, lines.split(b"\r\n"))) > limits.max_line:
            raise Refusal(431, f"a header line must be at most {limits.max_line} bytes")

    def _parse(self, block: bytes) -> Head:
        self.check_sizes(block[3:])
        headers: dict[str, str] = {}
        for line in block.split(b"\r\n")[1:]:
            field = _FIELD.fullmatch(line)
            if field is None:
                raise Refusal(400, "a header line must be `Name: value`")
            name = field[1].decode().lower()
            value = field[2].strip(b" \t").decode("latin-1")
            if name not in headers:
                headers[name] = value
            elif name in _ONCE:
                raise Refusal(400, f"{name} must not be repeated")
            else:
                headers[name] += ("; " if name == "cookie" else ", ") + value
        return Head((1, block[0] - ord("0")), headers)


def _content_length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    if _DIGITS.fullmatch(text) is None:
        raise Refusal(400, "content-length must be one whole number")
    if len(text) > 18:
        raise Refusal(413, "content-length must be a number of at most 18 digits")
    return int(text)


def _is_chunked(version: tuple[int, int], headers: dict[str, str]) -> bool:
    coding = headers.get("transfer-encoding")
    if coding is None:
        return False
    if "content-length" in headers:
        raise Refusal(400, "transfer-encoding must not stand beside content-length")
    if version == (1, 0):
        raise Refusal(400, "transfer-encoding must not be used with HTTP/1.0")
    if coding.lower() != "chunked":
        raise Refusal(501, "transfer-encoding must be chunked")
    return True


def _expects_continue(version: tuple[int, int], headers: dict[str, str]) -> bool:
    expectation = headers.get("expect", "").lower()
    if not expectation or version == (1, 0):
        return False
    if expectation != "100-continue":
        raise Refusal(417, "expect must be 100-continue")
    return True


def _check_host(version: tuple[int, int], headers: dict[str, str]) -> None:
    host = headers.get("host")
    if host is None and version > (1, 0):
        raise Refusal(400, "host must be given")
    if host is not None and _HOST.fullmatch(host) is None:
        raise Refusal(400, "host must be a name or an address, and perhaps a port")
