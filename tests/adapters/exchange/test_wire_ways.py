"""Three ways of decoding a chunk, one result: what the plain one says line by line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.domain.tick import Ticks
from tests.adapters.exchange.wire_lines import CATALOG, MAX_LINE, NOW, SKEW, decoder, line


def test_usual_lines_take_the_pattern_and_spaced_ones_one_document():
    usual = b"".join(line(symbol) for symbol in CATALOG.symbols * 3) + line()
    assert decoder()._by_pattern(usual, NOW) is not None
    assert decoder()._by_pattern(line("XRPUSDT") + usual, NOW) is not None
    spaced = usual.replace(b",", b", ")
    assert decoder()._by_pattern(spaced, NOW) is None
    assert decoder()._joined(spaced, NOW) is not None


@pytest.mark.parametrize("turn", ["BE", "BED", "B", "BBE", "BbE", "BEX", "XYB", "BEBD"])
def test_prices_stay_with_their_pair_whatever_the_order_of_lines(turn):
    names = {"B": "BTCUSDT", "b": "btcusdt", "E": "ETHUSDT", "D": "DOGEUSDT", "X": "X", "Y": "Y"}
    for order in (turn * 3, turn * 3 + turn[0], turn * 2 + "E", turn * 2 + "BE" * 2):
        lines = [line(names[who], f"{at + 1}.5", NOW + at) for at, who in enumerate(order)]
        found = decoder()._by_pattern(b"".join(lines), NOW)
        for symbol, who in (("BTCUSDT", "Bb"), ("ETHUSDT", "E"), ("DOGEUSDT", "D")):
            places = [at for at, one in enumerate(order) if one in who]
            expected = Ticks([NOW + at for at in places], [at + 1.5 for at in places])
            assert found.ticks.get(symbol, Ticks([], [])) == expected
        strangers = sum(one in "XY" for one in order)
        assert found.rejects == ({"symbol": strangers} if strangers else {})


@pytest.mark.parametrize(
    ("order", "turns"),
    [
        ("B", ["B"]),
        ("BE", ["BE"]),
        ("BED" * 3, ["BED"] * 3),
        ("BEDBE", ["BED", "BE"]),
        ("XBE", ["BE"]),
        ("BXE" * 2 + "BX", ["BE", "BE", "B"]),
        ("X", []),
        ("XYX", []),
        ("BED" * 4, []),
        ("BbE", []),
        ("BEBD", []),
    ],
)
def test_a_few_ticks_of_each_pair_stay_together_as_turns(order, turns):
    names = {"B": "BTCUSDT", "b": "btcusdt", "E": "ETHUSDT", "D": "DOGEUSDT", "X": "X", "Y": "Y"}
    lines = [line(names[who], f"{at}.50", NOW - 9 + at) for at, who in enumerate(order, 1)]
    one = decoder(kind=WireDecoder)
    for _ in range(2):  # the second time it knows the names
        found = one.decode(b"".join(lines), NOW)
        assert [turn.symbols for turn in found.turns] == [
            tuple(names[who] for who in turn) for turn in turns
        ]
        assert found.by_pair() == one._line_by_line(b"".join(lines), NOW)
    assert not (found.turns and found.ticks)
    known = [at for at, who in enumerate(order, 1) if who not in "XY"]
    columns = zip(*(turn[1:] for turn in found.turns), strict=True)
    assert [[value for some in column for value in some] for column in columns] == [
        *([NOW - 9 + at for at in known], [at + 0.5 for at in known]),
        *([b"%d" % (NOW - 9 + at) for at in known], [b"%d.50" % at for at in known]),
    ][: 4 if turns else 0]


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"a":[1', b"2]},{}"],
        [b'{"a":"}', b'{"},5}', b'{"b":1}'],
        [b'{"a":"}', b'{"}', b'{"symbol":"BTCUSDT","price":1.5,"timestamp":1}'],
        [b'{"a":"}', b'{"},"}', b'{"}'],
        [b'{"a":["}', b'{"]},{"b":1}', b"{}"],
        [b"{}],[{}", b"{}"],
        [b'{"symbol":"BTCUSDT","price":1.5}', b'{"timestamp":1}'],
        [b'{"a":"\\}', b'{"}', b"{}"],
    ],
)
def test_lines_that_only_together_are_json_are_refused(lines):
    chunk = b"".join(one + b"\n" for one in lines)
    found = decoder().decode(chunk, NOW)
    assert found == decoder()._line_by_line(chunk, NOW)
    assert found.lines == sum(found.rejects.values()) + sum(
        len(ticks.prices) for ticks in found.ticks.values()
    )


NAMES = st.sampled_from(["BTCUSDT", "BTCUSDT", "btcusdt", "DOGEUSDT", "ETHUSDT", "XRPUSDT", "X"])
PRICES = st.one_of(
    st.floats(min_value=1e-9, max_value=1e12).map(repr),
    st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,26})?", fullmatch=True),
    st.sampled_from(
        ["0", "0.0", "-1.5", "1e400", "1e12", "1e13", "NaN", "true", '"1"', "01.5", "1" + "0" * 400]
    ),
)
TIMES = st.one_of(
    st.integers(NOW - 1000, NOW + 1000),
    st.sampled_from([0, 1, -1, NOW + SKEW, NOW + SKEW + 1, 253_402_300_800_000, 10**18]),
)
USUAL = st.builds(line, NAMES, PRICES, TIMES)
GOOD = st.builds(
    line,
    st.sampled_from([*CATALOG.symbols, "btcusdt", "XRPUSDT"]),
    st.floats(min_value=0.001, max_value=1e6).map("{:.9f}".format),
    st.integers(NOW - 1000, NOW + 1000),
)
SHAPES = st.sampled_from(
    [
        lambda one: one,
        lambda one: one.replace(b":", b": "),
        lambda one: one[:-2] + b',"v":1}\n',
        lambda one: one[:-2] + b',"v":{}}\n',
        lambda one: one[:-2] + b',"v":"{"}\n',
        lambda one: one[:-1] + b"\r\n",
        lambda one: one[:-1],
        lambda one: one[:-1] + b" " * 60 + b"\n",
    ]
)
TOKENS = st.sampled_from([b'"', b",", b"[", b"]", b":", b"1", b"}", b'"a":', b"\\", b'"symbol":"'])
TRICKS = st.lists(TOKENS, max_size=6).map(lambda tokens: b"{" + b"".join(tokens) + b"}\n")


@st.composite
def mutated(draw):
    one = bytearray(draw(USUAL))
    at = draw(st.integers(0, len(one) - 1))
    one[at : at + draw(st.integers(0, 2))] = draw(
        st.sampled_from([b"", b"{", b"}", b'"', b"\\", b"\n", b"0", b",", b"\xff", b"\x00", b" "])
    )
    return bytes(one)


SHAPED = st.builds(lambda shape, one: shape(one), SHAPES, USUAL)
LINES = st.one_of(USUAL, GOOD, SHAPED, mutated(), TRICKS, st.binary(max_size=20))
CHUNKS = st.one_of(
    st.lists(GOOD),
    st.lists(USUAL),
    st.lists(TRICKS),
    st.lists(LINES),
    st.builds(
        lambda turn, times, rest: turn * times + rest,
        st.lists(GOOD, max_size=4),
        st.integers(1, 4),
        st.lists(GOOD, max_size=2),
    ),
).map(b"".join)


@given(CHUNKS, st.sampled_from([MAX_LINE, 130, 100]))
def test_the_three_ways_of_decoding_agree(chunk, max_line):
    one = decoder(max_line)
    plain = one._line_by_line(chunk, NOW)
    assert one.decode(chunk, NOW) == plain
    assert one._by_pattern(chunk, NOW) in (None, plain)
    assert one._joined(chunk, NOW) in (None, plain)


@given(CHUNKS)
def test_text_that_is_passed_on_is_json_and_holds_the_very_ticks(chunk):
    found = decoder().decode(chunk, NOW)
    assert set(found.texts) in (set(), set(found.ticks))
    for symbol, text in found.texts.items():
        ticks = found.ticks[symbol]
        assert json.loads(b"[%b]" % text.timestamps_ms) == ticks.timestamps_ms
        prices = json.loads(b"[%b]" % text.prices)
        assert [float(price) for price in prices] == ticks.prices
        assert text.last == (ticks.timestamps_ms[-1], ticks.prices[-1])


@pytest.mark.parametrize("price", ["5.00", "5", "0.10", "999999999999.25", "0.1" + "0" * 23])
def test_plain_numbers_are_passed_on_as_they_were_written(price):
    found = decoder().decode(line(price=price) + line("ETHUSDT", "1.5") + line(price="7"), NOW)
    assert found.texts["BTCUSDT"].prices == f"{price},7".encode()
    assert found.texts["BTCUSDT"].timestamps_ms == f"{NOW},{NOW}".encode()


@pytest.mark.parametrize("price", ["1E5", "1e5", "+5", "5.", ".5", "05", "1_0", "NaN", "Infinity"])
def test_text_of_any_other_form_is_not_passed_on(price):
    chunk = line() + line(price=price)
    assert decoder()._by_pattern(chunk, NOW) is None
    assert decoder().decode(chunk, NOW).texts == {}


@pytest.mark.parametrize("price", ["0", "0.0", "0.000", "1000000000001", "9" * 12 + ".99999999"])
def test_prices_at_the_bounds_are_judged_as_ever(price):
    chunk = line() + line("ETHUSDT", price)
    assert decoder().decode(chunk, NOW) == decoder()._line_by_line(chunk, NOW)


@given(CHUNKS)
def test_every_line_is_either_accepted_or_rejected(chunk):
    found = decoder().decode(chunk, NOW)
    accepted = sum(len(ticks.prices) for ticks in found.ticks.values())
    assert found.lines == chunk.count(b"\n") == accepted + sum(found.rejects.values())
    for timestamps, prices in found.ticks.values():
        assert len(timestamps) == len(prices) > 0
        assert all(type(price) is float and 0 < price < float("inf") for price in prices)
        assert all(type(at) is int and 0 < at <= NOW + SKEW for at in timestamps)


@given(st.lists(LINES))
def test_no_line_changes_what_becomes_of_its_neighbours(lines):
    lines = [one + b"\n" for chunk in lines for one in chunk.split(b"\n")]
    together = decoder().decode(b"".join(lines), NOW)
    alone = [decoder().decode(one, NOW) for one in lines]
    for symbol in CATALOG.symbols:
        prices = [
            price for one in alone if symbol in one.ticks for price in one.ticks[symbol].prices
        ]
        assert prices == (together.ticks[symbol].prices if symbol in together.ticks else [])
    assert sum(sum(one.rejects.values()) for one in alone) == sum(together.rejects.values())


@given(st.lists(st.floats(min_value=5e-324, max_value=1e12), min_size=1))
def test_prices_are_bit_equal_to_their_text(prices):
    chunk = b"".join(line(price=repr(price)) for price in prices)
    assert decoder().decode(chunk, NOW).ticks["BTCUSDT"].prices == prices
