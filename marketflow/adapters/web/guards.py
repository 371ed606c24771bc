"""Who may ask: the Host, the site a POST comes from, the operator's token."""

import hmac
from collections.abc import Callable, Iterable

from marketflow.adapters.web.failures import Refused
from marketflow.adapters.web.http1 import Request

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_UNSAFE = frozenset({"POST"})
_REMEMBERED = 256  # spellings of the Host header


class HostGuard:
    """Refuses hosts that are not ours with 421: a page elsewhere must not reach us by DNS."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(host.casefold() for host in allowed)
        self._known: set[str] = set()

    def __call__(self, request: Request) -> None:
        """Check *request*; HTTP/1.0 needs no Host.

        Raises:
            Refused: 421.
        """
        host = request.headers.get("host")
        if host is None or host in self._known:
            return
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdigit():
            name = host
        if name.casefold() not in self._allowed and host.casefold() not in self._allowed:
            raise Refused(421, f"host must be one of {', '.join(sorted(self._allowed))}")
        if len(self._known) < _REMEMBERED:
            self._known.add(host)


def refuse_cross_site(request: Request) -> None:
    """Refuse a POST that a browser sends for another site's page; curl sends no such header.

    Raises:
        Refused: 403.
    """
    if request.method not in _UNSAFE:
        return
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "")
    own = request.headers.get("host", "").casefold()
    elsewhere = origin is not None and origin.casefold().partition("://")[2] != own
    if elsewhere or site == "cross-site":
        raise Refused(403, "a page of another site must not change this service")


class TokenGuard:
    """Asks every POST for the operator's token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def __call__(self, request: Request) -> None:
        """Check *request*.

        Raises:
            Refused: 401.
        """
        if request.method not in _UNSAFE:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)
        if scheme.casefold() != "bearer" or not known:
            challenge = ("WWW-Authenticate", "Bearer")
            raise Refused(401, "POST needs Authorization: Bearer with the admin token", challenge)


def guards_for(hosts: Iterable[str], token: str) -> list[Callable[[Request], None]]:
    """Return the guards every request passes; without *hosts* or *token* theirs are left out."""
    guards: list[Callable[[Request], None]] = [refuse_cross_site]
    if hosts:
        guards.insert(0, HostGuard(hosts))
    if token:
        guards.append(TokenGuard(token))
    return guards
