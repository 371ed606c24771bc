"""What exchanges call assets: split at a separator or before a known currency."""

import pytest

from marketflow.adapters.exchange.quote_names import Names, split


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("btcusdt", ("btc", "usdt")),
        ("ethbtc", ("eth", "btc")),
        ("btcfdusd", ("btc", "fdusd")),
        ("ethtusd", ("eth", "tusd")),
        ("btcbusd", ("btc", "busd")),
        ("btcusd", ("btc", "usd")),
        ("1inchusdc", ("1inch", "usdc")),
        ("opusdt", ("op", "usdt")),
        ("bnbusd", ("bnb", "usd")),
        ("dotusd", ("dot", "usd")),
        ("usdcusdt", ("usdc", "usdt")),
        ("ADAEUR", ("ADA", "EUR")),
        ("XBT-USD", ("XBT", "USD")),
        ("xbt/usd", ("xbt", "usd")),
        ("btc_jpy", ("btc", "jpy")),
        ("btc:unheard", ("btc", "unheard")),
    ],
)
def test_base_and_quote_are_told_apart(name, parts):
    assert split(name) == parts


@pytest.mark.parametrize("name", ["symbol10000", "usdt", "", "-usd", "btc-", "a-b-c", "x"])
def test_what_has_no_two_currencies_is_not_split(name):
    assert split(name) is None


def test_exceptions_are_found_in_any_case_and_written_as_they_are():
    names = Names({"BtcUsd": "XbtUSD"})
    assert names.of("btcusd") == ("XbtUSD", True, ("Xbt", "USD"))
    assert names.of("ethusd") == ("ethusd", False, ("eth", "usd"))


def test_an_empty_exception_is_refused():
    with pytest.raises(ValueError, match=r"symbols\.btcusd must be the exchange's name for it"):
        Names({"BTCUSD": ""})
