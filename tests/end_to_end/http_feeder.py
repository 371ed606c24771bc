"""An exchange of the test's own that is asked over HTTP, one quote at a time."""

import asyncio
import json
from threading import Event, Thread
from time import time
from typing import Any

from tests.ports import free_port

PATH = "/mock/ticker/"
FAULTS = ("hang", "slow", "trickle", "close", "garbage", "half", "endless", "500", "404")

_TRICKLE_S = 0.2


class HttpFeeder:
    """Quotes what the test has set, and misbehaves as it is told; keeps connections open.

    *fault* is one of `FAULTS`, or None; "slow" answers after *delay_s*, which may be changed too.
    """

    def __init__(self, name: str = "exchange1", *, port: int = 0) -> None:
        self.name = name
        self.port = port or free_port()
        self.fault: str | None = None
        self.delay_s = 0.5
        self.asked: list[str] = []  # symbols, as they were written
        self.connections = 0  # accepted so far
        self.quotes: dict[str, dict[str, Any]] = {}
        self._open: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: Thread | None = None

    @property
    def url(self) -> str:
        """The template the service is configured with."""
        return f"http://127.0.0.1:{self.port}{PATH}{{symbol}}"

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        return len(self._open)

    def quote(
        self, symbol: str, price: Any, volume: Any = None, *, timestamp: float | None = None
    ) -> None:
        """Quote *symbol* so from now on; without *timestamp* always at the current second."""
        told = {"price": price, "volume": volume, "timestamp": timestamp}
        self.quotes[symbol] = {key: value for key, value in told.items() if value is not None}

    def start(self) -> "HttpFeeder":
        """Listen."""
        listening = Event()
        self._thread = Thread(
            target=lambda: asyncio.run(self._run(listening)), name=f"http-feeder-{self.name}"
        )
        self._thread.start()
        assert listening.wait(10), "the exchange does not listen"
        return self

    def stop(self) -> None:
        """Reset every connection and refuse new ones; may be started again on the same port."""
        if self._thread is None:
            return
        assert self._loop is not None
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    async def _run(self, listening: Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, reuse_address=True, backlog=512
        )
        listening.set()
        await self._stopping.wait()
        server.close()
        while self._open:
            for writer in list(self._open):
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                symbol = target.removeprefix(PATH)
                self.asked.append(symbol)
                await self._answer(symbol, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, _Over):
            pass  # whoever asked has gone, or was to be left without an answer
        finally:
            writer.close()
            self._open.discard(writer)

    async def _answer(
        self, symbol: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        fault = self.fault
        quote = self.quotes.get(symbol)
        if fault == "hang":
            await reader.read()
            raise _Over
        if fault == "close":
            raise _Over
        if fault == "slow":
            await self._pause(self.delay_s)
        if fault == "500":
            writer.write(_message("500 Internal Server Error", b"{}"))
        elif fault == "404" or quote is None:
            writer.write(_message("404 Not Found", b'{"error":"unknown symbol"}'))
        else:
            body = {"symbol": symbol, "timestamp": int(time()), **quote}
            await self._write(_message("200 OK", json.dumps(body).encode()), fault, writer)
        await writer.drain()

    async def _write(self, message: bytes, fault: str | None, writer: asyncio.StreamWriter) -> None:
        if fault == "garbage":
            writer.write(_message("200 OK", b'{"price": "\xff\x00", nonsense'))
        elif fault == "half":
            writer.write(message[:-5])
            await writer.drain()
            raise _Over
        elif fault == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" " * 65_536)
                await writer.drain()
        elif fault == "trickle":
            for byte in message:
                writer.write(bytes([byte]))
                await writer.drain()
                await self._pause(_TRICKLE_S)
        else:
            writer.write(message)

    async def _pause(self, seconds: float) -> None:
        assert self._stopping is not None
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
        raise _Over


class _Over(Exception):
    """The connection is to be closed."""


def _message(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body
