import pytest

from bench.wrk import Run, parse

PRINTED = """\
Running 3s test @ http://127.0.0.1:8080/prices/latest/BTCUSDT
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   601.55us  250.13us   8.24ms   92.47%
    Req/Sec   103.51k     4.86k  109.91k    76.67%
  Latency Distribution
     50%  574.00us
     75%  640.00us
     90%  750.00us
     99%    1.42ms
  309012 requests in 3.00s, 112.30MB read
Requests/sec: 102934.17
Transfer/sec:     37.41MB
"""


def test_rate_and_latencies_are_read_whatever_their_units():
    fast = PRINTED.replace("574.00us", "500.00us")
    assert parse(fast) == Run(102934.17, 0.5, 1.42, 0)
    slow = PRINTED.replace("574.00us", "1.20s").replace("1.42ms", "1.05m")
    assert parse(slow) == Run(102934.17, 1200.0, 63_000.0, 0)


def test_bad_answers_and_lost_connections_are_counted():
    text = PRINTED.replace(
        "Requests/sec",
        "  Socket errors: connect 1, read 20, write 300, timeout 4000\n"
        "  Non-2xx or 3xx responses: 50000\nRequests/sec",
    )
    assert parse(text).bad == 54_321


@pytest.mark.parametrize("text", ["", "unable to connect", PRINTED.replace("99%", "98%")])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="wrk must print"):
        parse(text)


def test_a_latency_of_seconds_is_read_with_the_space_that_wrk_prints_behind_it():
    assert parse(PRINTED.replace("1.42ms", "1.01s ")).p99_ms == 1010
