"""What holds through every fault, checked against all that the exchanges have sent."""

from collections.abc import Iterable, Mapping

from tests.end_to_end.ledger import INTERVAL_MS, Sent, StoredRow, check_rows, end_of

Streams = Mapping[tuple[str, str], list[tuple[int, float]]]


def check_stored(
    rows: Iterable[StoredRow],
    sent: Iterable[Sent],
    *,
    until_ms: int,
    interval_ms: int = INTERVAL_MS,
) -> None:
    """Check that the minutes which ended by *until_ms* are stored: each once, exactly, no other.

    Lowest and highest are equal to the bit, the average to 1e-9, the counts are the ledger's.
    """
    check_rows(
        [row for row in rows if row.end_ms <= until_ms],
        [tick for tick in sent if end_of(tick.timestamp_ms, interval_ms) <= until_ms],
        interval_ms,
    )


def check_streams(streams: Streams, sent: Iterable[Sent], *, from_ms: int) -> None:
    """Check that a mirror has every tick since *from_ms* once, in the order sent, and no other."""
    expected: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for tick in sent:
        if tick.timestamp_ms >= from_ms:
            pairs = expected.setdefault((tick.exchange, tick.symbol), [])
            pairs.append((tick.timestamp_ms, tick.price))
    for series, ticks in expected.items():
        found = [tick for tick in streams.get(series, []) if tick[0] >= from_ms]
        assert len(found) == len(ticks), (series, len(found), len(ticks))
        assert found == ticks, series
    assert streams.keys() <= {(tick.exchange, tick.symbol) for tick in sent}


def check_conservation(metrics: Mapping[str, float], sent: Mapping[str, int]) -> None:
    """Check that what each exchange sent is all accounted for, as it should be, when all is quiet.

    *sent* holds how many valid ticks went to this process, by exchange.
    """
    for exchange, count in sent.items():
        of_it = {
            name.split("_total{")[0].split("{")[0]: value
            for name, value in metrics.items()
            if name.startswith("ticks_") and f'source="{exchange}"' in name
        }
        assert of_it.pop("ticks_rejected", 0) == 0, exchange
        assert of_it == {
            "ticks_received": count,
            "ticks_aggregated": count,
            "ticks_late": 0,
            "ticks_in_flight": 0,
        }, exchange


def check_silence(said: Iterable[str], secrets: Iterable[str]) -> None:
    """Check that none of *secrets* was said; what was is not repeated here either."""
    secrets = list(secrets)
    told = [number for number, text in enumerate(said) if any(one in text for one in secrets)]
    assert not told, f"a password must be said nowhere, was in the texts {told}"
