"""What the service counts about itself."""

from marketflow.application.telemetry import LATENCY_BUCKETS_S, Feed, Histogram, Telemetry
from marketflow.domain.mode import Mode


def test_a_histogram_puts_each_value_into_the_first_bucket_that_holds_it():
    histogram = Histogram()
    for seconds in (0.0, 0.001, 0.002, 5.0, 5.1):
        histogram.observe(seconds)
    histogram.observe(0.07, times=3)
    bounds = dict(zip((*LATENCY_BUCKETS_S, "more"), histogram.counts, strict=True))
    assert {bound: n for bound, n in bounds.items() if n} == {
        0.001: 2,
        0.005: 1,
        0.1: 3,
        5.0: 1,
        "more": 1,
    }
    assert abs(histogram.total_s - 10.313) < 1e-9


def test_what_was_received_is_aggregated_rejected_late_or_on_its_way():
    feed = Feed("exchange1")
    feed.received, feed.aggregated, feed.late = 10, 4, 1
    feed.rejects.update(json=2, price=1)
    assert feed.rejected == 3
    assert feed.in_flight() == 2
    feed.aggregated = 9
    assert feed.in_flight() == 0, "a count read a moment later never makes it negative"


def test_a_rate_needs_two_moments():
    feed = Feed("exchange1")
    assert feed.rate() == 0.0
    feed.sample(1_000)
    assert feed.rate() == 0.0
    feed.aggregated = 30
    feed.sample(2_000)
    assert feed.rate() == 30.0


def test_a_restart_forgets_the_old_modes_ticks_and_keeps_the_counters():
    feed = Feed("exchange1")
    feed.received = feed.aggregated = 5
    feed.connected, feed.last_tick_ms, feed.last_tick_mono = True, 1, 1
    feed.skew_mono = feed.failure_mono = 1
    feed.sample(1_000)
    feed.restart()
    assert (feed.connected, feed.last_tick_ms, feed.last_tick_mono) == (False, None, None)
    assert (feed.skew_mono, feed.failure_mono) == (None, None)
    assert (feed.received, feed.aggregated) == (5, 5)
    assert feed.rate() == 0.0


def test_a_feed_of_both_modes_is_one_and_each_mode_knows_its_own():
    telemetry = Telemetry({Mode.LIVE: ["a", "b"], Mode.TEST: ["b", "c"]})
    assert list(telemetry.feeds) == ["a", "b", "c"]
    assert [feed.exchange for feed in telemetry.feeds_of(Mode.TEST)] == ["b", "c"]
    assert telemetry.feeds_of(Mode.LIVE)[1] is telemetry.feeds_of(Mode.TEST)[0]
