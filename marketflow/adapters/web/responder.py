"""What is said to a request: the application's answer, or an error's, as bytes."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import formatdate
from time import monotonic

from marketflow.adapters.web.http1 import Request, new_request_id
from marketflow.adapters.web.refusal import Refusal
from marketflow.adapters.web.response import Encoder, Response, Subscription

log = logging.getLogger(__name__)

App = Callable[[Request], Response | Future[Response]]
Refuse = Callable[[int, str, str], Response]
Observe = Callable[[Request | None, Response, float], None]
Said = tuple[bytes, bool]  # an encoded answer, and whether the connection goes on after it


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer that goes on: its beginning, and where more comes from."""

    data: bytes
    subscription: Subscription


class Responder:
    """Asks the application, survives it, tells the observer, and encodes."""

    def __init__(self, app: App, *, refuse: Refuse, observe: Observe) -> None:
        self.draining = False  # every answer is the last of its connection
        self._app = app
        self._refuse = refuse
        self._observe = observe
        self._encoder = Encoder(formatdate(usegmt=True))

    def refresh_date(self) -> None:
        """Show the present second in the answers to come."""
        self._encoder.set_date(formatdate(usegmt=True))

    def respond(self, request: Request, started: float) -> Said | Opened | Future[Response]:
        """Answer *request*, which arrived at *started* (monotonic), now or in the future."""
        try:
            response = self._app(request)
            if isinstance(response, Future):
                if not response.done():
                    return response
                response = response.result()
            if response.stream is not None:
                return self._opened(request, response, response.stream, started)
            # `_said`, without calling it
            keep = request.keep_alive and not response.close and not self.draining
            data = self._encoder.encode(response, request, keep=keep)
            self._observe(request, response, monotonic() - started)
            return data, keep
        except Exception as error:  # noqa: BLE001  reported by `_failed`
            return self._failed(request, error, started)

    def resolve(self, request: Request, answer: Future[Response], started: float) -> Said:
        """Answer *request* with what *answer*, which is done, came to."""
        try:
            return self._said(request, answer.result(), started)
        except Exception as error:  # noqa: BLE001  reported by `_failed`
            return self._failed(request, error, started)

    def refuse(self, refusal: Refusal, started: float) -> bytes:
        """Return the last answer of a connection whose request could not be read."""
        request_id = new_request_id()
        response = self._refuse(refusal.status, refusal.detail, request_id)
        data = self._encoder.encode_refusal(response, request_id)
        self._observe(None, response, monotonic() - started)
        return data

    def _said(self, request: Request, response: Response, started: float) -> Said:
        keep = request.keep_alive and not response.close and not self.draining
        data = self._encoder.encode(response, request, keep=keep)
        self._observe(request, response, monotonic() - started)
        return data, keep

    def _opened(
        self, request: Request, response: Response, stream: Subscription, started: float
    ) -> Said | Opened:
        data = self._encoder.encode_start(response, request)
        if request.method != "HEAD":
            data += stream.hello()
        self._observe(request, response, monotonic() - started)
        return (data, False) if request.method == "HEAD" else Opened(data, stream)

    def _failed(self, request: Request, error: Exception, started: float) -> Said:
        log.error(
            "request failed",
            exc_info=error,
            extra={
                "request_id": request.request_id,
                "method": request.method,
                "target": request.target,
            },
        )
        response = self._refuse(500, "the server failed to answer", request.request_id)
        return self._said(request, response, started)
