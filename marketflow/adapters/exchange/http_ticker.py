"""An exchange's tickers over HTTP: one GET for each quote."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from marketflow.adapters.exchange.http_client import HttpClient
from marketflow.adapters.exchange.http_connection import Endpoint
from marketflow.adapters.exchange.http_response import Response
from marketflow.adapters.exchange.http_template import UrlTemplate
from marketflow.adapters.exchange.quote_fields import QuoteFields, QuoteReader
from marketflow.adapters.exchange.quote_names import Names
from marketflow.application.asset_ports import Answer
from marketflow.application.ports import Clock
from marketflow.domain.errors import NotAsked, NotListed, QuoteFailed

_NONE: Mapping[str, str] = MappingProxyType({})
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t -~]*")
_OURS = frozenset({"connection", "content-length", "expect", "transfer-encoding", "upgrade"})
_SHORTEST_SECRET = 8  # characters of a word in a header; shorter ones are in any answer by chance


class HttpTicker:
    """Asks one exchange for quotes; `url` and `fields` say how it is asked and what it answers.

    400, 404 and an answer that holds an error mean that it does not list the asset. Redirects are
    not followed.

    Raises:
        ValueError: the url, a symbol or a header cannot be used; says why.
    """

    def __init__(
        self,
        exchange: str,
        url: str,
        *,
        client: HttpClient,
        clock: Clock,
        fields: QuoteFields | None = None,
        symbols: Mapping[str, str] = _NONE,
        headers: Mapping[str, str] = _NONE,
        max_rps: float | None = None,
    ) -> None:
        template = UrlTemplate(url)
        place = template.place
        self.exchange = exchange
        self._template = template
        self._names = Names(symbols)
        self._reader = QuoteReader(exchange, fields or QuoteFields())
        self._clock = clock
        self._rest = _rest_of_request(place.header, headers)
        words = {word for value in headers.values() for word in value.split()}
        self._secrets = [word.encode() for word in words if len(word) >= _SHORTEST_SECRET]
        tls = client.tls() if place.secure else None
        self._pool = client.pool(Endpoint(place.host, place.port, tls), max_rps=max_rps)
        self._closed = False

    def ask(self, asset: str, deadline: float, tell: Callable[[Answer], None]) -> None:
        if self._closed:
            tell(NotAsked("asking was ended"))
            return
        target = self._template.target(self._names.of(asset))
        if target is None:
            tell(NotListed("the two currencies of the asset are not known"))
            return
        request = f"GET {target} HTTP/1.1\r\n{self._rest}".encode("ascii")
        self._pool.ask(request, deadline, read=self._read, tell=tell)

    def close(self) -> None:
        self._closed = True
        self._pool.close()

    def _read(self, response: Response) -> Answer:
        if response.status in (400, 404):
            return NotListed(f"answered with status {response.status}")
        if response.status != 200:
            return QuoteFailed(f"answer's status must be 200, was {response.status}")
        try:
            return self._reader.read(response.body, self._clock.now().wall_ms)
        except (NotListed, QuoteFailed) as answer:
            if any(secret in response.body for secret in self._secrets):
                return type(answer)("answer repeats one of our headers, and is not shown")
            return answer


def check_headers(headers: Mapping[str, str]) -> None:
    """Check that *headers* can be sent with every request.

    Raises:
        ValueError: one cannot; says which, not its value, which may be secret.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"headers must have names of letters, digits and -, was {name!r}")
        if name.lower() in _OURS:
            raise ValueError(f"headers must not hold {name}, which is ours to say")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"headers.{name} must be one line of printable ASCII characters")


def _rest_of_request(host: str, headers: Mapping[str, str]) -> str:
    check_headers(headers)
    lines = {
        "host": ("Host", host),
        "user-agent": ("User-Agent", "marketflow"),
        "accept": ("Accept", "application/json"),
        "accept-encoding": ("Accept-Encoding", "identity"),
    }
    lines |= {name.lower(): (name, value) for name, value in headers.items()}
    return "".join(f"{name}: {value}\r\n" for name, value in lines.values()) + "\r\n"
