"""The list of assets: read leniently, refused exactly."""

import re
from pathlib import Path

import pytest

from fakeexchange import symbols
from marketflow.adapters.storage import symbols_csv
from marketflow.adapters.storage.symbols_csv import read_symbols

SHIPPED = Path(__file__).parents[3] / "symbols.csv"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "symbols.csv"


def read(path, data):
    path.write_bytes(data)
    return read_symbols(path)


def refusal(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(str(path))) as refused:
        read_symbols(path)
    return str(refused.value).removeprefix(f"{path} ")


def test_the_shipped_file_lists_ten_thousand_assets():
    names = read_symbols(SHIPPED)
    assert len(names) == 10_000
    assert names[:3] == ("btcusdt", "ethusdt", "adausdt")
    assert names[-1] == "symbol10000"
    assert all(name == f"symbol{number}" for number, name in enumerate(names[600:], start=601))
    assert SHIPPED.read_bytes() == b"symbol\n" + "\n".join(names).encode() + b"\n"


def test_the_fake_exchanges_list_what_the_service_asks_for():
    assert symbols.listed() == read_symbols(SHIPPED)


def test_names_come_in_order_and_in_lower_case(path):
    assert read(path, b"symbol\nBTCUSDT\nethusdt\n1inch\n") == ("btcusdt", "ethusdt", "1inch")


@pytest.mark.parametrize(
    "data",
    [
        b"btcusdt\nethusdt",
        b"symbol\r\nbtcusdt\r\nethusdt\r\n",
        b"symbol\rbtcusdt\rethusdt\r",
        b"\xef\xbb\xbfsymbol\nbtcusdt\nethusdt\n",
        b"\xef\xbb\xbfbtcusdt\nethusdt\n",
        b"\n\n Symbol \n\n  btcusdt\t\n\n\nethusdt  \n\n",
        b'SYMBOL,name\nbtcusdt,Bitcoin\nethusdt ,"Ether, the coin",\xff\n',
    ],
)
def test_header_blank_lines_spaces_bom_line_ends_and_columns_are_tolerated(path, data):
    assert read(path, data) == ("btcusdt", "ethusdt")


def test_symbol_is_a_header_on_the_first_line_alone(path):
    assert read(path, b"btcusdt\nsymbol\n") == ("btcusdt", "symbol")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"btc-usdt", "'btc-usdt'"),
        (b",Bitcoin", "''"),
        (b'"btcusdt"', "'\"btcusdt\"'"),
        ("\u017fun".encode(), "'\u017fun'"),  # its upper case is an ASCII S
        ("\u212aas".encode(), "'\u212aas'"),  # its lower case is an ASCII k
        (b"\xff", "'\ufffd'"),
        (b"\0", r"'\x00'"),
        (b"a" * 33, "'aaaaaaaaaaaa...aaaaaaaaaaaaa'"),
    ],
)
def test_what_is_no_name_is_shown_with_its_line(path, name, shown):
    said = refusal(path, b"symbol\n\nbtcusdt\n" + name + b"\nethusdt\n")
    assert said == f"line 4 must be 1 to 32 letters and digits, was {shown}"


def test_a_name_of_32_characters_is_one(path):
    assert read(path, b"a" * 32) == ("a" * 32,)


def test_a_duplicate_names_both_lines(path):
    said = refusal(path, b"symbol\nbtcusdt\nethusdt\nBTCusdt\n")
    assert said == "line 4 must be another symbol than line 2, was 'BTCusdt'"


@pytest.mark.parametrize("word", ["latest", "highest", "lowest", "Average", "stats"])
def test_words_that_are_routes_are_refused(path, word):
    assert refusal(path, b"symbol\nbtcusdt\n" + word.encode()) == (
        "line 3 must be none of the reserved words latest, highest, lowest, average, stats, "
        f"was '{word}'"
    )


@pytest.mark.parametrize("data", [b"", b"symbol\n", b"\n \n\r\n", b"\xef\xbb\xbf"])
def test_a_file_without_names_is_refused(path, data):
    assert refusal(path, data) == "must list at least one symbol, was without any"


def test_a_million_lines_are_read_and_one_more_is_refused(path, monkeypatch):
    monkeypatch.setattr(symbols_csv, "MAX_LINES", 3)
    assert read(path, b"a\nb\nc\n") == ("a", "b", "c")
    assert read(path, b"a\nb\nc") == ("a", "b", "c")
    assert refusal(path, b"a\nb\nc\n\n") == "must be at most 3 lines, was 4"


def test_a_file_of_any_size_is_refused_without_reading_it_all():
    with pytest.raises(ValueError, match="/dev/zero must be at most 64,000,000 characters"):
        read_symbols(Path("/dev/zero"))


def test_a_file_that_cannot_be_read_is_named_with_the_reason(path):
    with pytest.raises(ValueError, match=f"{path} cannot be read: No such file or directory"):
        read_symbols(path)
    with pytest.raises(ValueError, match=f"{path.parent} cannot be read: Is a directory"):
        read_symbols(path.parent)
