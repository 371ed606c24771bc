"""Walks keep to their bounds, bursts look like the original's, the pace does not drift."""

import json
import re
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeexchange.prices import PAIRS, START_PRICES, Burst, Playback, bursts, walk

NOW_MS = 1_795_248_049_047
LINE = re.compile(
    rb'\{"symbol":"(BTC|DOGE|TON|SOL|ETH)USDT","price":\d+\.\d+(?:e-\d+)?,"timestamp":\d{13}\}\n'
)


def prices(exchange, symbol, seed, count):
    return list(islice(walk(symbol, exchange, seed), count))


def text(burst, stamp=b"1795248049047"):
    return stamp.join(burst.pieces)


@given(st.integers(1, 6), st.integers())
def test_the_first_price_is_one_step_from_the_start_price(exchange, seed):
    for symbol, start in START_PRICES[(exchange - 1) % 3].items():
        (first,) = prices(exchange, symbol, seed, 1)
        reach = 250.0 if symbol == "BTCUSDT" else start * 0.01
        assert abs(first - start) <= reach * (1 + 1e-12)


def test_the_start_prices_are_the_original_ones():
    assert [tuple(start[pair] for pair in PAIRS) for start in START_PRICES] == [
        (100000, 0.30, 3.9, 200, 3050),
        (100029, 0.28, 3.72, 197, 3034),
        (100049, 0.31, 3.66, 202, 3022),
    ]


@given(st.integers())
def test_btc_moves_by_up_to_250(seed):
    steps = [later - last for last, later in pairwise(prices(1, "BTCUSDT", seed, 500))]
    assert max(map(abs, steps)) <= 250 * (1 + 1e-12)
    assert max(map(abs, steps)) > 200


def test_btc_never_falls_below_99_percent_of_the_last_price(monkeypatch):
    # 250 is more than 1 % only below 25,000
    monkeypatch.setitem(START_PRICES[0], "BTCUSDT", 15_000.0)
    shares = [later / last for last, later in pairwise(prices(1, "BTCUSDT", 1, 500))]
    assert min(shares) == pytest.approx(0.99, abs=1e-12)
    assert max(shares) > 1.012


@given(st.sampled_from(PAIRS[1:]), st.integers())
def test_the_others_move_by_up_to_one_percent(symbol, seed):
    shares = [later / last - 1 for last, later in pairwise(prices(2, symbol, seed, 500))]
    assert max(map(abs, shares)) <= 0.01 * (1 + 1e-12)
    assert max(map(abs, shares)) > 0.009


def test_a_walk_of_hours_stays_near_its_start():
    walked = prices(1, "DOGEUSDT", 1, 500_000)
    assert min(walked) > 0.03 * 0.99
    assert max(walked) < 3.0 * 1.01


def test_an_unlisted_symbol_starts_at_100():
    assert prices(1, "XRPUSDT", 1, 1)[0] == pytest.approx(100, rel=0.01)


def test_the_same_seed_gives_the_same_prices():
    first, second = (list(islice(bursts(2, seed=7), 100)) for _ in range(2))
    assert first == second


def test_another_seed_or_exchange_or_no_seed_gives_other_prices():
    sequences = [
        tuple(prices(exchange, "SOLUSDT", seed, 5))
        for exchange, seed in ((1, 7), (1, 8), (4, 7), (1, None), (1, None))
    ]
    assert len(set(sequences)) == 5


def test_a_pair_walks_the_same_whatever_the_other_pairs_are():
    alone = [text(burst) for burst in islice(bursts(1, symbols=["SOLUSDT"], seed=7), 20)]
    among = [text(burst).split(b"\n")[3] + b"\n" for burst in islice(bursts(1, seed=7), 20)]
    assert alone == among


