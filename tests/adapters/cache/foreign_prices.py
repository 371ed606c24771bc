"""What another program may have written where a price should be: one right value, many wrong."""

import json

NOON_MS = 1_746_446_400_000
QUOTE = {
    "exchange": "exchange1",
    "price": 1.25,
    "volume": 7.5,
    "timestamp_ms": NOON_MS,
    "used": True,
}
VALUE = {
    "asset": "btcusdt",
    "price": 1.25,
    "last_updated": NOON_MS // 1000,
    "timestamp_ms": NOON_MS,
    "updated_ms": NOON_MS,
    "sources": [QUOTE],
}


def without(value, key):
    return {name: entry for name, entry in value.items() if name != key}


FOREIGN = [
    b"",
    b"79450.12",
    b"null",
    b"[]",
    b'"btcusdt"',
    b"{}",
    b"{" * 3,
    b"[" * 100_000,
    b"\xff\xfe\x00nonsense",
    b'{"asset":"btcusdt","price":79450.12,"last_updated":1696118400}',
    *(json.dumps(without(VALUE, key)).encode() for key in VALUE if key != "last_updated"),
    *(json.dumps(VALUE | {"sources": [without(QUOTE, key)]}).encode() for key in QUOTE),
    json.dumps(VALUE | {"asset": "BTCUSDT"}).encode(),
    json.dumps(VALUE | {"asset": "ethusdt"}).encode(),
]
NO_PRICES = ["NaN", "Infinity", "-1.5", "0", "true", "null", '"1.5"', "1e400", "1" + "0" * 400]
NO_PRICES += ["1" * 5_000, "[]"]
NO_MOMENTS = ["-1", "1.5", "NaN", "null", "true", '"5"', str(10**15), "1" + "0" * 400]
FOREIGN += [
    json.dumps(place).replace('"here"', text).encode()
    for texts, places in (
        (NO_PRICES, (VALUE | {"price": "here"}, VALUE | {"sources": [QUOTE | {"price": "here"}]})),
        (
            [text for text in NO_PRICES if text not in ("0", "null")],
            (VALUE | {"sources": [QUOTE | {"volume": "here"}]},),
        ),
        (
            NO_MOMENTS,
            (
                VALUE | {"timestamp_ms": "here"},
                VALUE | {"updated_ms": "here"},
                VALUE | {"sources": [QUOTE | {"timestamp_ms": "here"}]},
            ),
        ),
        (
            ["7", "null", '""', '"a b"', '"\\""', '"<b>"', json.dumps("é"), json.dumps("x" * 65)],
            (VALUE | {"sources": [QUOTE | {"exchange": "here"}]},),
        ),
        (["1", "null"], (VALUE | {"sources": [QUOTE | {"used": "here"}]},)),
        (["7", "null", "[7]", '"x"', "[[]]"], (VALUE | {"sources": "here"},)),
    )
    for place in places
    for text in texts
]
