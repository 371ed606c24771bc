"""Refreshing an asset: every exchange is asked at once, what they answer becomes its price."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from threading import Lock

from marketflow.application.asset_ports import Answer
from marketflow.application.assets.book import AssetBook
from marketflow.application.assets.breaker import Breaker
from marketflow.application.assets.flight import Flight, Refreshed
from marketflow.application.assets.historian import Historian
from marketflow.application.assets.sharing import Sharing
from marketflow.application.pipeline.backoff import Throttle
from marketflow.application.ports import Clock
from marketflow.domain.asset import AssetCatalog, AssetPrice, Quote
from marketflow.domain.errors import AssetNotFound, NoQuotes, NotAsked, NotListed, QuoteFailed
from marketflow.domain.mode import Mode
from marketflow.domain.vwap import VwapPolicy, vwap

log = logging.getLogger(__name__)

_GRACE_MS = 1_000  # a source tells "a moment after" its deadline
RESULTS = ("ok", "not_listed", "failed")
_RESTING = NotAsked("it does not answer, and is not asked for a while")


class Refreshes:
    """Makes prices of quotes, one flight per asset and mode at a time; any thread may ask."""

    def __init__(
        self,
        catalog: AssetCatalog,
        *,
        books: Mapping[Mode, AssetBook],
        historian: Historian,
        sharing: Sharing | None,
        policy: VwapPolicy,
        timeout_ms: int,
        clock: Clock,
        mode: Callable[[], Mode],
    ) -> None:
        self._catalog = catalog
        self._books = books
        self._historian = historian
        self._sharing = sharing
        self._policy = policy
        self._timeout_ms = timeout_ms
        self._clock = clock
        self._mode = mode
        self._counting = Lock()
        self._complaints = Throttle(every_ms=60_000)
        # how many refreshes ended how, by tier and result
        self.counts = {(tier.name, result): 0 for tier in catalog.tiers for result in RESULTS}

    def refresh(self, name: str) -> Future[Refreshed]:
        """Start a refresh of the asset *name*, or join the one on its way; never waits.

        The future ends a moment after the timeout at the latest, with what was done, or with
        `AssetNotFound`: every exchange answered that it does not list the asset, or `NoQuotes`:
        there is no price to be made of what they answered.

        Raises:
            UnknownAsset
        """
        asset = self._catalog.asset(name)
        book = self._books[self._mode()]
        now_mono = self._clock.now().mono_ms
        flight, is_new = book.board(asset, now_mono + self._timeout_ms)
        if is_new:
            try:
                self._ask(book, flight, now_mono)
            except Exception as error:
                if self._may_tell("exchanges could not be asked"):
                    log.exception("exchanges could not be asked")
                self._end(book, flight, error)
        return flight.future

    def room(self) -> int:
        """Return how many refreshes can ask some exchange now."""
        return self._books[self._mode()].room(self._clock.now().mono_ms)

    def give_up(self) -> None:
        """End what an exchange's adapter has forgotten: it must not block its asset for ever."""
        now_mono = self._clock.now().mono_ms
        for book in self._books.values():
            for flight in book.flights():
                if now_mono > flight.deadline_mono + _GRACE_MS:
                    for place in flight.missing():
                        self._told(book, flight, place, QuoteFailed("no answer at all"))

    def _ask(self, book: AssetBook, flight: Flight, now_mono: int) -> None:
        allowed = [exchange.breaker.allow(now_mono) for exchange in book.exchanges]
        flight.expect([None if yes else _RESTING for yes in allowed])
        if not any(allowed):
            self._finish(book, flight)
            return
        deadline = flight.deadline_mono / 1000
        for place, yes in enumerate(allowed):
            if yes:
                tell = partial(self._told, book, flight, place)
                try:
                    book.exchanges[place].source.ask(flight.asset, deadline, tell)
                except Exception as error:
                    if self._may_tell("exchange could not be asked"):
                        log.exception("exchange could not be asked")
                    tell(QuoteFailed(repr(error)))

    def _told(self, book: AssetBook, flight: Flight, place: int, answer: Answer) -> None:
        is_first, is_last = flight.note(place, answer)
        if is_first:
            self._judge(book.exchanges[place].breaker, answer)
        if is_last:
            self._finish(book, flight)

    def _judge(self, breaker: Breaker, answer: Answer) -> None:
        now_mono = self._clock.now().mono_ms
        if isinstance(answer, Quote | NotListed):
            breaker.succeeded(now_mono)
        elif isinstance(answer, NotAsked):
            breaker.withdrawn()
        else:
            breaker.failed(now_mono, str(answer))

    def _finish(self, book: AssetBook, flight: Flight) -> None:
        try:
            price = self._price(flight)
            now_mono = self._clock.now().mono_ms
            book.put(price, now_mono)
            history = self._historian.offer(book.mode, price)
            if self._sharing is not None:
                self._sharing.offer(
                    book.mode,
                    price,
                    lambda took: self._end(book, flight, Refreshed(price, took, history)),
                )
                return
        except (AssetNotFound, NoQuotes) as error:
            self._end(book, flight, error)
        except Exception as error:
            if self._may_tell("quotes could not be made a price"):
                log.exception("quotes could not be made a price")
            self._end(book, flight, error)
        else:
            self._end(book, flight, Refreshed(price, None, history))

    def _price(self, flight: Flight) -> AssetPrice:
        answers = flight.answers()
        if answers and all(isinstance(answer, NotListed) for answer in answers):
            raise AssetNotFound
        quotes = [answer for answer in answers if isinstance(answer, Quote)]
        return vwap(flight.asset, quotes, self._policy, self._clock.now().wall_ms)

    def _end(self, book: AssetBook, flight: Flight, result: Refreshed | Exception) -> None:
        if flight.future.done():
            return
        book.land(flight)
        kind = "ok" if isinstance(result, Refreshed) else "failed"
        if isinstance(result, AssetNotFound):
            kind = "not_listed"
        tier = self._catalog.tier(flight.asset).name
        with self._counting:
            self.counts[tier, kind] += 1
        if isinstance(result, Refreshed):
            flight.future.set_result(result)
        else:
            # the frames in a traceback hold the flight, and it the error: a ring for the collector
            flight.future.set_exception(result.with_traceback(None))

    def _may_tell(self, sentence: str) -> bool:
        """Whether the log has not had *sentence* for a minute: a bug comes with every refresh."""
        with self._counting:
            return self._complaints.allow(sentence, self._clock.now().mono_ms) > 0