def test_a_burst_is_five_lines_in_the_originals_form_and_order():
    for burst in islice(bursts(1, seed=1), 1000):
        lines = text(burst).splitlines(keepends=True)
        assert all(LINE.fullmatch(line) for line in lines)
        assert [json.loads(line)["symbol"] for line in lines] == list(PAIRS)


def test_prices_are_written_with_every_digit():
    line = text(next(bursts(1, symbols=["BTCUSDT"], seed=1)))
    assert json.loads(line)["price"] == prices(1, "BTCUSDT", 1, 1)[0]


@pytest.mark.parametrize(("rate", "interval_ms"), [(50, 100.0), (5, 1000.0), (100_000, 0.05)])
def test_the_rate_is_lines_a_second(rate, interval_ms):
    assert [burst.at_ms for burst in islice(bursts(1, rate=rate), 3)] == pytest.approx(
        [0.0, interval_ms, 2 * interval_ms]
    )


def marked_bursts(interval_ms):
    number = 0
    while True:
        yield Burst(number * interval_ms, (b"%d@" % number, b"\n"))
        number += 1


def play(playback, moments):
    return {at: playback.take(at, NOW_MS + at) for at in moments if at >= playback.next_ms()}


def test_each_burst_is_taken_when_it_is_due_and_stamped_with_that_moment():
    playback = Playback(marked_bursts(100))
    playback.resume(0)
    assert play(playback, range(0, 301, 50)) == {
        at: b"%d@%d\n" % (at // 100, NOW_MS + at) for at in (0, 100, 200, 300)
    }


def test_late_turns_do_not_add_up():
    playback = Playback(marked_bursts(100))
    playback.resume(0)
    taken = play(playback, [7, 119, 203, 355, 401])
    assert b"".join(taken.values()) == b"".join(
        b"%d@%d\n" % (number, NOW_MS + number * 100) for number in range(5)
    )


def test_bursts_closer_than_ten_milliseconds_are_taken_together_with_their_own_stamps():
    playback = Playback(marked_bursts(2))
    playback.resume(0)
    taken = play(playback, range(26))
    assert list(taken) == [0, 10, 20]
    assert taken[10] == b"".join(b"%d@%d\n" % (n, NOW_MS + 2 * n) for n in range(1, 6))


def test_after_a_stall_of_over_a_second_it_goes_on_from_now():
    playback = Playback(marked_bursts(100))
    playback.resume(0)
    taken = play(playback, [0, 5000, 5050, 5100])
    assert taken == {
        0: b"0@%d\n" % NOW_MS,
        5000: b"1@%d\n" % (NOW_MS + 5000),
        5100: b"2@%d\n" % (NOW_MS + 5100),
    }


def test_going_on_at_a_recorded_time_that_went_back_delays_nothing_after_it():
    times = iter([0.0, 5000.0, 200.0, 5100.0, 5200.0])
    playback = Playback(Burst(at_ms, (b"@", b"\n")) for at_ms in times)
    playback.resume(0)
    playback.MAX_TAKEN = 1
    play(playback, [0, 5000])
    playback.resume(9000)
    assert list(play(playback, [9000, 9099, 9100])) == [9000, 9100]


def test_a_rate_out_of_reach_is_taken_in_bounded_pieces():
    playback = Playback(marked_bursts(0.001))
    playback.resume(0)
    assert playback.take(900, NOW_MS).count(b"\n") == Playback.MAX_TAKEN
    assert playback.next_ms() <= 900


def test_a_recorded_time_that_goes_back_is_sent_at_once_with_its_own_stamp():
    times = iter([0.0, 500.0, 200.0, 600.0, 700.0])
    playback = Playback(Burst(at_ms, (b"@", b"\n")) for at_ms in times)
    playback.resume(0)
    assert play(playback, [0, 500, 600]) == {
        0: b"@%d\n" % NOW_MS,
        500: b"@%d\n@%d\n" % (NOW_MS + 500, NOW_MS + 200),
        600: b"@%d\n" % (NOW_MS + 600),
    }
