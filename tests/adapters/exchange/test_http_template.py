"""URLs with placeholders: what they become, and which are refused."""

import pytest

from marketflow.adapters.exchange.http_template import UrlTemplate
from marketflow.adapters.exchange.quote_names import Names


def target(url, asset="btcusdt", **exceptions):
    return UrlTemplate(url).target(Names(exceptions).of(asset))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mock/ticker/{symbol}", "/mock/ticker/btcusdt"),
        ("/api/v3/ticker/24hr?symbol={SYMBOL}", "/api/v3/ticker/24hr?symbol=BTCUSDT"),
        ("/products/{BASE}-{QUOTE}/ticker", "/products/BTC-USDT/ticker"),
        ("/{base}/{quote}?full={symbol}&x=1", "/btc/usdt?full=btcusdt&x=1"),
    ],
)
def test_placeholders_are_filled_in(path, expected):
    assert target(f"http://exchange.example{path}") == expected


def test_exceptions_are_written_as_they_are_and_give_the_parts():
    assert target("http://h/{symbol}/{SYMBOL}", btcusdt="xBt") == "/xBt/xBt"
    assert target("http://h/{BASE}.{quote}", btcusdt="xbt/USD") == "/XBT.usd"


def test_what_is_filled_in_is_percent_encoded():
    assert target("http://h/{symbol}", btcusdt="A/B ?&#\r\nä") == "/A%2FB%20%3F%26%23%0D%0A%C3%A4"
    assert target("http://h/{symbol}", "../x") == "/..%2Fx"


def test_an_asset_without_two_currencies_has_no_target_that_needs_them():
    assert target("http://h/{BASE}-{QUOTE}", "symbol10000") is None
    assert target("http://h/{symbol}", "symbol10000") == "/symbol10000"


@pytest.mark.parametrize(
    ("url", "place", "address", "header"),
    [
        ("http://h/{symbol}", ("h", 80, False), "h:80", "h"),
        ("https://H.example/{symbol}", ("h.example", 443, True), "h.example:443", "h.example"),
        ("http://127.0.0.1:8081/{symbol}", ("127.0.0.1", 8081, False), "127.0.0.1:8081", None),
        ("http://[::1]:8081/{symbol}", ("::1", 8081, False), "[::1]:8081", None),
        ("https://[::1]/{symbol}", ("::1", 443, True), "[::1]:443", "[::1]"),
    ],
)
def test_the_place_is_host_and_port(url, place, address, header):
    found = UrlTemplate(url).place
    assert (found, found.address, found.header) == (place, address, header or address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "printable"),
        ("http://h/{symbol} x", "printable"),
        ("http://h/{symbol}\r\nX: y", "printable"),
        ("http://hä/{symbol}", "printable"),
        ("ftp://h/{symbol}", "http:// or https://"),
        ("h/{symbol}", "http:// or https://"),
        ("http:///{symbol}", "host"),
        ("http://{symbol}/{symbol}", "host"),
        ("http://h:x/{symbol}", "port"),
        ("http://h:0/{symbol}", "port"),
        ("http://h:70000/{symbol}", "port"),
        ("http://[::1/{symbol}", "host"),
        ("http://me:secret@h/{symbol}", "user or password"),
        ("http://h/ticker", "must hold one of"),
        ("http://h", "path"),
        ("http://h?x={symbol}", "path"),
        ("http://h/{symbol}/{pair}", "was 'pair'"),
        ("http://h/{}", "no braces but"),
        ("http://h/{symbol}}", "no braces but"),
        ("http://h/{symbol", "no braces but"),
        ("http://h/{sym?bol}", "was 'sym\\?bol'"),
        ("http://h/{symbol}#top", "fragment"),
    ],
)
def test_what_cannot_be_asked_is_refused(url, reason):
    with pytest.raises(ValueError, match=reason) as refused:
        UrlTemplate(url)
    assert "secret" not in str(refused.value)
    assert str(refused.value).startswith("url must ")
