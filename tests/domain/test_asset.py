"""The known assets and their tiers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.domain.asset import AssetCatalog, Tier
from marketflow.domain.errors import UnknownAsset

TIERS = (Tier("hot", 2, 5_000), Tier("medium", 3, 30_000), Tier("cold", None, 180_000))


def catalog_of(count, tiers=TIERS):
    return AssetCatalog([f"asset{n}" for n in range(count)], tiers)


def test_assets_are_known_in_whatever_case_and_told_in_lower_case():
    catalog = AssetCatalog(["BtcUsdt", "ethusdt"], TIERS)
    assert catalog.asset("BTCUSDT") == catalog.asset("btcusdt") == "btcusdt"
    assert catalog.names == ("btcusdt", "ethusdt")


@pytest.mark.parametrize("name", ["", "asset9x", "../asset1", "asset1 ", "asset\u0661"])
def test_other_names_are_refused_in_the_words_of_the_contract(name):
    with pytest.raises(UnknownAsset, match=r"^Invalid asset symbol$"):
        catalog_of(10).asset(name)


def test_an_asset_listed_twice_is_one_asset_at_its_first_place():
    catalog = AssetCatalog(["a", "b", "A", "c"], [Tier("hot", 2, 1), Tier("cold", None, 2)])
    assert catalog.names == ("a", "b", "c")
    assert [catalog.tier(name).name for name in catalog.names] == ["hot", "hot", "cold"]


def test_a_letter_that_is_none_of_ours_is_not_matched_by_its_small_form():
    catalog = AssetCatalog(["linkusdt"], [Tier("hot", None, 1)])
    with pytest.raises(UnknownAsset):
        catalog.asset("lin\N{KELVIN SIGN}usdt")


def test_tiers_take_the_assets_in_order_and_the_last_one_the_rest():
    catalog = catalog_of(10)
    tiers = [catalog.tier(name).name for name in catalog.names]
    assert tiers == ["hot"] * 2 + ["medium"] * 3 + ["cold"] * 5


@given(
    st.integers(0, 40),
    st.lists(st.integers(0, 15), max_size=4),
)
def test_every_asset_is_in_exactly_one_tier(count, sizes):
    tiers = [Tier(f"tier{n}", size, 1_000 + n) for n, size in enumerate(sizes)]
    catalog = catalog_of(count, [*tiers, Tier("rest", None, 9_000)])
    expected = [tier.name for tier in tiers for _ in range(tier.count)][:count]
    expected += ["rest"] * (count - len(expected))
    assert [catalog.tier(catalog.asset(name)).name for name in catalog.names] == expected
