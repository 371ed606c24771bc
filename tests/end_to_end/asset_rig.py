"""The service with a few assets and exchanges of the test's own, and what the prices should be."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from time import perf_counter, time
from typing import Any

from tests.end_to_end.harness import Answer, Service, config_of
from tests.end_to_end.http_feeder import HttpFeeder

NAMES = ("btcusdt", "ethusdt", "adausdt", *(f"coin{number}usdt" for number in range(27)))
FAST_MS = 5.0  # what a price from memory may take, whatever the exchanges do
_TIERS = (
    {"name": "hot", "count": 3, "every": "5s"},
    {"name": "medium", "count": 7, "every": "30s"},
    {"name": "cold", "every": "3m"},
)
_WARM_UP, _MEASURED = 5, 51


def start_exchanges(cleanup: ExitStack, count: int = 3) -> list[HttpFeeder]:
    """Start exchange1, exchange2, … and stop them with the test."""
    exchanges = [HttpFeeder(f"exchange{number + 1}") for number in range(count)]
    for exchange in exchanges:
        cleanup.callback(exchange.stop)
        exchange.start()
    return exchanges


def asset_config(
    exchanges: Iterable[HttpFeeder], folder: Path, *, assets: Any = None, **sections: Any
) -> dict[str, Any]:
    """Return a live configuration that refreshes nothing unless asked; *assets* changes that."""
    symbols = folder / "symbols.csv"
    symbols.write_text("\n".join(("symbol", *NAMES, "")))
    return config_of(
        [],
        sources={"live": [{"name": "ticks", "kind": "generated"}]},
        sources_http={
            "live": [{"name": exchange.name, "url": exchange.url} for exchange in exchanges]
        },
        assets={
            "symbols_file": str(symbols),
            "refresh": False,
            "tiers": _TIERS,
            "timeout": "700ms",
            **(assets or {}),
        },
        **sections,
    )


@contextmanager
def service_without_exchanges(home: Path) -> Iterator[Service]:
    """Run a service that can be asked about its assets, and has no price."""
    service = Service(home, asset_config([], home))
    try:
        yield service.start()
        assert not service.tracebacks()
    finally:
        service.clean_up()


def quote_all(
    exchanges: Sequence[HttpFeeder], symbol: str, *quotes: tuple[Any, Any], age_s: int = 0
) -> int:
    """Let each exchange quote one (price, volume); returns the timestamp of them all."""
    timestamp = int(time()) - age_s
    for exchange, (price, volume) in zip(exchanges, quotes, strict=True):
        exchange.quote(symbol, price, volume, timestamp=timestamp)
    return timestamp


def formula(*quotes: tuple[float, float]) -> float:
    """Return sum(price * volume) / sum(volume), worked out exactly and rounded once."""
    total = sum(Fraction(price) * Fraction(volume) for price, volume in quotes)
    return float(total / sum(Fraction(volume) for _, volume in quotes))


def refresh(service: Service, asset: str, **headers: str) -> Answer:
    """Ask for a refresh of *asset*."""
    return service.ask(f"/refresh/{asset}", "POST", **headers)


def refreshed(service: Service, asset: str) -> Any:
    """Refresh *asset* and return what the 200 says."""
    answer = refresh(service, asset)
    assert answer.status == 200, answer
    return answer.json


def usual_ms(service: Service, path: str, status: int = 200) -> float:
    """Return the median time of an answer on a connection that is open already."""
    took = []
    with closing(HTTPConnection("127.0.0.1", service.port, timeout=10)) as connection:
        for _ in range(_WARM_UP + _MEASURED):
            started = perf_counter()
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            took.append((perf_counter() - started) * 1000)
            assert response.status == status
    return median(took[_WARM_UP:])


def asked(exchanges: Iterable[HttpFeeder]) -> list[int]:
    """Return how many questions each exchange has seen."""
    return [len(exchange.asked) for exchange in exchanges]
