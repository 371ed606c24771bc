"""What each exchange quotes for an asset at a time: pure, nothing has to be remembered.

Every asset has one walk, the same for all exchanges, seeds and processes: a base price times
value noise (straight lines between hashed points) at several scales of time. An exchange stands
a few basis points beside it, where its seed decides.
"""

import math
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

_COINS = {  # in dollars
    "btc": 79_450.0,
    "eth": 2_420.0,
    "bnb": 590.0,
    "sol": 158.0,
    "xrp": 0.52,
    "ada": 0.348,
    "doge": 0.162,
    "ton": 4.87,
    "trx": 0.166,
    "dot": 3.94,
    "ltc": 68.4,
    "link": 11.2,
    "avax": 25.1,
    "shib": 0.0000173,
    "bch": 352.0,
    "pol": 0.317,
    "near": 3.92,
    "uni": 7.42,
    "icp": 7.31,
    "apt": 8.62,
    "etc": 18.4,
    "xlm": 0.0921,
    "fil": 3.54,
    "atom": 4.13,
    "hbar": 0.0468,
    "arb": 0.523,
    "op": 1.54,
    "sui": 1.96,
    "inj": 18.7,
    "aave": 146.0,
    "mkr": 1_170.0,
    "pepe": 0.0000086,
    "floki": 0.000126,
    "bonk": 0.0000176,
    "wif": 2.21,
    "wbtc": 79_390.0,
    "usdc": 1.0,
    "fdusd": 1.0,
    "tusd": 1.0,
    "yfi": 4_870.0,
}
_OTHER_COINS = (0.01, 500.0)
_QUOTED_IN = {"usdt": 1.0, "usdc": 1.0, "btc": _COINS["btc"], "eth": _COINS["eth"]}
_WALK = (  # seconds from one point to the next, and how far the points may be from the base price
    (10.0, 0.0006),
    (300.0, 0.004),
    (7_200.0, 0.015),
    (259_200.0, 0.06),
)
_SPREAD = (7_200.0, 0.0006)  # the same for an exchange's way beside the walk
_JITTER = 0.0001  # and how far it may be from there in each second
_TURNOVER = (1e5, 1e6)  # price times volume
_TURNOVER_S = 10.0
_DIGITS = 7
_MASK = (1 << 64) - 1


class Quote(NamedTuple):
    """One exchange's answer; the volume is above 0."""

    symbol: str
    price: float
    volume: float
    timestamp: int  # seconds since the epoch


class _Market(NamedTuple):
    keys: tuple[int, ...]  # one for each part of the walk
    base_price: float
    turnover: float


def quote(exchange: int, asset: str, at_s: float, seed: int = 0) -> Quote:
    """Return what *exchange* (1, 2, …) quotes for *asset*, in lower case, at *at_s*."""
    # hot: 8 us, nearly all of it the hashing of points
    market = _market(asset)
    share = 0.0
    for key, (step_s, reach) in zip(market.keys, _WALK, strict=True):
        share += reach * _noise(key, at_s / step_s)
    own = _hash(market.keys[0], exchange * 1_000_003 + seed)
    step_s, reach = _SPREAD
    share += reach * _noise(own, at_s / step_s) + _JITTER * _point(own + 1, int(at_s))
    exact = market.base_price * (1.0 + share)
    turnover = market.turnover * (1.5 + _point(own + 2, int(at_s / _TURNOVER_S)))
    price = _rounded(exact, least_decimals=2)
    return Quote(asset, price, _rounded(turnover / exact, least_decimals=0), int(at_s))


@lru_cache(maxsize=16_384)
def _market(asset: str) -> _Market:
    name = crc32(asset.encode())
    keys = tuple(_hash(name, number) for number in range(len(_WALK)))
    return _Market(keys, _base_price(asset, name), _between(_TURNOVER, _point(name, -2)))


def _base_price(asset: str, name: int) -> float:
    quoted_in = next((coin for coin in _QUOTED_IN if asset.endswith(coin)), "")
    coin = asset.removesuffix(quoted_in)
    price = _COINS[coin] if coin in _COINS else _between(_OTHER_COINS, _point(name, -1))
    return price / _QUOTED_IN.get(quoted_in, 1.0)


def _between(ends: tuple[float, float], place: float) -> float:
    """Return what is between two numbers, in powers: *place* is from -1 to 1."""
    low, high = ends
    return float(low * (high / low) ** ((place + 1.0) / 2.0))


def _noise(key: int, at: float) -> float:
    """Return the height, from -1 to 1, of the line through the points of *key*, one per whole."""
    before = math.floor(at)
    start = _point(key, before)
    return start + (_point(key, before + 1) - start) * (at - before)


def _point(key: int, number: int) -> float:
    return _hash(key, number) / (1 << 63) - 1.0


def _hash(key: int, number: int) -> int:
    """Mix two numbers as splitmix64 does: neighbours have nothing in common."""
    mixed = (key + number * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def _rounded(value: float, *, least_decimals: int) -> float:
    """Round to seven digits, so that small prices move too, and at least to *least_decimals*."""
    return round(value, max(least_decimals, _DIGITS - 1 - math.floor(math.log10(value))))
