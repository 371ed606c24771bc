"""Prices made up in this process: the same lines an exchange sends, without the wire."""

import re
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from zlib import crc32

from fakeexchange.prices import RATE, Playback, bursts
from marketflow.application.ports import Clock
from marketflow.domain.tick import Decoded


class GeneratedSource:
    """A `TickSource` that needs nothing else.

    `exchange1`, `exchange2`, … begin at the start prices of the original exchange programs;
    another name always gets the same ones of these. The same seed gives the same prices.
    """

    address = "generated"

    def __init__(
        self,
        exchange: str,
        symbols: Sequence[str],
        *,
        decode: Callable[[bytes, int], Decoded],
        clock: Clock,
        seed: int | None = None,
        rate: float = RATE,
    ) -> None:
        if not symbols:
            raise ValueError("symbols must be at least one, was none")
        if not rate > 0:
            raise ValueError(f"rate must be above 0 lines per second, was {rate!r}")
        self.exchange = exchange
        self._decode = decode
        self._clock = clock
        self._closed = Event()
        self._playback = Playback(
            bursts(number_of(exchange), symbols=symbols, rate=rate, seed=seed)
        )

    def chunks(self) -> Iterator[bytes]:
        """Yield an empty chunk, then whenever due a burst, or several less than 10 ms apart.

        What a slow reader leaves for over a second is skipped, not sent in a flood.
        """
        if not self._closed.is_set():
            yield b""
        self._playback.resume(self._clock.now().mono_ms)
        while not self._closed.is_set():
            now = self._clock.now()
            wait_ms = self._playback.next_ms() - now.mono_ms
            if wait_ms > 0:
                self._closed.wait(wait_ms / 1000.0)
            else:
                yield self._playback.take(now.mono_ms, now.wall_ms)

    def decode(self, chunk: bytes, received_ms: int) -> Decoded:
        return self._decode(chunk, received_ms)

    def close(self) -> None:
        self._closed.set()


def number_of(exchange: str) -> int:
    """Return which of the original exchanges *exchange* is, a number of its own for other names."""
    original = re.fullmatch(r"exchange([1-9][0-9]{0,5})", exchange, re.IGNORECASE)
    return int(original[1]) if original else crc32(exchange.casefold().encode()) + 1
