"""Assets, what exchanges quote for them, and the price that is made of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from marketflow.domain.errors import UnknownAsset


class Quote(NamedTuple):
    """What one exchange says an asset is worth; the price is finite and above 0.

    A volume is finite and not below 0; None: the exchange does not tell it.
    """

    exchange: str
    price: float
    volume: float | None
    timestamp_ms: int  # the exchange's own


class Source(NamedTuple):
    """A quote, and whether the price was made of it."""

    quote: Quote
    used: bool


class AssetPrice(NamedTuple):
    """The aggregated price of an asset."""

    asset: str
    price: float
    timestamp_ms: int  # of the newest quote used
    updated_ms: int  # when it was aggregated, by our clock
    sources: tuple[Source, ...]


class HistoryItem(NamedTuple):
    """An aggregated price as it is kept for good; there is one per asset and second."""

    asset: str
    timestamp_s: int  # of the newest quote used
    price: float
    updated_s: int  # when it was aggregated, by our clock


@dataclass(frozen=True, slots=True)
class Tier:
    """The next *count* assets in order (None: all the rest), refreshed every *every_ms*."""

    name: str
    count: int | None
    every_ms: int


class AssetCatalog:
    """The known assets, canonical in lower case, in order; each belongs to one tier."""

    def __init__(self, names: Iterable[str], tiers: Sequence[Tier]) -> None:
        self.names = tuple(dict.fromkeys(name.lower() for name in names))
        self.tiers = tuple(tiers)
        self._tiers: dict[str, Tier] = {}
        rest = iter(self.names)
        for tier in tiers:
            self._tiers.update(dict.fromkeys(islice(rest, tier.count), tier))

    def asset(self, name: str) -> str:
        """Return the canonical form of the asset *name*, in whatever case it is written.

        Raises:
            UnknownAsset: it is not among them.
        """
        found = name.lower()
        # a few other letters become ASCII ones in lower case
        if found not in self._tiers or not name.isascii():
            raise UnknownAsset
        return found

    def tier(self, asset: str) -> Tier:
        """Return the tier of *asset*, in its canonical form."""
        return self._tiers[asset]
