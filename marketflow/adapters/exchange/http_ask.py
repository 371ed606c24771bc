"""One question to an exchange, from the moment it is asked until it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from marketflow.adapters.exchange.http_response import Response
from marketflow.application.asset_ports import Answer


class Asked(Protocol):
    """Whoever is asked."""

    def expire(self, ask: HttpAsk, now: float) -> None:
        """Answer *ask* as its deadline has come."""
        ...


class HttpAsk:
    """A request, and whom to tell what became of it, exactly once.

    The loop's thread alone touches it once it was handed over.
    """

    __slots__ = ("_asked", "_read", "_tell", "deadline", "request", "settled", "since")

    def __init__(
        self,
        asked: Asked,
        request: bytes,
        deadline: float,
        *,
        read: Callable[[Response], Answer],
        tell: Callable[[Answer], None],
    ) -> None:
        self.request = request
        self.deadline = deadline
        self.since = 0.0  # when the loop took it
        self.settled = False  # whether it was answered
        self._asked = asked
        self._read = read
        self._tell = tell

    def due(self, now: float) -> None:
        """Take note that the deadline has come."""
        if not self.settled:
            self._asked.expire(self, now)

    def respond(self, response: Response) -> None:
        """Tell what *response* says."""
        self.answer(self._read(response))

    def answer(self, answer: Answer) -> None:
        """Tell *answer*, unless one was told."""
        if not self.settled:
            self.settled = True
            self._tell(answer)
