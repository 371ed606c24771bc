"""An exchange of the test's own, whose every sent line is in its ledger."""

import random
import selectors
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Lock, Thread
from time import monotonic, time_ns

from tests.end_to_end.ledger import SYMBOLS, Sent
from tests.ports import free_port

START_PRICES = (100000.0, 0.30, 3.9, 200.0, 3050.0)


def now_ms() -> int:
    """Return the wall clock's milliseconds."""
    return time_ns() // 1_000_000


def line(symbol: str, price: float, timestamp_ms: int) -> bytes:
    """Write a tick as the original exchange programs do."""
    text = f'{{"symbol":"{symbol}","price":{price!r},"timestamp":{timestamp_ms}}}\n'
    return text.encode()


class Feeder:
    """Serves whoever connects last; ticks are sent by the test or, every *pause_s*, by a pulse."""

    def __init__(self, name: str, *, scale: float = 1.0, seed: int = 1, port: int = 0) -> None:
        self.name = name
        self.port = port or free_port()
        self.accepted: list[float] = []  # when, monotonic
        self.ledger: list[Sent] = []
        self.backlog: Sequence[tuple[str, float, int]] = ()  # sent to the next connection, first
        self._scale = scale
        self._random = random.Random(seed)
        self._lock = Lock()
        self._stopping = Event()
        self._connected = Event()
        self._peer: socket.socket | None = None
        self._server: socket.socket | None = None
        self._threads: list[Thread] = []

    def start(self, pulse_s: float | None = None) -> "Feeder":
        """Listen; with *pulse_s* also send a burst of the five pairs so often."""
        self._stopping.clear()
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._spawn(self._accept, self._server)
        if pulse_s:
            self._spawn(self._pulse, pulse_s)
        return self

    def stop(self) -> None:
        """Close everything; may be started again on the same port."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._server is not None:
            self._server.close()
            self._server = None
        with self._lock:
            self._drop()

    def pulse(self, pulse_s: float) -> None:
        """Send a burst so often from now on."""
        self._spawn(self._pulse, pulse_s)

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the current connection, and go on listening; *reset* does it without a FIN."""
        with self._lock:
            if reset and self._peer is not None:
                self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._peer.close()
            self._drop()

    def wait_for_connection(self, timeout: float = 10.0) -> None:
        """Wait until someone is connected."""
        assert self._connected.wait(timeout), f"nobody connected to {self.name}"

    def burst(self, timestamp_ms: int | None = None) -> list[tuple[str, float, int]]:
        """Make one tick of each pair, all of one millisecond."""
        at = now_ms() if timestamp_ms is None else timestamp_ms
        share = [1 + (self._random.random() - 0.5) / 50 for _ in SYMBOLS]
        prices = [
            start * self._scale * part for start, part in zip(START_PRICES, share, strict=True)
        ]
        return [(symbol, price, at) for symbol, price in zip(SYMBOLS, prices, strict=True)]

    def send(self, ticks: Sequence[tuple[str, float, int]]) -> bool:
        """Send *ticks* in one piece and note them; False if nobody was there to take them."""
        data = b"".join(line(*tick) for tick in ticks)
        with self._lock:
            return self._send(data, ticks)

    def send_raw(self, data: bytes) -> bool:
        """Send bytes that are in no ledger."""
        with self._lock:
            return self._send(data, ())

    def _send(self, data: bytes, ticks: Sequence[tuple[str, float, int]]) -> bool:
        if self._peer is None:
            return False
        at = monotonic()
        # noted before: of a send that fails a part may have arrived
        self.ledger += [Sent(self.name, self.accepted[-1], at, *tick) for tick in ticks]
        try:
            self._peer.sendall(data)
        except OSError:
            self._drop()
            return False
        return True

    def _spawn(self, target, *arguments) -> None:
        thread = Thread(target=target, args=arguments, name=f"feeder-{self.name}")
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ)
            while not self._stopping.is_set():
                if not selector.select(0.05):
                    continue
                peer, _ = server.accept()
                peer.settimeout(20)
                with self._lock:
                    self._drop()
                    self.accepted.append(monotonic())
                    self._peer = peer
                    if self.backlog:
                        ticks, self.backlog = self.backlog, ()
                        self._send(b"".join(line(*tick) for tick in ticks), ticks)
                self._connected.set()

    def _pulse(self, pulse_s: float) -> None:
        while not self._stopping.wait(pulse_s):
            self.send(self.burst())

    def _drop(self) -> None:
        self._connected.clear()
        if self._peer is not None:
            with suppress(OSError):
                self._peer.shutdown(socket.SHUT_RDWR)
            self._peer.close()
            self._peer = None
