"""What an exchange may send: every line counted, good ones exactly, bad ones by reason."""

import json

import pytest

from marketflow.adapters.exchange import wire
from marketflow.domain.tick import Ticks
from tests.adapters.exchange.wire_lines import MAX_LINE, NOW, SKEW, decoder, line


def with_value(key, text):
    values = {"symbol": b'"BTCUSDT"', "price": b"1.5", "timestamp": b"%d" % NOW, key: text}
    return b"{" + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in values.items()) + b"}"


def without(key):
    values = {"symbol": "BTCUSDT", "price": 1.5, "timestamp": NOW}
    del values[key]
    return json.dumps(values).encode()


GARBAGE = {
    "json": [
        b"",
        b"\r",
        b"   ",
        b"garbage",
        b"\x00",
        bytes(range(128, 256)),
        b"\xef\xbb\xbf" + line()[:-1],
        line()[:-1].decode().encode("utf-16"),
        b"null",
        b"true",
        b"17",
        b'"text"',
        b"[]",
        b"[" + line()[:-1] + b"]",
        line()[:-1] + line()[:-1],
        line()[:-1] + b"," + line()[:-1],
        line()[:-2],
        line()[1:-1],
        line()[:40],
        b"[" * 60_000,
        b'{"a":' * 12_000,
        with_value("price", b"NaN"),
        with_value("price", b"Infinity"),
        with_value("price", b"-Infinity"),
        with_value("price", b"01.5"),
        with_value("price", b"+1.5"),
        with_value("price", b".5"),
        with_value("price", b"5."),
        with_value("price", b"1_000.5"),
        with_value("price", b"9" * 5_000),
        with_value("timestamp", b"9" * 5_000),
        with_value("timestamp", b"0%d" % NOW),
        with_value("symbol", b'"BTC\x00USDT"'),
        with_value("symbol", b'"BTC\xffUSDT"'),
    ],
    "too_long": [
        b"x" * MAX_LINE,
        b"[" * 100_000,
        b"x" * 3_000_000,
        line()[:-2] + b" " * MAX_LINE + b"}",
    ],
    "symbol": [
        b"{}",
        without("symbol"),
        with_value("symbol", b"null"),
        with_value("symbol", b"17"),
        with_value("symbol", b'["BTCUSDT"]'),
        with_value("symbol", b'""'),
        with_value("symbol", b'"XRPUSDT"'),
        with_value("symbol", b'" BTCUSDT"'),
        with_value("symbol", b'"../../etc/passwd"'),
        with_value("symbol", b'"<script>alert(1)</script>"'),
        with_value("symbol", b'"BTCUSDT\\u0000"'),
        with_value("symbol", b'"\\ud800"'),
        with_value("symbol", b'"' + b"A" * 60_000 + b'"'),
        b'{"symbol":"XRPUSDT","price":"bad","timestamp":-1}',
    ],
    "price": [
        without("price"),
        *(
            with_value("price", text)
            for text in (b"null", b"true", b'"1.5"', b"[1.5]", b"{}", b"0", b"0.0", b"-0.0")
        ),
        *(
            with_value("price", text)
            for text in (b"-1.5", b"-5", b"1e400", b"1e-400", b"1e308", b"1.1e12")
        ),
        with_value("price", b"9" * 400),
    ],
    "timestamp": [
        without("timestamp"),
        *(
            with_value("timestamp", text)
            for text in (b"null", b"true", b'"1795250905682"', b"1795250905682.0", b"1e12", b"[]")
        ),
        *(with_value("timestamp", text) for text in (b"0", b"-0", b"-1", b"1" + b"0" * 20)),
        with_value("timestamp", b"253402300800000"),
    ],
    "ahead": [with_value("timestamp", b"%d" % (NOW + SKEW + 1))],
}


@pytest.mark.parametrize(
    ("reason", "bad"),
    [(reason, bad) for reason, lines in GARBAGE.items() for bad in lines],
    ids=lambda value: value if isinstance(value, str) else repr(value[:40]),
)
def test_a_bad_line_is_rejected_by_reason_and_its_neighbours_count(reason, bad):
    chunk = line(price="1.25") + bad + b"\n" + line("ETHUSDT", "3050.5") + line(price="2.5")
    found = decoder().decode(chunk, NOW)
    assert found.lines == 4
    assert found.rejects == {reason: 1}
    assert found.ticks == {
        "BTCUSDT": Ticks([NOW, NOW], [1.25, 2.5]),
        "ETHUSDT": Ticks([NOW], [3050.5]),
    }


