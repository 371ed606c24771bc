"""Whatever an exchange may send: that line is refused and counted, its neighbours count."""

import re
from collections import Counter

import pytest

from tests.end_to_end.feeder import now_ms
from tests.end_to_end.harness import config_of, until
from tests.end_to_end.ledger import check_rows

pytestmark = pytest.mark.slow

TICK = '{"symbol":"BTCUSDT","price":%s,"timestamp":%s}'


PRICES = {
    "a price that is not a number": "NaN",
    "a price that is infinite": "Infinity",
    "a price that is negative infinity": "-Infinity",
    "a price that overflows": "1e400",
    "a price that is true": "true",
    "a price that is null": "null",
    "a price in quotes": '"1.5"',
    "a price in a list": "[1.5]",
    "a price of zero": "0",
    "a price of minus zero": "-0.0",
    "a negative price": "-1.5",
    "a price that underflows": "1e-400",
    "a price of 5,000 digits": "9" * 5000,
    "a price with leading zeros": "007",
    "a price in hexadecimal": "0x10",
}


def garbage() -> dict[str, bytes]:
    """Return every kind of bad line by its name."""
    now = now_ms()
    prices = {name: (TICK % (price, now)).encode() for name, price in PRICES.items()}
    times = {name: (TICK % (1.5, time)).encode() for name, time in bad_times(now).items()}
    return bad_lines(now) | prices | times


def bad_times(now: int) -> dict[str, str]:
    return {
        "no time": "null",
        "time zero": "0",
        "a negative time": "-1",
        "a time in quotes": f'"{now}"',
        "a time with a fraction": f"{now}.5",
        "a time that is true": "true",
        "a time of 5,000 digits": "9" * 5000,
        "a time ahead of us": str(now + 120_000),
        "a time in microseconds": str(now * 1000),
    }


def bad_lines(now: int) -> dict[str, bytes]:
    return {
        "text": b"hello",
        "bytes": bytes(set(range(256)) - {10}),
        "NUL": b"\0" * 10,
        "NUL in a tick": (TICK % (1.5, now)).replace("BTC", "B\0C").encode(),
        "a byte order mark": b"\xef\xbb\xbf" + (TICK % (1.5, now)).encode(),
        "bad UTF-8": (TICK % (1.5, now)).encode().replace(b"BTC", b"B\xff\xc0"),
        "UTF-16": (TICK % (1.5, now)).encode("utf-16-le").replace(b"\n", b""),
        "null": b"null",
        "an array": b"[]",
        "an array of ticks": f"[{TICK % (1.5, now)}]".encode(),
        "a number": b"1",
        "a string": b'"BTCUSDT"',
        "an empty object": b"{}",
        "half a tick": b'{"symbol":"BTCUSDT","price":1',
        "two ticks": f"{TICK % (1.5, now)}{TICK % (1.5, now)}".encode(),
        "two ticks with a comma": f"{TICK % (1.5, now)},{TICK % (1.5, now)}".encode(),
        "brackets": b"[" * 60_000,
        "objects in objects": b'{"a":' * 12_000,
        "too many brackets": b"[" * 100_000,
        "three megabytes": b"x" * 3_000_000,
        "an unknown symbol": (TICK % (1.5, now)).replace("BTC", "XYZ").encode(),
        "a hostile symbol": (TICK % (1.5, now)).replace("BTCUSDT", "<script>\\n%s'").encode(),
        "a symbol that is a number": (TICK % (1.5, now)).replace('"BTCUSDT"', "1").encode(),
        "no symbol": b'{"price":1.5,"timestamp":%d}' % now,
        "no price": b'{"symbol":"BTCUSDT","timestamp":%d}' % now,
    }


def test_each_bad_line_is_counted_and_its_neighbours_are_too(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    for bad, (name, line) in enumerate(garbage().items(), 1):
        assert feeder.send(feeder.burst())
        assert feeder.send_raw(line + b"\n")
        assert feeder.send(feeder.burst())
        service.wait_for_ticks(len(feeder.ledger))
        feeds = service.health()["feeds"][feeder.name]
        assert feeds["rejected"] == bad, name
    assert service.total("ticks_rejected_total", source=feeder.name) == bad
    assert service.total("ticks_aggregated_total") == len(feeder.ledger)
    assert service.total("ticks_received_total") == len(feeder.ledger) + bad
    assert len(feeder.accepted) == 1
    assert not service.tracebacks()
    highest = service.json("/prices/highest/BTCUSDT")
    assert highest["price"] < 200_000
    service.terminate()
    check_rows(service.rows(), feeder.ledger)


def test_neighbours_in_the_same_chunk_count(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    now, bad = now_ms(), [line for line in garbage().values() if len(line) < 2_000]
    good = (TICK % (1.5, now)).encode()
    feeder.send_raw(b"".join(good + b"\n" + line + b"\n" + good + b"\n" for line in bad))
    service.wait_for_ticks(2 * len(bad))
    until(lambda: service.total("ticks_rejected_total") == len(bad), 5, "every rejection")
    assert service.total("ticks_aggregated_total") == 2 * len(bad)


def test_other_spellings_of_a_tick_are_ticks(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    now = now_ms()
    spellings = [
        '{ "symbol" : "BTCUSDT", "price" : 101, "timestamp" : %d }',
        '{"timestamp":%d,"price":1.02e2,"symbol":"btcusdt"}',
        '{"symbol":"BTCUSDT","price":103.0,"volume":{"a":[1]},"timestamp":%d}\r',
        '{"symbol":"\\u0042TCUSDT","price":104.5,"timestamp":%d}',
    ]
    for spelling in spellings:
        feeder.send_raw((spelling % now + "\n").encode())
    service.wait_for_ticks(len(spellings))
    answer = service.json("/prices/average/BTCUSDT")
    assert answer["price"] == pytest.approx((101 + 102 + 103 + 104.5) / 4)
    assert service.total("ticks_rejected_total") == 0


def test_late_ticks_are_counted_and_dropped(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    feeder.send([("BTCUSDT", 9.5, now_ms() - 60_000), ("BTCUSDT", 1.5, now_ms())])
    service.wait_for_ticks(1)
    until(lambda: service.total("ticks_late_total") == 1, 5, "late tick")
    assert service.json("/prices/highest/BTCUSDT?period=5m")["price"] == 1.5
    assert service.total("ticks_in_flight") == 0


def test_a_flood_of_garbage_grows_neither_memory_nor_log(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    kinds = (b"hello\n", b'{"symbol":"XYZ","price":1,"timestamp":1}\n', b"x" * 70_000 + b"\n")
    expected = 0

    def flood() -> None:
        nonlocal expected
        for _ in range(40):
            feeder.send_raw(b"".join(kind * 100 for kind in kinds[:2]) + kinds[2])
        expected += 40 * 201
        until(lambda: service.total("ticks_rejected_total") == expected, 20, "all rejected")

    flood()
    before = service.rss_mb()
    for _ in range(6):
        flood()
    assert service.rss_mb() - before < 8
    service.terminate()
    told = Counter(
        (match["second"], match["reason"])
        for line in service.log
        if (match := re.search(r"time=(?P<second>\S+)\.\d+Z .*reason=(?P<reason>\S+)", line))
    )
    assert told
    assert max(told.values()) <= 2  # one a second, which may fall twice into one of the clock's
    assert len(service.log) < 60
