"""The times that exchanges put on their quotes, in milliseconds since the epoch."""

import re
from datetime import UTC, datetime
from math import isfinite

# a number this large or larger is no longer in that unit: 1e11 s is the year 5138, 1e11 ms 1973
_SECONDS_END = 10**11
_MILLISECONDS_END = 10**14
_MICROSECONDS_END = 10**17

_RFC_3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def from_number(number: float) -> int | None:
    """Return a time in s, ms, us or ns, told apart by magnitude, in ms; None if it has none."""
    if number < _SECONDS_END:
        milliseconds = number * 1000
        if isinstance(milliseconds, int):  # perhaps one too large for a float
            return milliseconds
        return round(milliseconds) if isfinite(milliseconds) else None
    if number < _MILLISECONDS_END:
        return int(number)
    if number < _MICROSECONDS_END:
        return int(number // 1000)
    return int(number // 1_000_000) if number < 10**20 else None


def from_text(text: str) -> int | None:
    """Return a time as RFC 3339 writes it, in whole ms; None if it is written otherwise."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    *numbers, second, fraction, sign, hours, minutes = match.groups()
    try:
        minute = datetime(*map(int, numbers), tzinfo=UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        return None
    if int(second) > 60 or int(hours or 0) > 23 or int(minutes or 0) > 59:  # 60: a leap second
        return None
    offset_s = (int(hours or 0) * 60 + int(minutes or 0)) * 60
    if sign == "-":
        offset_s = -offset_s
    milliseconds = int((fraction or "0").ljust(3, "0")[:3])
    return (int(minute.timestamp()) + int(second) - offset_s) * 1000 + milliseconds
