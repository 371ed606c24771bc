"""Ten minutes of ten thousand assets, in milliseconds that do not pass."""

import sys
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.application.assets.schedule import Schedule
from marketflow.domain.asset import Tier
from tests.application.assets.rig import catalog_of

START = 5_000_000
STEP = 250
MINUTE = 60_000
TIERS = (Tier("hot", 20, 5_000), Tier("medium", 180, 30_000), Tier("cold", None, 180_000))


class Life:
    """A schedule, taken from every step; notes when each asset had its turn."""

    def __init__(self, count, tiers=TIERS):
        self.catalog = catalog_of(count, tiers)
        self.schedule = Schedule(self.catalog, START)
        self.now = START
        self.turns = defaultdict(list)

    def pass_by(self, ms, *, room=sys.maxsize, ended="succeeded"):
        """Let *ms* pass; return what was taken, with the time."""
        end, taken = self.now + ms, []
        while self.now < end:
            for due in self.schedule.take(self.now, room):
                self.turns[due.asset].append(self.now)
                taken.append((self.now, due.asset))
                if ended == "failed":
                    self.schedule.failed(due, self.now)
                else:
                    self.schedule.succeeded(due)
            self.now += STEP
        return taken

    def worst(self, since=0):
        """Return the longest time between two turns of one asset, in its intervals."""
        return max(
            (later - earlier) / self.catalog.tier(asset).every_ms
            for asset in self.catalog.names
            for earlier, later in pairwise([*self.turns[asset], self.now])
            if earlier >= since
        )


@pytest.fixture(scope="module")
def ten_minutes():
    life = Life(10_000)
    life.taken = life.pass_by(10 * MINUTE)
    return life


def test_every_asset_has_its_first_turn_within_a_minute_of_the_start(ten_minutes):
    firsts = {asset: turns[0] - START for asset, turns in ten_minutes.turns.items()}
    assert len(firsts) == 10_000
    assert max(firsts.values()) <= 50_000
    assert max(firsts[f"asset{n}"] for n in range(20)) <= 1_000


def test_the_first_turns_come_tier_by_tier(ten_minutes):
    firsts = sorted((turns[0], asset) for asset, turns in ten_minutes.turns.items())
    tiers = [ten_minutes.catalog.tier(asset).name for _, asset in firsts]
    assert tiers[:20] == ["hot"] * 20
    assert tiers[20:200] == ["medium"] * 180


def test_no_asset_is_ever_later_than_one_and_a_half_intervals(ten_minutes):
    assert ten_minutes.worst() < 1.5


def test_each_tier_keeps_its_pace(ten_minutes):
    counts = Counter()
    for at, asset in ten_minutes.taken:
        if at >= START + 5 * MINUTE:
            counts[ten_minutes.catalog.tier(asset).name] += 1
    for tier, size in zip(TIERS, (20, 180, 9_800), strict=True):
        assert counts[tier.name] == pytest.approx(5 * MINUTE / tier.every_ms * size, rel=0.02)


