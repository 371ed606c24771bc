"""An exchange's answer as a quote: where in its JSON the price, volume and time are."""

import json
import re
import sys
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from marketflow.adapters.exchange import quote_time
from marketflow.domain.asset import Quote
from marketflow.domain.errors import NotListed, QuoteFailed
from marketflow.domain.tick import MAX_PRICE

_MOST_AHEAD_MS = 60_000  # what a clock may differ from ours
_SHOWN = 80  # characters of a value in an error
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_LONGEST_NUMBER = 64  # characters, written as a string
_WHOLE = re.compile(r"-?[0-9]+")


class _Absent:
    """Where a path leads nowhere."""


_ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class QuoteFields:
    """Dotted paths into an exchange's answer; an empty one: the exchange does not tell it.

    A part is the name of a member, digits also an index from 0 into an array, and `*` the only
    member of an object or array, whatever its name: `result.*.c.0`.

    Raises:
        ValueError: a path has an empty part, or the price has no path.
    """

    price: str = "price"
    volume: str = "volume"
    timestamp: str = "timestamp"
    error: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            path = getattr(self, field.name)
            if "" in path.split(".") and (path or field.name == "price"):
                raise ValueError(
                    f"{field.name} must be a dotted path such as result.price, was {path!r}"
                )


class QuoteReader:
    """Makes quotes of one exchange's answers."""

    def __init__(self, exchange: str, where: QuoteFields) -> None:
        self._exchange = exchange
        self._price = _parts(where.price)
        self._volume = _parts(where.volume)
        self._timestamp = _parts(where.timestamp)
        self._error = _parts(where.error)

    def read(self, body: bytes, now_ms: int) -> Quote:
        """Return the quote in *body*, which was received at *now_ms*.

        Raises:
            NotListed: the answer holds an error, such as that there is no such asset.
            QuoteFailed: the answer holds no quote; says why.
        """
        document = _parse(body)
        error = _find(document, self._error)
        if error and error is not _ABSENT:
            raise NotListed(f"the answer holds an error: {_shown(error)}")
        return Quote(
            self._exchange,
            _price(_find(document, self._price)),
            _volume(_find(document, self._volume)),
            _timestamp_ms(_find(document, self._timestamp), now_ms),
        )


def _parts(path: str) -> tuple[str, ...] | None:
    return tuple(path.split(".")) if path else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _parse(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.removeprefix(_BYTE_ORDER_MARK).decode())
    except (ValueError, RecursionError) as error:
        raise QuoteFailed(f"answer must be JSON, was {_cut(repr(body[:_SHOWN]))}") from error


def _find(document: Any, parts: tuple[str, ...] | None) -> Any:
    if parts is None:
        return _ABSENT
    value = document
    for part in parts:
        if isinstance(value, dict):
            if part == "*" and len(value) == 1:
                (value,) = value.values()
            elif part in value:
                value = value[part]
            else:
                return _ABSENT
        elif isinstance(value, list):
            index = _index(part, len(value))
            if index is None:
                return _ABSENT
            value = value[index]
        else:
            return _ABSENT
    return value


def _index(part: str, length: int) -> int | None:
    if part == "*":
        return 0 if length == 1 else None
    if not (part.isascii() and part.isdigit()) or int(part) >= length:
        return None
    return int(part)


def _price(value: Any) -> float:
    number = _number(value)
    if number is not None and 0 < number <= MAX_PRICE:
        return float(number)
    raise QuoteFailed(f"price must be a number above 0, up to {MAX_PRICE:g}, was {_shown(value)}")


def _volume(value: Any) -> float | None:
    if value is None or value is _ABSENT:
        return None
    number = _number(value)
    if number is not None and 0 <= number <= sys.float_info.max:
        return float(number)
    raise QuoteFailed(f"volume must be a finite number of at least 0, was {_shown(value)}")


def _timestamp_ms(value: Any, now_ms: int) -> int:
    if value is None or value is _ABSENT:
        return now_ms
    number = _number(value)
    if number is not None:
        timestamp_ms = quote_time.from_number(number)
    elif isinstance(value, str):
        timestamp_ms = quote_time.from_text(value)
    else:
        timestamp_ms = None
    if timestamp_ms is None:
        raise QuoteFailed(f"timestamp must be a number or RFC 3339, was {_shown(value)}")
    if not 0 < timestamp_ms <= now_ms + _MOST_AHEAD_MS:
        raise QuoteFailed(f"timestamp must be above 0 and not ahead of us, was {_shown(value)}")
    return timestamp_ms


def _number(value: Any) -> float | None:
    """Return *value* as a number, perhaps an infinite one; None if it is none."""
    if isinstance(value, int | float):
        return None if isinstance(value, bool) else value
    if not isinstance(value, str) or len(value) > _LONGEST_NUMBER or not _NUMBER.fullmatch(value):
        return None
    # whole nanoseconds have more digits than a float
    return int(value) if _WHOLE.fullmatch(value) else float(value)


def _shown(value: Any) -> str:
    """Describe *value* in a few printable characters, whatever an exchange made of it."""
    if value is _ABSENT:
        return "absent"
    if isinstance(value, dict | list):
        # not written out: it may be nested deeper than can be
        return ("an object" if isinstance(value, dict) else "an array") if value else "empty"
    if isinstance(value, str):
        return _cut(ascii(value[:_SHOWN]))
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
