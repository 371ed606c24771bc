"""Durations as Go writes them, against an independent reading."""

from contextlib import suppress
from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.domain.errors import BadPeriod
from marketflow.domain.period import Period, duration_ms

DAY_MS = 86_400_000
UNITS = {
    "ns": Decimal("0.000001"),
    "us": Decimal("0.001"),
    "µs": Decimal("0.001"),
    "μs": Decimal("0.001"),
    "ms": Decimal(1),
    "s": Decimal(1_000),
    "m": Decimal(60_000),
    "h": Decimal(3_600_000),
    "d": Decimal(DAY_MS),
}
NUMBERS = st.integers(0, 10**6).map(str) | st.decimals(0, 1000, places=3).map(str)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1s", 1_000),
        ("90s", 90_000),
        ("1m30s", 90_000),
        ("1.5h", 5_400_000),
        ("500ms", 500),
        ("7d", 7 * DAY_MS),
        ("5m", 300_000),
        ("+1s", 1_000),
        (".5s", 500),
        ("1.s", 1_000),
        ("1h1h", 7_200_000),
        ("1ns", 1),
        ("0s", 0),
    ],
)
def test_durations_are_read_as_go_reads_them(text, ms):
    assert duration_ms(text) == ms


@given(st.lists(st.tuples(NUMBERS, st.sampled_from(list(UNITS))), min_size=1, max_size=4))
def test_any_duration_is_the_sum_of_its_parts_rounded_up(parts):
    total = sum((Decimal(number) * UNITS[unit] for number, unit in parts), Decimal(0))
    text = "".join(number + unit for number, unit in parts)
    assert duration_ms(text) == int(total.to_integral_value(ROUND_CEILING))


@pytest.mark.parametrize(
    "text",
    [
        *("", "abc", "1", "s", "1 s", " 1s", "1s ", "1s\n", "-1s", "1S", "1w", "1e3s", "1..5s"),
        *(".s", "1,5s", "٣s", "+", "++1s", "1s-1s", "nan", "infs", "0x1s", "1_000s"),
        *("9" * 64 + "s", "1s" * 33),
    ],
)
def test_what_is_no_duration_is_refused_with_its_text(text):
    with pytest.raises(BadPeriod, match="period must be a duration such as 1s, 30s, 5m, was '"):
        Period.parse(text, DAY_MS)


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text):
    with suppress(BadPeriod):
        assert duration_ms(text) >= 0


def test_a_period_keeps_its_text_as_sent():
    period = Period.parse("1m30s", DAY_MS)
    assert (period.text, period.ms) == ("1m30s", 90_000)


def test_a_period_is_greater_than_zero_and_at_most_the_limit():
    assert Period.parse("1d", DAY_MS).ms == DAY_MS
    with pytest.raises(BadPeriod, match="period must be greater than zero, was '0s'"):
        Period.parse("0s", DAY_MS)
    with pytest.raises(BadPeriod, match="period must be at most 30d, was '31d'"):
        Period.parse("31d", 30 * DAY_MS)
    with pytest.raises(BadPeriod, match="period must be at most 90s, was '91s'"):
        Period.parse("91s", 90_000)
    with pytest.raises(BadPeriod, match="period must be at most 30d, was '9999999999999999s'"):
        Period.parse("9999999999999999s", 30 * DAY_MS)
    assert Period.parse("1000000000000000ns", 30 * DAY_MS).ms == 1_000_000_000
    with pytest.raises(BadPeriod, match="at most 1d, was '1d1ns'"):
        Period.parse("1d1ns", DAY_MS)
