"""What a chunk turned out to hold, and how large a price may be."""

from math import isfinite

from marketflow.domain.tick import MAX_PRICE, Decoded


def test_a_month_of_the_largest_prices_sums_up_to_a_finite_number():
    assert isfinite(MAX_PRICE * 100_000 * 31 * 86_400)


def test_two_decoded_chunks_share_no_columns():
    first, second = Decoded(1), Decoded(1)
    assert first.ticks is not second.ticks
    assert first.rejects is not second.rejects
