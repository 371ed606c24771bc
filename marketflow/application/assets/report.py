"""How the aggregated prices are, for /health."""

from collections.abc import Callable, Mapping
from typing import Any

from marketflow.application.assets.book import AssetBook, Exchange
from marketflow.application.assets.breaker import BreakerState
from marketflow.application.assets.historian import Historian
from marketflow.application.assets.prices import AssetPrices
from marketflow.application.assets.sharing import Sharing
from marketflow.application.ports import Clock, Instant
from marketflow.domain.mode import Mode

_RECENT_MS = 5_000  # how long something that passed stays a problem
_NAMES = {
    BreakerState.CLOSED: "closed",
    BreakerState.HALF_OPEN: "half-open",
    BreakerState.OPEN: "open",
}


class AssetReport:
    """Reads every part; changes none."""

    def __init__(
        self,
        prices: AssetPrices,
        *,
        books: Mapping[Mode, AssetBook],
        historian: Historian,
        sharing: Sharing | None,
        clock: Clock,
        mode: Callable[[], Mode],
    ) -> None:
        self._prices = prices
        self._books = books
        self._historian = historian
        self._sharing = sharing
        self._clock = clock
        self._mode = mode

    def in_use(self) -> bool:
        """Whether any exchange of the current mode has ever answered."""
        return any(breaker.answered for _, breaker in self.exchanges())

    def exchanges(self) -> tuple[Exchange, ...]:
        """Return those of the current mode."""
        return self._books[self._mode()].exchanges

    def problems(self) -> list[str]:
        """Return a sentence for each thing that is not as it should be."""
        found: list[str] = []
        if self.in_use():
            found += [
                f"{breaker.exchange}: gives no quotes, {breaker.reason}"
                for _, breaker in self.exchanges()
                if breaker.state is not BreakerState.CLOSED
            ]
        if self._sharing is not None and self._sharing.problem:
            found.append(self._sharing.problem)
        historian = self._historian
        if historian.problem:
            found.append(historian.problem)
        dropped_mono = historian.dropped_mono
        if dropped_mono is not None and self._clock.now().mono_ms - dropped_mono < _RECENT_MS:
            found.append(f"asset history: {historian.dropped} prices were dropped")
        return found

    def section(self) -> dict[str, Any]:
        """Return the whole picture, ready for JSON."""
        now = self._clock.now()
        exchanges = self.exchanges()
        closed = all(breaker.state is BreakerState.CLOSED for _, breaker in exchanges)
        status = "waiting" if not self.in_use() else "ok" if closed else "degraded"
        return {
            "status": status,
            "known": len(self._prices.catalog.names),
            "cached": len(self._books[self._mode()]),
            "hits": self._prices.hits,
            "misses": self._prices.misses,
            "exchanges": {
                exchange.breaker.exchange: _exchange(exchange, now) for exchange in exchanges
            },
            "shared": self._shared(),
            "history": {
                "backend": self._historian.backend,
                "ok": self._historian.problem is None,
                "latency_ms": self._historian.latency_ms,
                "waiting": self._historian.waiting(),
                "dropped": self._historian.dropped,
            },
        }

    def _shared(self) -> dict[str, Any]:
        if self._sharing is None:
            return {"configured": False}
        return {
            "configured": True,
            "ok": self._sharing.problem is None,
            "latency_ms": self._sharing.latency_ms,
            "waiting": self._sharing.waiting(),
        }


def _exchange(exchange: Exchange, now: Instant) -> dict[str, Any]:
    breaker = exchange.breaker
    since_mono = breaker.since_mono
    return {
        "breaker": _NAMES[breaker.state],
        "answered": breaker.answered,
        "error": breaker.reason,
        "since_ms": None if since_mono is None else now.wall_ms - (now.mono_ms - since_mono),
    }
