"""Names are matched without regard to case and answered in their canonical form."""

import pytest

from marketflow.domain.catalog import Catalog
from marketflow.domain.errors import UnknownExchange, UnknownSymbol

CATALOG = Catalog(["BTCUSDT", "ethusdt", "BtcUsdt"], ["exchange1", "Börse", "exchange1"])


@pytest.mark.parametrize("name", ["BTCUSDT", "btcusdt", "BtcUsdt"])
def test_a_pair_is_found_in_any_case_and_called_in_upper_case(name):
    assert CATALOG.symbol(name) == "BTCUSDT"


@pytest.mark.parametrize("name", ["Börse", "BÖRSE", "börse"])
def test_an_exchange_is_found_in_any_case_and_called_as_configured(name):
    assert CATALOG.exchange(name) == "Börse"


def test_names_that_differ_in_case_alone_are_one_and_keep_their_order():
    assert CATALOG.symbols == ("BTCUSDT", "ETHUSDT")
    assert CATALOG.exchanges == ("exchange1", "Börse")


def test_an_unknown_name_is_told_together_with_the_known_ones():
    with pytest.raises(UnknownSymbol, match="unknown symbol 'X', known are BTCUSDT, ETHUSDT") as no:
        CATALOG.symbol("X")
    assert (no.value.name, no.value.known) == ("X", CATALOG.symbols)
    with pytest.raises(UnknownExchange, match="unknown exchange '', known are exchange1, Börse"):
        CATALOG.exchange("")
