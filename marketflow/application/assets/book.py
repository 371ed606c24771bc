"""The prices of one mode in memory, the exchanges they come from, the refreshes on their way."""

from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

from marketflow.application.asset_ports import CachedPrice, QuoteSource
from marketflow.application.assets.breaker import Breaker
from marketflow.application.assets.flight import Flight
from marketflow.domain.asset import AssetPrice
from marketflow.domain.mode import Mode


class Exchange(NamedTuple):
    """Who is asked, and whether just now."""

    source: QuoteSource
    breaker: Breaker


class Entry(NamedTuple):
    """A price, and until when it may be told, in monotonic milliseconds."""

    price: AssetPrice
    expires_mono: int


class AssetBook:
    """What is known of every asset in one mode; a price is forgotten *ttl_ms* after it came in."""

    def __init__(self, mode: Mode, exchanges: Sequence[Exchange], *, ttl_ms: int) -> None:
        self.mode = mode
        self.exchanges = tuple(exchanges)
        self._ttl_ms = ttl_ms
        self._entries: dict[str, Entry] = {}
        # read without a lock: one entry is replaced by another in one step
        self.entry = self._entries.get
        self._flights: dict[str, Flight] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def price(self, asset: str, now_mono: int) -> AssetPrice | None:
        """Return the price of *asset*, None if there is none, or none that may still be told."""
        entry = self.entry(asset)
        return None if entry is None or entry.expires_mono <= now_mono else entry.price

    def put(self, price: AssetPrice, now_mono: int) -> None:
        """Keep a price just made; flights of one asset end one after the other, in order."""
        with self._lock:
            self._entries[price.asset] = Entry(price, now_mono + self._ttl_ms)

    def adopt(self, cached: CachedPrice, now_mono: int) -> bool:
        """Keep a price from elsewhere for as long as it lasts there, if it is news here."""
        price = cached.price
        with self._lock:
            known = self.price(price.asset, now_mono)
            if cached.ttl_ms <= 0 or (known is not None and known.updated_ms >= price.updated_ms):
                return False
            self._entries[price.asset] = Entry(price, now_mono + min(cached.ttl_ms, self._ttl_ms))
            return True

    def purge(self, now_mono: int) -> None:
        """Free the memory of prices that may not be told any more."""
        with self._lock:
            expired = [a for a, entry in self._entries.items() if entry.expires_mono <= now_mono]
            for asset in expired:
                del self._entries[asset]

    def room(self, now_mono: int) -> int:
        """Return how many refreshes can ask some exchange now."""
        return max((breaker.room(now_mono) for _, breaker in self.exchanges), default=0)

    def board(self, asset: str, deadline_mono: int) -> tuple[Flight, bool]:
        """Return the flight of *asset*, and whether it is a new one, to be flown by the caller."""
        with self._lock:
            flight = self._flights.get(asset)
            if flight is not None:
                return flight, False
            flight = self._flights[asset] = Flight(asset, deadline_mono)
            return flight, True

    def land(self, flight: Flight) -> None:
        """Let the next refresh of the asset be a new flight."""
        with self._lock:
            self._flights.pop(flight.asset, None)

    def flights(self) -> list[Flight]:
        """Return those on their way."""
        with self._lock:
            return list(self._flights.values())
