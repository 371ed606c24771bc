import pytest

from bench.feeding import Ledger
from bench.itemwise import rate_of
from bench.load import growths
from bench.service import missing, summed


def test_the_rate_leaves_out_the_warm_up_and_the_silence_before_it():
    printed = "10.0 0\n10.5 100\n11.0 50000\n11.5 100000\n12.0 160000\n12.5 200000\n"
    assert rate_of(printed, skip_s=1.0) == (200_000 - 100_000) / 1.0


@pytest.mark.parametrize("printed", ["", "10.0 0\n", "10.0 0\n10.5 5\n"])
def test_a_rate_needs_two_counts(printed):
    with pytest.raises(ValueError, match="two counts"):
        rate_of(printed)


def test_growth_compares_loads_that_contain_one_another():
    found = {
        (1, 5): [2.0, 4.0],
        (10, 5): [1.0, 1.0],
        (1, 50): [3.0, 3.0],
        (10, 50): [2.5, 2.5],
    }
    assert growths(found) == [2.5, 2.5]


def test_growth_is_below_one_where_more_is_cheaper():
    assert growths({(1, 5): [4.0], (10, 5): [2.0]}) == [0.5]


def test_what_rows_lack_and_what_they_have_too_many_is_lost():
    ledger = Ledger(bursts=(3, 3, 0), pairs=2, connected=3, cut_off=0)
    pairs = ["A", "B"]
    exact = {(f"exchange{n}", pair): 3 for n in (1, 2) for pair in pairs}
    assert missing(exact, ledger, pairs) == 0
    assert missing({**exact, ("exchange1", "A"): 1}, ledger, pairs) == 2
    assert missing({**exact, ("exchange1", "A"): 4}, ledger, pairs) == 1
    assert missing({**exact, ("exchange3", "A"): 5}, ledger, pairs) == 5
    assert missing({}, ledger, pairs) == 12


def test_counters_are_summed_over_labels_whatever_stands_in_them():
    page = (
        "# TYPE marketflow_http_requests_total counter\n"
        'marketflow_http_requests_total{route="/prices/latest/{symbol}",code="200"} 40\n'
        'marketflow_http_requests_total{route="other",code="404"} 2\n'
        "marketflow_ticks_replayed_total 1.5e+06\n"
        "process_cpu_seconds_total 3.5\n"
    )
    assert summed(page) == {"http_requests": 42, "ticks_replayed": 1_500_000}
