"""Quotes out of the JSON that exchanges answer with, and only out of what holds one."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.adapters.exchange import quote_time
from marketflow.adapters.exchange.quote_fields import QuoteFields, QuoteReader
from marketflow.domain.asset import Quote
from marketflow.domain.errors import NotListed, QuoteFailed

NOW_MS = 1_795_250_905_682
TIMES = [
    (1_795_250_905, 1_795_250_905_000),
    (1_795_250_905.682, 1_795_250_905_682),
    (1_795_250_905_682, 1_795_250_905_682),
    (1_795_250_905_682_999, 1_795_250_905_682),
    (1_795_250_905_682_999_999, 1_795_250_905_682),
    ("1795250905", 1_795_250_905_000),
    ("1795250905.682", 1_795_250_905_682),
    ("1795250905682999999", 1_795_250_905_682),
    ("2026-11-21T12:48:25Z", 1_795_265_305_000),
    ("2026-11-21t12:48:25.6z", 1_795_265_305_600),
    ("2026-11-21 12:48:25.682345678+00:00", 1_795_265_305_682),
    ("2026-11-21T18:18:25+05:30", 1_795_265_305_000),
    ("2026-11-21T07:48:25-05:00", 1_795_265_305_000),
    ("2016-12-31T23:59:60Z", 1_483_228_800_000),
    (1, 1_000),
    (None, NOW_MS),
]


def read(document, *, now_ms=NOW_MS, **fields):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return QuoteReader("exchange1", QuoteFields(**fields)).read(body, now_ms)


def quoted(**changes):
    return {"price": 100.5, "volume": 2, "timestamp": 1_795_250_905} | changes


def test_price_volume_and_time_are_read_where_they_usually_are():
    assert read(quoted()) == Quote("exchange1", 100.5, 2.0, 1_795_250_905_000)


def test_paths_lead_through_objects_arrays_and_the_only_member():
    document = {"result": {"XXBTZUSD": {"c": ["30303.2", "0.1"], "v": ["1.5", "2.5"]}}, "0": [{}]}
    where = {"price": "result.*.c.0", "volume": "result.*.v.1", "timestamp": ""}
    assert read(document, **where) == Quote("exchange1", 30303.2, 2.5, NOW_MS)
    assert read([[{"7": 3}]], price="0.*.7", volume="") == Quote("exchange1", 3.0, None, NOW_MS)


@pytest.mark.parametrize("document", [{"a": {"x": 1, "y": 2}}, {"a": {}}, {"a": []}, {"a": [1, 2]}])
def test_the_only_member_must_be_the_only_one(document):
    with pytest.raises(QuoteFailed, match=r"price must be .*, was absent"):
        read(document, price="a.*")


@pytest.mark.parametrize("path", ["list.2", "list.-1", "list.x", "list.0.x", "none", "none.x", "²"])
def test_a_path_that_leads_nowhere_is_no_price(path):
    with pytest.raises(QuoteFailed, match="was absent"):
        read({"list": [1, 2]}, price=path)


@pytest.mark.parametrize(
    "price",
    [
        *(
            None,
            True,
            False,
            0,
            -1,
            "0",
            "-1",
            "",
            "abc",
            "nan",
            "inf",
            "1_000",
            " 1",
            "0x10",
            "1e999",
        ),
        *([], {}, [1], {"a": 1}, 1e13, "1e13", 10**400, "1" * 65, "\u0661"),
    ],
)
def test_what_is_no_price_is_refused(price):
    with pytest.raises(QuoteFailed, match="price must be a number above 0") as refused:
        read(quoted(price=price))
    assert len(str(refused.value)) < 160


@pytest.mark.parametrize(
    ("price", "expected"), [("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("1e-3", 0.001), (10**12, 1e12)]
)
def test_prices_may_be_written_as_strings(price, expected):
    assert read(quoted(price=price)).price == expected


@pytest.mark.parametrize("volume", [-1, "-0.1", True, "abc", [], {}, "1e999", 10**400])
def test_what_is_no_volume_is_refused(volume):
    with pytest.raises(QuoteFailed, match="volume must be a finite number"):
        read(quoted(volume=volume))


@pytest.mark.parametrize(("volume", "expected"), [(0, 0.0), ("7.5", 7.5), (None, None)])
def test_a_volume_may_be_zero_or_missing(volume, expected):
    assert read(quoted(volume=volume)).volume == expected


def test_a_volume_that_is_not_told_is_not_read():
    assert read(quoted(volume="garbage"), volume="").volume is None


@pytest.mark.parametrize(("timestamp", "expected"), TIMES)
def test_times_are_told_apart_by_magnitude_or_read_as_rfc_3339(timestamp, expected):
    assert read(quoted(timestamp=timestamp), now_ms=NOW_MS + 15_000_000).timestamp_ms == (
        expected if timestamp is not None else NOW_MS + 15_000_000
    )


@pytest.mark.parametrize(
    "timestamp",
    [
        *(
            True,
            "",
            "yesterday",
            [],
            {},
            "2026-11-21",
            "2026-11-21T12:48:25",
            "2026-13-21T12:48:25Z",
        ),
        *(
            "2026-02-30T12:48:25Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T12:48:61Z",
            "1e999",
            1e30,
            -1e308,
        ),
        *("2026-11-21T12:48:25+24:00", "2026-11-21T12:48:25.1234567890Z", 10**400),
    ],
)
def test_what_is_no_time_is_refused(timestamp):
    with pytest.raises(QuoteFailed, match="timestamp must be a number or RFC 3339"):
        read(quoted(timestamp=timestamp))


@pytest.mark.parametrize(
    "timestamp", [0, -1, "-5", 0.0001, -(10**400), -(10**4299), "0001-01-01T00:00:00Z"]
)
def test_a_time_before_the_epoch_is_refused(timestamp):
    with pytest.raises(QuoteFailed, match="timestamp must be above 0"):
        read(quoted(timestamp=timestamp))


def test_a_time_may_be_a_minute_ahead_of_ours_and_no_more():
    assert read(quoted(timestamp=NOW_MS + 60_000)).timestamp_ms == NOW_MS + 60_000
    with pytest.raises(QuoteFailed, match="not ahead of us"):
        read(quoted(timestamp=NOW_MS + 60_001))


@pytest.mark.parametrize(
    "error", ["no such pair", ["EQuery:Unknown asset pair"], {"code": 1}, 1, True]
)
def test_an_error_in_the_answer_means_that_the_asset_is_not_listed(error):
    with pytest.raises(NotListed):
        read({"error": error, "price": 1}, error="error")


@pytest.mark.parametrize("error", ["", [], {}, 0, False, None])
def test_an_empty_error_is_none(error):
    assert read(quoted(error=error), error="error").price == 100.5
    assert read(quoted(), error="error").price == 100.5


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"<html>",
            b"{",
            b"\xff\xfe",
            b"null null",
            b'{"price":NaN}',
            b'{"price":-Infinity}',
        ),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"price":' + b"1" * 5_000 + b"}"),
    ],
)
def test_what_is_no_json_is_refused_in_one_short_sentence(body):
    with pytest.raises(QuoteFailed, match="answer must be JSON") as refused:
        read(body)
    assert len(str(refused.value)) < 160
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("body", [b"null", b"[]", b"5", b'"x"', b"true", b"{}"])
def test_other_json_has_no_price(body):
    with pytest.raises(QuoteFailed, match="was absent"):
        read(body)


def test_hostile_text_is_shown_escaped_and_cut():
    with pytest.raises(QuoteFailed) as refused:
        read(quoted(price="\r\n\x1b[31m\u202e" + "x" * 500))
    assert str(refused.value).isascii()
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 160


def test_a_deeply_nested_price_is_refused():
    with pytest.raises(QuoteFailed):
        read(b'{"price":' + b"[" * 900 + b"]" * 900 + b"}")


def test_a_byte_order_mark_is_no_harm():
    assert read(b"\xef\xbb\xbf" + json.dumps(quoted()).encode()).price == 100.5


@pytest.mark.parametrize("path", [".", "a.", ".a", "a..b"])
def test_a_path_with_an_empty_part_is_refused(path):
    with pytest.raises(ValueError, match="volume must be a dotted path such as"):
        QuoteFields(volume=path)


def test_there_must_be_a_path_to_the_price():
    with pytest.raises(
        ValueError, match=r"price must be a dotted path such as result\.price, was ''"
    ):
        QuoteFields(price="")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "0"]), inner),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["price", "volume", "timestamp", "error"]), JSON))
def test_whatever_json_is_answered_it_is_a_sound_quote_or_none(document):
    refused = None
    try:
        quote = read(document, error="error")
    except (QuoteFailed, NotListed) as error:
        refused = str(error)
    if refused is not None:
        assert len(refused) < 200
        assert refused.isprintable()
    else:
        assert 0 < quote.price <= 1e12
        assert quote.volume is None or 0 <= quote.volume < float("inf")
        assert 0 < quote.timestamp_ms <= NOW_MS + 60_000


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_bytes_are_answered_nothing_else_is_raised(body):
    with pytest.raises((QuoteFailed, NotListed)):
        read(body)


@settings(deadline=None)
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001  the offset is drawn
    st.integers(-1439, 1439),
)
def test_rfc_3339_is_read_as_the_library_reads_it(moment, offset):
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    exact = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert quote_time.from_text(moment.isoformat()) == exact
