"""Durations as people write them: Go's grammar, plus days."""

import re
from fractions import Fraction

from marketflow.domain.errors import BadPeriod

# https://pkg.go.dev/time#ParseDuration, with "d" added
_UNITS_MS = {
    "ns": Fraction(1, 1_000_000),
    "us": Fraction(1, 1_000),
    "µs": Fraction(1, 1_000),
    "μs": Fraction(1, 1_000),
    "ms": Fraction(1),
    "s": Fraction(1_000),
    "m": Fraction(60_000),
    "h": Fraction(3_600_000),
    "d": Fraction(86_400_000),
}
_PART = r"(\d{1,60}(?:\.\d{0,60})?|\.\d{1,60})(ns|us|µs|μs|ms|s|m|h|d)"
_PARTS = re.compile(_PART, re.ASCII)
_WHOLE = re.compile(rf"\+?(?:{_PART})+", re.ASCII)
_MAX_LENGTH = 64


def duration_ms(text: str) -> int:
    """Return the duration *text* (`90s`, `1m30s`, `1.5h`, `500ms`, `7d`) in whole milliseconds.

    Fractions of a millisecond round up, so that no positive duration becomes 0.

    Raises:
        BadPeriod: it is no duration.
    """
    if len(text) > _MAX_LENGTH or not _WHOLE.fullmatch(text):
        raise BadPeriod(f"must be a duration such as 1s, 30s, 5m, was {text[:_MAX_LENGTH]!r}")
    total = sum(
        (Fraction(number.rstrip(".")) * _UNITS_MS[unit] for number, unit in _PARTS.findall(text)),
        Fraction(0),
    )
    return -(-total.numerator // total.denominator)


class Period:
    """A question's time span: its text as sent, and its length in milliseconds."""

    __slots__ = ("ms", "text")

    def __init__(self, text: str, ms: int) -> None:
        self.text = text
        self.ms = ms

    @classmethod
    def parse(cls, text: str, max_ms: int) -> "Period":
        """Parse *text*, greater than zero and at most *max_ms*.

        Raises:
            BadPeriod: with a sentence that begins with "period must be".
        """
        try:
            ms = duration_ms(text)
        except BadPeriod as error:
            raise BadPeriod(f"period {error}") from None
        if ms <= 0:
            raise BadPeriod(f"period must be greater than zero, was {text!r}")
        if ms > max_ms:
            limit = f"{max_ms / 86_400_000:g}d" if max_ms >= 86_400_000 else f"{max_ms / 1000:g}s"
            raise BadPeriod(f"period must be at most {limit}, was {text!r}")
        return cls(text, ms)
