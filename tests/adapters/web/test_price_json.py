"""What price answers look like as JSON."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.adapters.web.price_json import rfc3339, stats_json
from marketflow.application.answers import PriceStats
from marketflow.domain.period import Period


def stats(first, last):
    found = PriceStats("BTCUSDT", None, first, last, first, last, last, 0, 60_000, 2)
    return json.loads(stats_json(found, Period.parse("1m", 60_000)), parse_constant=pytest.fail)


def test_the_change_is_told_in_per_cent_of_the_first_price():
    answer = stats(80.0, 100.0)
    assert (answer["change"], answer["change_pct"]) == (20.0, 25.0)


def test_a_change_that_no_number_holds_is_the_greatest_number_and_never_infinity():
    assert stats(5e-324, 1e12)["change_pct"] == 1.7976931348623157e308


@given(st.integers(0, 4_102_444_800_000) | st.sampled_from([0, 7, 99, 999, 1_000]))
def test_a_time_is_told_to_the_millisecond(time_ms):
    time = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time_ms)
    assert rfc3339(time_ms) == time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
