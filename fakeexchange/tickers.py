"""`GET /mock/ticker/{symbol}`: what an exchange answers over HTTP, without the wire."""

import json
from collections.abc import Collection
from http import HTTPStatus

from fakeexchange.answer_faults import AnswerFaults
from fakeexchange.http_messages import Answer, Request, complaint
from fakeexchange.quotes import quote

PATH = "/mock/ticker/"


class Tickers:
    """What the exchange *number*, 1 for the first, quotes for *symbols*, which are lower case."""

    def __init__(
        self,
        number: int,
        symbols: Collection[str],
        *,
        seed: int = 0,
        faults: AnswerFaults | None = None,
    ) -> None:
        self._number = number
        self._symbols = frozenset(symbols)
        self._seed = seed
        self._faults = faults

    def answer(self, request: Request, mono_ms: float, wall_ms: float) -> Answer:
        """Answer *request*, at a time on both clocks."""
        if not request.path.startswith(PATH):
            return complaint(HTTPStatus.NOT_FOUND, f"there is only {PATH}{{symbol}}")
        if request.method not in ("GET", "HEAD"):
            allowed = b"Allow: GET, HEAD\r\n"
            return complaint(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is allowed", allowed)
        symbol = request.path[len(PATH) :].lower()
        if symbol not in self._symbols:
            return complaint(HTTPStatus.NOT_FOUND, f"unknown symbol {symbol}")
        if self._faults is None:
            return Answer(HTTPStatus.OK, self._body(symbol, wall_ms / 1000.0))
        body = self._body(symbol, wall_ms / 1000.0 - self._faults.age_s())
        return self._faults.spoil(Answer(HTTPStatus.OK, body), mono_ms)

    def _body(self, symbol: str, at_s: float) -> bytes:
        return json.dumps(
            quote(self._number, symbol, at_s, self._seed)._asdict(), separators=(",", ":")
        ).encode()
