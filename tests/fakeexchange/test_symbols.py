"""What exchanges over HTTP list."""

from fakeexchange import symbols


def test_ten_thousand_assets_are_listed():
    listed = symbols.listed()
    assert len(set(listed)) == 10_000
    assert listed[:3] == ("btcusdt", "ethusdt", "adausdt")


def test_further_columns_blank_lines_and_capitals_are_tolerated(tmp_path):
    path = tmp_path / "symbols.csv"
    path.write_bytes(b"\xef\xbb\xbfsymbol,name\r\nBTCUSDT,Bitcoin\r\n\r\n ethusdt \r\n")
    assert symbols.listed(path) == ("btcusdt", "ethusdt")
