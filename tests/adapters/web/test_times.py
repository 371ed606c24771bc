from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.adapters.web.times import span_in, time_ms
from marketflow.domain.errors import BadParameter


@given(st.integers(0, 10**15 - 1))
def test_digits_are_milliseconds(ms):
    assert time_ms(str(ms), "from") == ms


@given(
    moment=st.datetimes(timezones=st.just(UTC)),
    offset=st.integers(-23 * 60 - 59, 23 * 60 + 59),
    digits=st.text("0123456789", max_size=12),
    t=st.sampled_from("Tt "),
)
def test_rfc_3339_is_read_in_every_zone_to_the_millisecond(moment, offset, digits, t):
    moment = moment.replace(microsecond=0)
    sign, (hours, minutes) = ("-" if offset < 0 else "+"), divmod(abs(offset), 60)
    fraction = f".{digits}" if digits else ""
    text = f"{moment:%Y-%m-%d}".rjust(10, "0") + f"{t}{moment:%H:%M:%S}{fraction}"
    seconds = Fraction((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1))
    exact = seconds + (Fraction(f"0.{digits}") if digits else 0)
    for zulu in "Zz":
        assert time_ms(text + zulu, "to") == ceil(exact * 1000)
    local = f"{text}{sign}{hours:02d}:{minutes:02d}"
    assert time_ms(local, "to") == ceil((exact - offset * 60) * 1000)
    if sign == "+":  # not percent-encoded, it becomes a space
        assert time_ms(local.replace("+", " "), "to") == time_ms(local, "to")


def test_a_leap_second_is_the_second_after():
    assert time_ms("2016-12-31T23:59:60Z", "to") == time_ms("2017-01-01T00:00:00Z", "to")


def test_a_fraction_of_a_millisecond_never_lets_an_earlier_one_in():
    assert time_ms("1970-01-01T00:00:00.0000001Z", "from") == 1


NONSENSE = [
    *("", "-1", "+1", "1.5", "1e3", "1_000", "١٢٣", "9" * 16, "now", "2026-05", "2026-05-05"),
    *("2026-05-05T12:00:00", "2026-05-05T12:00Z", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z"),
    *("0000-01-01T00:00:00Z", "2026-05-05T24:00:00Z", "2026-05-05T12:00:61Z"),
    *("2026-05-05T12:00:00+24:00", "2026-05-05T12:00:00+01:60", "2026-05-05T12:00:00+0100"),
    *("2026-05-05T12:00:00.Z", " 1", "1 ", "2026-05-05T12:00:00Z\n"),
]


@pytest.mark.parametrize("text", NONSENSE)
def test_what_is_no_time_is_refused_by_name_and_value(text):
    with pytest.raises(
        BadParameter, match=r"^from must be milliseconds since the epoch, or "
    ) as bad:
        time_ms(text, "from")
    assert repr(text) in str(bad.value)


@given(st.text(max_size=80))
def test_any_text_is_a_time_or_refused(text):
    with suppress(BadParameter):
        assert isinstance(time_ms(text, "from"), int)


def test_a_span_must_not_end_before_it_begins():
    assert span_in({}) == (None, None)
    assert span_in({"from": "5", "to": "5"}) == (5, 5)
    assert span_in({"to": "1970-01-01T00:00:01Z"}) == (None, 1000)
    with pytest.raises(BadParameter, match=r"^from must not be after to, was '6' and '5'$"):
        span_in({"from": "6", "to": "5"})


def test_the_zone_of_this_machine_does_not_matter():
    moment = datetime(2026, 5, 5, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert time_ms("2026-05-05T12:00:00+05:45", "to") == moment.timestamp() * 1000
