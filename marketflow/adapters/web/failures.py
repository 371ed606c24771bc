"""Errors as answers: problem details (RFC 9457) with the second brief's `msg` beside."""

import json
from http import HTTPStatus

from marketflow.adapters.web.response import Response
from marketflow.domain.errors import (
    AssetNotFound,
    BadParameter,
    ChannelClosed,
    MarketflowError,
    NoPrices,
    NoQuotes,
    Restoring,
    StorageUnavailable,
    UnknownAsset,
    UnknownExchange,
    UnknownSymbol,
)

NO_STORE = ("Cache-Control", "no-store")
_RETRY_S = "1"
_RETRY = ("Retry-After", _RETRY_S)

# the first class that fits an error decides its status
_STATUSES: tuple[tuple[type[MarketflowError], int], ...] = (
    (BadParameter, 400),
    (UnknownAsset, 400),
    (UnknownSymbol, 404),
    (UnknownExchange, 404),
    (NoPrices, 404),
    (AssetNotFound, 404),
    (NoQuotes, 502),
    (Restoring, 503),
    (StorageUnavailable, 503),
    (ChannelClosed, 503),
)


class Refused(Exception):
    """A request that is understood and refused: status, sentence and headers of the answer."""

    def __init__(self, status: int, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


def problem(
    status: int, detail: str, request_id: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return the answer that says what was wrong."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "msg": detail,
        "request_id": request_id,
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE and not any(n == "Retry-After" for n, _ in headers):
        headers = (*headers, _RETRY)
    return Response(
        status, json.dumps(body).encode(), "application/problem+json", (NO_STORE, *headers)
    )


def problem_of(error: MarketflowError | Refused, request_id: str) -> Response:
    """Return the answer for *error*; what has no status of its own is a 500."""
    if isinstance(error, Refused):
        return problem(error.status, str(error), request_id, error.headers)
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return problem(status, str(error), request_id)
    return problem(500, str(error), request_id)
