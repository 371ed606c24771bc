"""Times as people send them: milliseconds since the epoch, or RFC 3339."""

import re
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from math import ceil

from marketflow.domain.errors import BadParameter

_MILLISECONDS = re.compile(r"[0-9]{1,15}")
# a "+" that was not percent-encoded arrives as a space
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(\.[0-9]{1,30})?"
    r"(?:[Zz]|([+\- ])([0-9]{2}):([0-9]{2}))"
)
_SHOWN = 64


def span_in(asked: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return the parameters `from` and `to` in milliseconds, None where one was not sent.

    Raises:
        BadParameter: one is no time, or `from` is after `to`.
    """
    from_ms, to_ms = (
        time_ms(asked[name], name) if name in asked else None for name in ("from", "to")
    )
    if from_ms is not None and to_ms is not None and from_ms > to_ms:
        sent = f"{asked['from'][:_SHOWN]!r} and {asked['to'][:_SHOWN]!r}"
        raise BadParameter(f"from must not be after to, was {sent}")
    return from_ms, to_ms


def time_ms(text: str, parameter: str) -> int:
    """Return the first whole millisecond that is not before the time *text*.

    Raises:
        BadParameter: it is neither a count of milliseconds nor RFC 3339.
    """
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    parts = _RFC_3339.fullmatch(text)
    if parts:
        try:
            return _read(*parts.groups(default=""))
        except ValueError:
            pass  # the 30th of February
    raise BadParameter(
        f"{parameter} must be milliseconds since the epoch, or a time such as "
        f"2026-05-05T12:36:52.345Z, was {text[:_SHOWN]!r}"
    )


def _read(
    day: str, clock: str, second: str, fraction: str, sign: str, hours: str, minutes: str
) -> int:
    leap = second == "60"
    moment = datetime.fromisoformat(f"{day}T{clock}:{'59' if leap else second}+00:00")
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        raise ValueError("no such offset")
    ahead_s = (int(hours or 0) * 60 + int(minutes or 0)) * (-60 if sign == "-" else 60)
    seconds = int(moment.timestamp()) + leap - ahead_s + Fraction(f"0{fraction}")
    return ceil(seconds * 1000)
