"""`/stream`: Server-Sent Events, one encoded frame for all who want the same.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import re
from typing import NamedTuple

from marketflow.adapters.web.failures import NO_STORE
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.price_json import latest_json
from marketflow.adapters.web.query import names_in, parameters
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.rows import row_json
from marketflow.application.pipeline.broadcaster import (
    Broadcaster,
    Event,
    FeedState,
    ModeChange,
    Quote,
    Snapshot,
)
from marketflow.application.state import Market
from marketflow.domain.errors import Restoring
from marketflow.domain.minute import MinuteRow

CONTENT_TYPE = "text/event-stream"
_HEADERS = (NO_STORE, ("X-Accel-Buffering", "no"))
_PARAMETERS = ("symbols", "exchange")
# ms until a browser connects again; a part of the first event: alone it is one to some clients
_RETRY = b"retry: 2000\n"
# shows that the connection lives; an empty line after it would be an event to some clients
_COMMENT = b":\n"
_COMMENT_S = 15.0


class Wanted(NamedTuple):
    """Which events somebody wants; None is all."""

    symbols: frozenset[str] | None = None
    exchange: str | None = None

    def includes(self, exchange: str | None, symbol: str | None) -> bool:
        """Tell whether what concerns these, or every one (None), is wanted."""
        return (self.exchange is None or exchange is None or exchange == self.exchange) and (
            self.symbols is None or symbol is None or symbol in self.symbols
        )


class EventStream:
    """What the subscribers are told, beat by beat; used by the poll thread alone."""

    def __init__(self, broadcaster: Broadcaster, *, start_ms: int, interval_s: float) -> None:
        self.interval_s = interval_s
        self.position = 0  # the number of the newest event of this beat or before
        self._broadcaster = broadcaster
        self._start_ms = start_ms
        self._id = re.compile(rf"{start_ms}-([0-9]{{1,18}})")
        self._events: list[Event] = []
        self._comment = b""
        self._next_comment = 0.0
        self._encoded: dict[int, bytes] = {}  # this beat's events
        self._frames: dict[tuple[Wanted, int], bytes] = {}

    def beat(self, now: float) -> bool:
        """Gather what has happened since the last beat; False if there is nothing to tell."""
        self._events = self._broadcaster.take()
        self.position = self._broadcaster.number
        self._encoded.clear()
        self._frames.clear()
        self._comment = b""
        # the next beat comes an interval from now at the earliest: that may be too late
        if now + self.interval_s > self._next_comment:
            self._comment, self._next_comment = _COMMENT, now + _COMMENT_S
        return bool(self._events or self._comment)

    def frame(self, wanted: Wanted, after: int) -> bytes:
        """Return this beat's events that are *wanted* and newer than number *after*."""
        frame = self._frames.get((wanted, after))
        if frame is None:
            told = [
                self._event(event, wanted)
                for event in self._events
                if event.number > after and wanted.includes(event.exchange, event.symbol)
            ]
            frame = self._frames[wanted, after] = b"".join((*told, self._comment))
        return frame

    def hello(self, wanted: Wanted, seen: int | None) -> tuple[bytes, int]:
        """Return what a client is told first, *seen* what it had before; and its position."""
        broadcaster = self._broadcaster
        broadcaster.catch_up()
        position = broadcaster.number
        missed = [] if seen is None else broadcaster.minutes_after(seen)
        # its id is not ahead of the minutes that follow: who loses those asks for them again
        first = Event(position if seen is None else min(seen, position), broadcaster.snapshot())
        told = [
            self._encode(event, wanted)
            for event in (first, *missed)
            if wanted.includes(event.exchange, event.symbol)
        ]
        return b"".join((_RETRY, *told)), position

    def number_in(self, event_id: str) -> int | None:
        """Return the number in an id of this process; None for anything else."""
        found = self._id.fullmatch(event_id)
        return None if found is None else int(found[1])

    def _event(self, event: Event, wanted: Wanted) -> bytes:
        if isinstance(event.what, Snapshot):
            return self._encode(event, wanted)
        encoded = self._encoded.get(event.number)
        if encoded is None:
            encoded = self._encoded[event.number] = self._encode(event, wanted)
        return encoded

    def _encode(self, event: Event, wanted: Wanted) -> bytes:
        kind, data = self._written(event.what, wanted)
        return f"event: {kind}\nid: {self._start_ms}-{event.number}\ndata: {data}\n\n".encode()

    def _written(
        self, what: Quote | MinuteRow | FeedState | ModeChange | Snapshot, wanted: Wanted
    ) -> tuple[str, str]:
        match what:
            case Quote():
                return "price", latest_json(self._broadcaster.price(what))
            case MinuteRow():
                return "minute", row_json(what)
            case FeedState():
                return "feed", _json(what._asdict())
            case ModeChange():
                return "mode", _json(what._asdict())
        prices = ",".join(
            latest_json(self._broadcaster.price(quote))
            for quote in what.quotes
            if wanted.includes(quote.exchange, quote.symbol)
        )
        feeds = [feed._asdict() for feed in what.feeds if wanted.includes(feed.exchange, None)]
        return "snapshot", '{"prices":[%s],"mode":"%s","feeds":%s}' % (
            prices,
            what.mode,
            _json(feeds),
        )


class _Subscription:
    """What one client is told, and up to which number it was."""

    __slots__ = ("_position", "_seen", "_stream", "_wanted")

    def __init__(self, stream: EventStream, wanted: Wanted, seen: int | None) -> None:
        self._stream = stream
        self._wanted = wanted
        self._seen = seen
        self._position = 0

    def hello(self) -> bytes:
        data, self._position = self._stream.hello(self._wanted, self._seen)
        return data

    def frame(self) -> bytes:
        frame = self._stream.frame(self._wanted, self._position)
        self._position = self._stream.position
        return frame


class StreamApi:
    """The route of the stream."""

    def __init__(self, stream: EventStream, market: Market) -> None:
        self._stream = stream
        self._market = market

    def stream(self, request: Request) -> Response:
        """Answer `/stream[?symbols=][&exchange=]`.

        Raises:
            BadParameter, UnknownSymbol, UnknownExchange, Restoring
        """
        wanted = self._wanted(request.query)
        seen = self._stream.number_in(request.headers.get("last-event-id", ""))
        return Response(
            200,
            content_type=CONTENT_TYPE,
            headers=_HEADERS,
            stream=_Subscription(self._stream, wanted, seen),
        )

    def _wanted(self, query: str) -> Wanted:
        asked = parameters(query, _PARAMETERS)
        names = names_in(asked["symbols"], "symbols") if "symbols" in asked else None
        if self._market.restoring:
            raise Restoring("restoring the last minutes from the journal, prices follow shortly")
        catalog = self._market.state.catalog
        return Wanted(
            None if names is None else frozenset(map(catalog.symbol, names)),
            catalog.exchange(asked["exchange"]) if "exchange" in asked else None,
        )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
