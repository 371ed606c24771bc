"""What a chunk turned out to hold, and how large a price may be."""

from math import isfinite

from hypothesis import given
from hypothesis import strategies as st

from marketflow.domain.tick import MAX_PRICE, Decoded, Ticks, TickText


def test_a_month_of_the_largest_prices_sums_up_to_a_finite_number():
    assert isfinite(MAX_PRICE * 100_000 * 31 * 86_400)


def test_two_decoded_chunks_share_no_columns():
    first, second = Decoded(1), Decoded(1)
    assert first.ticks is not second.ticks
    assert first.rejects is not second.rejects


PRICES = st.floats(min_value=5e-324, max_value=MAX_PRICE)
COLUMNS = st.lists(st.tuples(st.integers(1, 10**15), PRICES), min_size=1)


@given(st.lists(COLUMNS, min_size=1))
def test_text_of_ticks_reads_back_equal_to_the_bit_however_it_is_pieced_together(pieces):
    text = TickText.joined([TickText.of(Ticks(*zip(*piece, strict=True))) for piece in pieces])
    ticks = [tick for piece in pieces for tick in piece]
    assert [int(at) for at in text.timestamps_ms.split(b",")] == [at for at, _ in ticks]
    assert [float(price) for price in text.prices.split(b",")] == [price for _, price in ticks]
    assert text.last == ticks[-1]
