"""What price answers look like as JSON."""

import json

import pytest

from marketflow.adapters.web.price_json import stats_json
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
