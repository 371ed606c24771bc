"""Hands prices to the cache that is shared with other programs, and takes from it what it has."""

import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Lock
from time import monotonic
from typing import TypeVar

from marketflow.application.asset_ports import AssetCache, CachedPrice
from marketflow.application.assets.book import AssetBook
from marketflow.application.assets.outgoing import Outgoing, Parcel, Told
from marketflow.application.assets.trouble import Trouble
from marketflow.application.ports import Clock
from marketflow.domain.asset import AssetPrice
from marketflow.domain.errors import CacheUnavailable
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

_BATCH = 500  # prices in one write
_WAIT_S = 1.0  # between looks at the mode, and pings in trouble
_LAST_S = 2.0  # for one send once it is closed: a stop must not wait for a slow cache

T = TypeVar("T")


class Sharing:
    """Sends the newest price of each asset; while the cache is away they wait.

    What the cache holds when the service starts is taken into memory before anything is sent.
    """

    def __init__(
        self,
        cache: AssetCache,
        *,
        books: Mapping[Mode, AssetBook],
        assets: Sequence[str],
        ttl_ms: int,
        clock: Clock,
        mode: Callable[[], Mode],
    ) -> None:
        self._cache = cache
        self._books = books
        self._assets = assets
        self._ttl_ms = ttl_ms
        self._clock = clock
        self._mode = mode
        self._outgoing = Outgoing()
        self._warmed: set[Mode] = set()
        self._lock = Lock()
        self._wake = Event()
        self._closing = False
        self._closed = False
        self._trouble = Trouble(starts="prices are not shared", ends="prices are shared again")
        self.latency_ms: float | None = None  # of the last exchange with the cache

    @property
    def problem(self) -> str | None:
        """One sentence while prices are not shared."""
        return self._trouble.problem

    @property
    def errors(self) -> int:
        """Attempts that failed."""
        return self._trouble.errors

    def waiting(self) -> int:
        """Return how many prices the cache does not have yet."""
        return len(self._outgoing)

    def offer(self, mode: Mode, price: AssetPrice, told: Told) -> None:
        """Take *price* to be sent, never waiting; *told* is called once, perhaps at once.

        With True when the cache took it or a newer one. With False when it did not, or is known
        to be away: the price waits all the same, and is sent if the cache returns in time.
        """
        expires_mono = self._clock.now().mono_ms + self._ttl_ms
        with self._lock:
            works = self._trouble.problem is None and not self._closed
            if not self._closed:
                self._outgoing.add(mode, price, expires_mono, told if works else None)
        if works:
            self._wake.set()
        else:
            told(False)

    def read(self, mode: Mode, asset: str) -> CachedPrice | None:
        """Return what the cache holds of *asset*; None, too, if it is away. May block a moment."""
        if self._trouble.problem is not None:
            return None
        try:
            return self._timed(lambda: self._cache.get(mode, asset))
        except CacheUnavailable as error:
            self._fail(str(error))
            return None

    def run(self) -> None:
        """Send until closed, then what is left, and close the cache."""
        while not self._closing:
            self._turn()
            self._wake.wait(self._trouble.wait_s(_WAIT_S, self._clock.now().mono_ms))
            self._wake.clear()
        self._turn(last=True)
        with self._lock:
            self._closed = True
        self._disappoint()
        self._cache.close()

    def close(self) -> None:
        """Let `run` end; what is offered afterwards is not sent."""
        self._closing = True
        self._wake.set()

    def send(self, now_mono: int, *, last: bool = False) -> None:
        """Take in what the cache has, once per mode, then send what waits.

        Raises:
            CacheUnavailable: what was not sent waits on.
        """
        deadline = monotonic() + _LAST_S
        did = not last and self._warm(self._mode())
        while parcels := self._take(now_mono):
            self._put(parcels, now_mono)
            did = True
            if self._closing and monotonic() >= deadline:
                break
        if not did and self._trouble.problem is not None:
            self._timed(self._cache.ping)
        self._trouble.succeeded(self._clock.now().mono_ms)

    def _turn(self, *, last: bool = False) -> None:
        now_mono = self._clock.now().mono_ms
        if now_mono < self._trouble.retry_mono and not last:
            return
        try:
            self.send(now_mono, last=last)
        except CacheUnavailable as error:
            reason = str(error)
        except Exception as error:
            if self._trouble.problem is None:
                log.exception("prices could not be shared")
            reason = repr(error)
        else:
            return
        with self._lock:
            self._outgoing.put_back()
        self._fail(reason)

    def _warm(self, mode: Mode) -> bool:
        """Take the prices of *mode* that the cache has into memory; whether that was still due."""
        if mode in self._warmed:
            return False
        started_mono = self._clock.now().mono_ms
        held = self._timed(lambda: self._cache.everything(mode, self._assets))
        adopted = sum(self._books[mode].adopt(cached, started_mono) for cached in held)
        self._warmed.add(mode)
        log.info("prices taken from the shared cache", extra={"mode": mode, "prices": adopted})
        return True

    def _take(self, now_mono: int) -> list[Parcel]:
        with self._lock:
            parcels, expired = self._outgoing.take(_BATCH, now_mono)
        _tell(expired, took=False)
        return parcels

    def _put(self, parcels: Sequence[Parcel], now_mono: int) -> None:
        prices = [CachedPrice(p.price, p.expires_mono - now_mono) for p in parcels]
        self._timed(lambda: self._cache.put(parcels[0].mode, prices))
        with self._lock:
            told = self._outgoing.settle()
        _tell(told, took=True)

    def _fail(self, reason: str) -> None:
        # before those who wait are told: who is offered from now on sees the trouble
        self._trouble.failed(reason, self._clock.now().mono_ms)
        self._disappoint()

    def _disappoint(self) -> None:
        with self._lock:
            told = self._outgoing.hear_out()
        _tell(told, took=False)

    def _timed(self, action: Callable[[], T]) -> T:
        started = monotonic()
        result = action()
        self.latency_ms = round((monotonic() - started) * 1000, 3)
        return result


def _tell(told: Sequence[Told], *, took: bool) -> None:
    for tell in told:
        tell(took)
