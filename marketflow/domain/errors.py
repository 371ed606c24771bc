"""What can go wrong, in the words of the service.

MarketflowError
├── UnknownSymbol, UnknownExchange   a name nobody configured; carries the known ones
├── UnknownAsset                     an asset nobody listed
├── NoPrices, AssetNotFound          the names are right, there is nothing to tell
├── NoQuotes                         exchanges were asked, and no price can be made of it
├── NotListed, QuoteFailed, NotAsked what one exchange made of a question for a quote
├── Restoring                        the journal is still being replayed
├── BadPeriod, BadParameter          a question that cannot be understood
├── FeedLost                         an exchange's connection ended or fell silent
├── StorageUnavailable               disk or database did not do it; trying again may help
├── CacheUnavailable                 the cache did not do it; trying again may help
└── ChannelClosed                    the other side has finished
"""

from collections.abc import Iterable


class MarketflowError(Exception):
    """The root of everything the service raises on purpose."""


class _UnknownName(MarketflowError):
    kind = "name"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"unknown {self.kind} {name!r}, known are {', '.join(self.known)}")


class UnknownSymbol(_UnknownName):
    """No such pair."""

    kind = "symbol"


class UnknownExchange(_UnknownName):
    """No such exchange in the current mode."""

    kind = "exchange"


class UnknownAsset(MarketflowError):
    """No such asset; in the brief's words, since there are too many to name."""

    def __init__(self) -> None:
        super().__init__("Invalid asset symbol")


class NoPrices(MarketflowError):
    """Nothing to answer with."""


class AssetNotFound(MarketflowError):
    """The asset is known and has no price: none is cached, or no exchange lists it."""

    def __init__(self) -> None:
        super().__init__("Asset not found")


class NoQuotes(MarketflowError):
    """Exchanges were asked, and there are not enough usable quotes for a price."""

    def __init__(self) -> None:
        super().__init__("No exchange answered")


class NotListed(MarketflowError):
    """The exchange answered: it does not list the asset."""


class QuoteFailed(MarketflowError):
    """The exchange did not answer in time, or with what is no quote; says which."""


class NotAsked(MarketflowError):
    """The exchange was not asked, through no fault of its own: our limits did not allow it."""


class Restoring(MarketflowError):
    """The journal is still being replayed; prices follow in a moment."""


class BadParameter(MarketflowError):
    """A parameter that cannot be understood; names it, its value and what is allowed."""


class BadPeriod(BadParameter):
    """A period that is no duration or out of range."""


class FeedLost(MarketflowError):
    """An exchange's connection was refused, reset, closed, or fell silent."""


class StorageUnavailable(MarketflowError):
    """The disk or the database did not do what was asked; it may later."""


class CacheUnavailable(MarketflowError):
    """The cache did not do what was asked; it may later."""


class ChannelClosed(MarketflowError):
    """The channel is closed, and empty if one was reading."""
