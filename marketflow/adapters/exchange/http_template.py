"""The URL of an exchange's tickers, with placeholders for the asset."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from marketflow.adapters.exchange.quote_names import Name

_PLACEHOLDERS: dict[str, Callable[[Name], str | None]] = {
    "symbol": lambda name: name.symbol if name.exact else name.symbol.lower(),
    "SYMBOL": lambda name: name.symbol if name.exact else name.symbol.upper(),
    "base": lambda name: name.parts and name.parts[0].lower(),
    "quote": lambda name: name.parts and name.parts[1].lower(),
    "BASE": lambda name: name.parts and name.parts[0].upper(),
    "QUOTE": lambda name: name.parts and name.parts[1].upper(),
}
_KNOWN = " ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
_BRACES = re.compile(r"\{([^{}]*)\}|[{}]")
_HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?"
)
_PRINTABLE = re.compile(r"[!-~]+")
_PORTS = {"http": 80, "https": 443}


class Place(NamedTuple):
    """Where the tickers are."""

    host: str
    port: int
    secure: bool

    @property
    def address(self) -> str:
        """Host and port, as they are written."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def header(self) -> str:
        """The same as a Host header, which leaves the usual port out."""
        usual = self.port == _PORTS["https" if self.secure else "http"]
        return self.address.removesuffix(f":{self.port}") if usual else self.address


class UrlTemplate:
    """A URL with placeholders in its path or query.

    Raises:
        ValueError: it is none; says why, without what may be secret in it.
    """

    def __init__(self, url: str) -> None:
        parts = _parse(url)
        self.place = _place(parts)
        pieces = _BRACES.split(_target(parts))  # literal text and placeholders in turn
        self._literals = pieces[::2]
        self._values = [_PLACEHOLDERS[name] for name in pieces[1::2]]

    def target(self, name: Name) -> str | None:
        """Return path and query for *name*; None if they need parts that it does not have."""
        target = self._literals[0]
        for value, literal in zip(self._values, self._literals[1:], strict=True):
            text = value(name)
            if text is None:
                return None
            # most names need no encoding, and finding that out takes longer there
            target += (
                text if text.isascii() and text.isalnum() else quote(text, safe="")
            ) + literal
        return target


def _parse(url: str) -> SplitResult:
    if not _PRINTABLE.fullmatch(url):
        raise ValueError("url must be of printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError("url must have a host and a port from 1 to 65535") from error
    if parts.scheme not in _PORTS:
        raise ValueError(f"url must begin with http:// or https://, was {url[:12]!r}")
    if "@" in parts.netloc:
        raise ValueError("url must not hold a user or password: use headers")
    if not parts.path.startswith("/"):
        raise ValueError("url must have a path, which begins with /")
    if "#" in url:
        raise ValueError("url must not have a fragment, which exchanges never see")
    names = [match[1] for match in _BRACES.finditer(_target(parts))]
    if not names:
        raise ValueError(f"url must hold one of {_KNOWN} in its path or query")
    for name in names:
        if name not in _PLACEHOLDERS:
            raise ValueError(f"url must hold no braces but {_KNOWN}, was {name or '{'!r}")
    return parts


def _target(parts: SplitResult) -> str:
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _place(parts: SplitResult) -> Place:
    host = parts.hostname or ""
    if not _HOST.fullmatch(host) or parts.port == 0:
        raise ValueError(f"url must have a host and a port from 1 to 65535, was {parts.netloc!r}")
    return Place(host, parts.port or _PORTS[parts.scheme], parts.scheme == "https")
