"""The exchanges' wire format: newline-delimited JSON, cut into whole lines and decoded."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import compress, cycle
from typing import Any, Final

from marketflow.domain.catalog import Catalog
from marketflow.domain.errors import UnknownSymbol
from marketflow.domain.tick import MAX_PRICE, Decoded, Ticks, TickText, Turn

TOO_LONG: Final = "too_long"  # as long as a line may get, or longer
JSON: Final = "json"  # not one JSON object in UTF-8
SYMBOL: Final = "symbol"  # absent, not a string, or not in the catalog
PRICE: Final = "price"  # absent, no number, or not finite and above 0
TIMESTAMP: Final = "timestamp"  # absent, no whole number, or outside the years 1970 to 9999
AHEAD: Final = "ahead"  # further ahead of our clock than clocks may differ
REASONS: Final = (TOO_LONG, JSON, SYMBOL, PRICE, TIMESTAMP, AHEAD)

CHUNK_BYTES: Final = 65_536  # what a source reads at once
MAX_TIMESTAMP_MS: Final = 253_402_300_799_999  # the last millisecond of the year 9999

# Possessive quantifiers: nothing here can match less, and not keeping a way back halves the time.
# None around the group: CPython 3.11.2 would then take "5." for a number.
_LINE = re.compile(
    rb'\{"symbol":"([0-9A-Za-z_./-]{1,32}+)"'
    rb',"price":((?:0|[1-9][0-9]{0,11}+)(?:\.[0-9]{1,24}+)?)'  # at most `MAX_PRICE`
    rb',"timestamp":([1-9][0-9]{0,14}+)\}\n'
)
_LONGEST_MATCH = 128
_ORDERS_KEPT = 16
_FEW_TURNS = 3  # of more ticks of each pair it takes less time to go by pair

_Columns = tuple[list[Any], ...]  # timestamps and prices of a chunk's lines, then their texts

_new = tuple.__new__  # a named tuple's own constructor takes twice as long, or five times


class LineCutter:
    """Cuts one connection's bytes into whole lines; holds at most *max_line* bytes.

    A line that reaches *max_line* bytes without an end is handed out cut to that length, for the
    decoder to count, and the rest of it is dropped up to the next newline.
    """

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._rest = b""
        self._dropping = False

    def cut(self, data: bytes) -> bytes:
        """Return the lines that *data* completes, each with its newline; may be none."""
        if self._dropping:
            start = data.find(b"\n") + 1
            if not start:
                return b""
            self._dropping = False
            data = data[start:]
        end = data.rfind(b"\n") + 1
        if end == len(data) and not self._rest:
            return data
        if end:
            lines, self._rest = self._rest + data[:end], data[end:]
        else:
            lines, self._rest = b"", self._rest + data
        if len(self._rest) >= self._max_line:
            lines += self._rest[: self._max_line] + b"\n"
            self._rest = b""
            self._dropping = True
        return lines

    def end(self) -> bytes:
        """Return what is left as a line of its own; nothing if the last one was whole."""
        return self._rest and self._rest + b"\n"


class WireDecoder:
    """Turns chunks of lines into ticks; never raises for anything an exchange may send.

    Three ways with the same result: a pattern over the whole chunk when each line has the usual
    form, else one JSON document of all lines, else line by line. Shared by threads: nothing of it
    changes but what it remembers of names.
    """

    def __init__(self, catalog: Catalog, *, max_clock_skew_ms: int, max_line: int) -> None:
        self._catalog = catalog
        # an exchange names its pairs in the same order again and again: .02 us a tick, not .2
        self._symbols_of = lru_cache(_ORDERS_KEPT)(self._symbols_named)
        self._skew_ms = max_clock_skew_ms
        self._max_line = max_line

    def decode(self, chunk: bytes, received_ms: int) -> Decoded:
        """Decode the newline-terminated lines of *chunk*; what follows the last is ignored."""
        decoded = self._by_pattern(chunk, received_ms)
        if decoded is None:
            decoded = self._joined(chunk, received_ms)
        if decoded is None:
            decoded = self._line_by_line(chunk, received_ms)
        return decoded

    def _by_pattern(self, chunk: bytes, received_ms: int) -> Decoded | None:
        # CPU per tick, 64 KiB of bursts: .43 us (split and columns .22, where findall, zip and
        # counting take .32; float .15); all lines as one document 1.0, one by one 1.8.
        # It admits no number that JSON would not, so their text may be passed on as it is.
        parts = _LINE.split(chunk)
        # between the matches there is nothing: so every byte is in one
        if len(parts) == 1 or any(parts[::4]) or self._max_line < _LONGEST_MATCH:
            return None
        names, price_texts, time_texts = parts[1::4], parts[2::4], parts[3::4]
        prices = list(map(float, price_texts))
        times = {text: int(text) for text in set(time_texts)}
        if len(times) == 1:  # a burst: one text will do
            time_texts, timestamps = list(times) * len(names), list(times.values()) * len(names)
        else:
            timestamps = list(map(times.__getitem__, time_texts))
        newest_ms = max(times.values())
        if (
            not all(prices)  # none is negative
            or newest_ms > MAX_TIMESTAMP_MS
            or newest_ms - received_ms > self._skew_ms
        ):
            return None
        return self._group(names, (timestamps, prices, time_texts, price_texts))

    def _group(self, names: list[bytes], columns: _Columns) -> Decoded:
        # exchanges send their pairs in turn: then each pair's column is every n-th value
        turn = _turn(names)
        step, lines = len(turn), len(names)
        symbols = self._symbols_of(b",".join(turn))  # no name has a comma
        if symbols is None or names[step:] != names[:-step]:
            return self._gather(names, columns)
        decoded = Decoded(lines)
        known = tuple(symbol for symbol in symbols if symbol is not None)
        if len(known) < step:
            chosen = [symbol is not None for symbol in symbols]
            columns = tuple(list(compress(column, cycle(chosen))) for column in columns)
            decoded.rejects[SYMBOL] = lines - len(columns[0])
        step, lines = len(known), len(columns[0])
        if lines <= _FEW_TURNS * step:
            decoded.turns.extend(_turns(known, columns))
            return decoded
        timestamps, prices, time_texts, price_texts = columns
        for i, symbol in enumerate(known):
            decoded.ticks[symbol] = _new(Ticks, (timestamps[i::step], prices[i::step]))
            decoded.texts[symbol] = _joined_text(time_texts[i::step], price_texts[i::step])
        return decoded

    def _symbols_named(self, names: bytes) -> tuple[str | None, ...] | None:
        # of names with commas between; None if a pair is named twice
        symbols = tuple(self._symbol(name) for name in names.decode().split(","))
        known = [symbol for symbol in symbols if symbol is not None]
        return symbols if len(set(known)) == len(known) else None

    def _gather(self, names: list[bytes], columns: _Columns) -> Decoded:
        known = {name: self._symbol(name.decode()) for name in set(names)}
        places: dict[str | None, list[int]] = {}
        for i, name in enumerate(names):
            places.setdefault(known[name], []).append(i)
        decoded = Decoded(len(names))
        if None in places:
            decoded.rejects[SYMBOL] = len(places.pop(None))
        timestamps, prices, time_texts, price_texts = columns
        for symbol, some in places.items():
            assert symbol is not None
            decoded.ticks[symbol] = Ticks([timestamps[i] for i in some], [prices[i] for i in some])
            decoded.texts[symbol] = _joined_text(
                [time_texts[i] for i in some], [price_texts[i] for i in some]
            )
        return decoded

    def _joined(self, chunk: bytes, received_ms: int) -> Decoded | None:
        # Objects open only where lines begin, and each line ends in a brace. So an object can
        # only end where a line does: after a brace in its middle the line would have to end
        # inside a string, and so would every line after it. With as many elements as lines,
        # each line is one object of its own.
        lines = chunk.count(b"\n")
        if (
            not (chunk.startswith(b"{") and chunk.endswith(b"}\n"))
            or chunk.count(b"{") != lines
            or chunk.count(b"}\n{") != lines - 1
            or max(map(len, chunk.split(b"\n"))) >= self._max_line
        ):
            return None
        document = _parsed(b"[" + chunk[:-1].replace(b"\n", b",") + b"]")
        if document is None or len(document) != lines:
            return None
        tally = _Tally()
        for value in document:
            self._judge(value, received_ms, tally)
        return Decoded(lines, tally.ticks, tally.rejects, tally.ahead_ms)

    def _line_by_line(self, chunk: bytes, received_ms: int) -> Decoded:
        lines = chunk.split(b"\n")[:-1]
        tally = _Tally()
        for line in lines:
            if len(line) >= self._max_line:
                tally.reject(TOO_LONG)
            else:
                self._judge(_parsed(line), received_ms, tally)
        return Decoded(len(lines), tally.ticks, tally.rejects, tally.ahead_ms)

    def _judge(self, line: Any, received_ms: int, tally: "_Tally") -> None:
        if not isinstance(line, dict):
            tally.reject(JSON)
            return
        name = line.get("symbol")
        symbol = self._symbol(name) if isinstance(name, str) else None
        if symbol is None:
            tally.reject(SYMBOL)
            return
        price = _price(line.get("price"))
        if price is None:
            tally.reject(PRICE)
            return
        timestamp_ms = line.get("timestamp")
        # not isinstance: a bool is an int
        if type(timestamp_ms) is not int or not 0 < timestamp_ms <= MAX_TIMESTAMP_MS:
            tally.reject(TIMESTAMP)
            return
        ahead_ms = timestamp_ms - received_ms
        if ahead_ms > self._skew_ms:
            tally.reject(AHEAD)
            tally.ahead_ms = max(tally.ahead_ms, ahead_ms)
            return
        tally.add(symbol, timestamp_ms, price)

    def _symbol(self, name: str) -> str | None:
        try:
            return self._catalog.symbol(name)
        except UnknownSymbol:
            return None


class _Tally:
    def __init__(self) -> None:
        self.ticks: dict[str, Ticks] = {}
        self.rejects: dict[str, int] = {}
        self.ahead_ms = 0
        self._columns: dict[str, tuple[list[int], list[float]]] = {}

    def add(self, symbol: str, timestamp_ms: int, price: float) -> None:
        columns = self._columns.get(symbol)
        if columns is None:
            columns = self._columns[symbol] = ([], [])
            self.ticks[symbol] = Ticks(*columns)
        columns[0].append(timestamp_ms)
        columns[1].append(price)

    def reject(self, reason: str) -> None:
        self.rejects[reason] = self.rejects.get(reason, 0) + 1


def _joined_text(timestamps: list[bytes], prices: list[bytes]) -> TickText:
    return _new(TickText, (b",".join(timestamps), b",".join(prices)))


def _turns(symbols: tuple[str, ...], columns: _Columns) -> Iterator[Turn]:
    for start in range(0, len(columns[0]), len(symbols) or 1):
        some = [column[start : start + len(symbols)] for column in columns]
        yield _new(Turn, (symbols[: len(some[0])], *some))


def _turn(names: list[bytes]) -> list[bytes]:
    # the names before the first one comes again
    try:
        return names[: names.index(names[0], 1)]
    except ValueError:
        return names


def _parsed(document: bytes) -> Any:
    # None when it is no JSON; `null` is of as little use
    try:
        return _DECODER.decode(document.decode())
    except (ValueError, RecursionError):
        return None


def _price(value: object) -> float | None:
    # not isinstance: a bool is an int
    if type(value) is not float and type(value) is not int:
        return None
    try:
        price = float(value)
    except OverflowError:
        return None
    return price if 0 < price <= MAX_PRICE else None


def _refuse(constant: str) -> None:
    raise ValueError(f"NaN and Infinity are no JSON, was {constant}")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