def test_the_load_is_flat_every_second(ten_minutes):
    loads = Counter((at - START) // 1_000 for at, _ in ten_minutes.taken)
    assert max(loads[second] for second in range(50)) <= 250
    steady = [loads[second] for second in range(240, 600)]
    assert sum(steady) / len(steady) == pytest.approx(64.4, rel=0.02)
    assert (min(steady), max(steady)) >= (62, 0)
    assert max(steady) <= 68


def test_few_assets_do_not_take_the_whole_start():
    life = Life(25, (Tier("hot", 5, 5_000), Tier("cold", None, 180_000)))
    life.pass_by(2_000)
    assert len(life.turns) == 25


def test_one_tier_of_everything_is_spread_over_the_start_too():
    life = Life(10_000, (Tier("all", None, 180_000),))
    loads = Counter((at - START) // 1_000 for at, _ in life.pass_by(MINUTE))
    assert len(life.turns) == 10_000
    assert max(loads.values()) <= 252


def test_nothing_is_taken_without_room_and_no_more_than_there_is():
    life = Life(1_000)
    assert life.pass_by(MINUTE, room=0) == []
    assert len(life.pass_by(STEP, room=3)) == 3


def test_after_an_outage_what_is_overdue_comes_at_a_bounded_rate_and_every_tier_recovers():
    life = Life(10_000)
    life.pass_by(4 * MINUTE)
    life.pass_by(4 * MINUTE, room=0)
    since = life.now
    loads = Counter((at - since) // 1_000 for at, _ in life.pass_by(3 * MINUTE))
    assert max(loads.values()) <= 2 * life.schedule.rate
    assert max(loads[second] for second in range(2, 180)) <= life.schedule.rate + 1
    assert {a for a, turns in life.turns.items() if turns[-1] >= since} == set(life.catalog.names)
    # the short intervals are kept while the long ones catch up
    hot = life.catalog.names[:20]
    assert max(next(at for at in life.turns[a] if at >= since) - since for a in hot) <= STEP
    life.pass_by(4 * MINUTE)
    assert life.worst(since=since) < 1.5


def test_within_a_tier_the_oldest_come_first():
    life = Life(400, (Tier("all", None, 60_000),))
    life.pass_by(2 * MINUTE)
    life.pass_by(MINUTE, room=0)
    before = {asset: turns[-1] for asset, turns in life.turns.items()}
    order = [asset for _, asset in life.pass_by(4_000)]
    first = order[:150]
    assert [before[asset] for asset in first] == sorted(before[asset] for asset in first)


@pytest.mark.parametrize(("asset", "gaps"), [("asset0", [3, 5]), ("asset25", [3, 6, 12, 24])])
def test_what_failed_is_due_again_soon_and_less_soon_the_more_often(asset, gaps):
    life = Life(200)
    life.pass_by(2 * MINUTE, ended="failed")
    turns = life.turns[asset]
    for (earlier, later), gap in zip(pairwise(turns), gaps, strict=False):
        assert later - earlier <= gap * 1_000 + STEP


def test_what_goes_on_failing_is_not_tried_more_often_than_its_interval_in_the_end():
    life = Life(200, (Tier("cold", None, 30_000),))
    life.pass_by(10 * MINUTE, ended="failed")
    late = [later - earlier for e in life.turns.values() for earlier, later in pairwise(e[6:])]
    assert min(late) >= 30_000 * 0.4 - STEP
    assert life.worst() < 1.5


def test_a_success_ends_the_hurry():
    life = Life(10)
    life.pass_by(STEP, ended="failed")
    life.pass_by(3_000 + STEP)
    counts = Counter(asset for _, asset in life.pass_by(MINUTE))
    assert counts["asset0"] == 12


def test_after_a_success_a_failure_is_a_first_one_again():
    life = Life(10, (Tier("all", None, 30_000),))
    for ended in ("failed", "succeeded"):
        life.pass_by(MINUTE, ended=ended)
    life.pass_by(MINUTE, ended="failed")
    for turns in life.turns.values():
        failed = [at for at in turns if at >= START + 2 * MINUTE]
        assert failed[1] - failed[0] <= 3_000 + STEP


def test_failures_of_the_many_do_not_delay_the_few():
    life = Life(10_000)
    life.pass_by(MINUTE, ended="failed")
    hot = set(life.catalog.names[:20])
    for at, asset in life.pass_by(5 * MINUTE, ended="failed"):
        if asset in hot:
            assert at - life.turns[asset][life.turns[asset].index(at) - 1] <= 7_500


@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.integers(1, 100), st.integers(1_000, 20_000)), max_size=3),
    st.integers(1_000, 60_000),
    st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None)
def test_whatever_the_tiers_and_failures_nobody_is_forgotten(count, sizes, last_ms, rng):
    tiers = [Tier(f"t{n}", size, every) for n, (size, every) in enumerate(sizes)]
    life = Life(count, (*tiers, Tier("rest", None, last_ms)))
    while life.now < START + 3 * MINUTE:
        life.pass_by(2_000, ended=rng.choice(["failed", "succeeded"]))
    assert set(life.turns) == set(life.catalog.names)
    assert life.worst() < 1.4 + STEP * 2 / min(tier.every_ms for tier in life.catalog.tiers)