def test_the_reasons_are_a_fixed_small_set():
    assert set(GARBAGE) == set(wire.REASONS)


def test_a_chunk_of_all_garbage_counts_each_line():
    bad = [(reason, one) for reason, lines in GARBAGE.items() for one in lines]
    found = decoder().decode(b"".join(one + b"\n" for _, one in bad), NOW)
    assert found.ticks == {}
    assert found.rejects == {reason: len(lines) for reason, lines in GARBAGE.items()}
    assert found.lines == len(bad)


@pytest.mark.parametrize(
    "good",
    [
        line(),
        line()[:-1] + b"\r\n",
        line("btcusdt"),
        line("BtcUsdt"),
        line().replace(b":", b" : ").replace(b",", b"\t, "),
        b"  " + line()[:-1] + b"  \n",
        b'{"timestamp":%d,"symbol":"BTCUSDT","price":100007.52446808359}\n' % NOW,
        line()[:-2] + b',"volume":1.5,"nested":{"a":[1,{"b":null}]}}\n',
        b'{"symbol":"XRP","symbol":"\\u0042TCUSDT","price":100007.52446808359,"timestamp":%d}\n'
        % NOW,
        line()[:-2] + b',"\xc3\xa9":"\xe2\x82\xac"}\n',
        line(price="1.0000752446808359e5"),
        line(price="10000752446808359e-11"),
    ],
    ids=repr,
)
def test_any_json_object_with_the_three_values_is_accepted(good):
    for chunk in (good, good + good, line() + good):
        found = decoder().decode(chunk, NOW)
        count = chunk.count(b"\n")
        assert found.rejects == {}
        assert found.ticks == {"BTCUSDT": Ticks([NOW] * count, [100007.52446808359] * count)}


@pytest.mark.parametrize("price", ["100000", "1", "3", "123456789012"])
def test_a_whole_number_is_a_price_and_becomes_a_float(price):
    for chunk in (line(price=price), line(price=price).replace(b",", b", ")):
        (value,) = decoder().decode(chunk, NOW).ticks["BTCUSDT"].prices
        assert isinstance(value, float)
        assert value == float(price)


def test_a_timestamp_as_far_ahead_as_clocks_may_differ_is_accepted():
    found = decoder().decode(line(timestamp=NOW + SKEW), NOW)
    assert (found.rejects, found.ahead_ms) == ({}, 0)
    assert found.ticks == {"BTCUSDT": Ticks([NOW + SKEW], [100007.52446808359])}


def test_the_worst_difference_of_clocks_is_told():
    chunk = b"".join(line(timestamp=NOW + ahead) for ahead in (60_001, 90_000, 70_000, 0))
    found = decoder().decode(chunk, NOW)
    assert found.rejects == {"ahead": 3}
    assert found.ahead_ms == 90_000


def test_a_shorter_line_limit_holds_on_every_way():
    short = len(line()) - 1
    for chunk in (line(), line().replace(b",", b", ", 1), line()[:-1] + b"\r\n"):
        assert decoder(max_line=short).decode(chunk, NOW).rejects == {"too_long": 1}
    assert decoder(max_line=short + 1).decode(line(), NOW).rejects == {}


def test_no_line_the_pattern_matches_exceeds_the_limit_it_is_trusted_with():
    longest = line("A" * 32, "9" * 12 + "." + "9" * 24, 999_999_999_999_999)
    assert wire._LINE.fullmatch(longest)
    assert len(longest) <= wire._LONGEST_MATCH
    assert not wire._LINE.fullmatch(line("A" * 33))


def test_what_follows_the_last_newline_is_no_line():
    found = decoder().decode(line() + b'{"symbol":"BTC', NOW)
    assert found.lines == 1
    assert found.ticks == {"BTCUSDT": Ticks([NOW], [100007.52446808359])}
    assert decoder().decode(b"", NOW).lines == 0


def test_a_timestamp_past_the_year_9999_is_refused_whatever_our_clock_says():
    last = wire.MAX_TIMESTAMP_MS
    found = decoder().decode(line(timestamp=last) + line(timestamp=last + 1), last)
    assert found.ticks == {"BTCUSDT": Ticks([last], [100007.52446808359])}
    assert found.rejects == {"timestamp": 1}
