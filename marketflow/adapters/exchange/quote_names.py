"""What an exchange calls an asset, and the two currencies in its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_SEPARATOR = re.compile(r"[-_/:]")
# longest first: btcusdt is btc in usdt, not btcus in dt
_QUOTES = sorted(
    (
        *("usdt", "usdc", "fdusd", "tusd", "busd", "usd", "dai", "eur", "gbp", "jpy", "aud"),
        *("cad", "chf", "krw", "inr", "try", "brl", "rub", "uah", "ngn", "zar", "mxn", "pln"),
        *("idr", "btc", "xbt", "eth", "bnb", "trx", "sol", "xrp", "doge", "dot"),
    ),
    key=len,
    reverse=True,
)
_SHORTEST_USUAL_BASE = 3


class Name(NamedTuple):
    """An asset in an exchange's words, as they are written for it."""

    symbol: str
    exact: bool  # written as it is: the exchange's own name
    parts: tuple[str, str] | None  # base and quote; None where they cannot be told apart


class Names:
    """The names of assets at one exchange; *exceptions* gives its own for some.

    Of an exception such as `XBT-USD` or `xbt/usd` the base and the quote are what stands before
    and behind the separator, which may be `-`, `_`, `/` or `:`.

    Raises:
        ValueError: an exception is empty.
    """

    def __init__(self, exceptions: Mapping[str, str]) -> None:
        self._exceptions = {asset.lower(): name for asset, name in exceptions.items()}
        for asset, name in self._exceptions.items():
            if not name:
                raise ValueError(f"symbols.{asset} must be the exchange's name for it, was ''")

    def of(self, asset: str) -> Name:
        """Return what the exchange calls *asset*."""
        exception = self._exceptions.get(asset)
        name = exception or asset
        return Name(name, exception is not None, split(name))


def split(name: str) -> tuple[str, str] | None:
    """Return base and quote of *name*, split at its separator or before a known currency."""
    parts = _SEPARATOR.split(name)
    if len(parts) > 1:
        return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else None
    folded = name.lower()
    ways = [
        (name[: -len(quote)], name[-len(quote) :])
        for quote in _QUOTES
        if folded.endswith(quote) and len(name) > len(quote)
    ]
    # bnbusd is bnb in usd, not bn in busd; opusdt is op in usdt all the same
    usual = (way for way in ways if len(way[0]) >= _SHORTEST_USUAL_BASE)
    return next(usual, ways[0] if ways else None)
