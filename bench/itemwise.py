"""`python -m bench.itemwise`: the pipeline everyone writes first, as a reference for ours.

The same way as ours with a queue item for each line: fan-in, distributor, five workers for each
exchange that call `json.loads`, fan-in to the thread that adds each tick to the same windows and
minutes. It has no journal and no mirror, so it does less. The interpreter is set as the service
sets it, which is not to this program's advantage; `--default-interval` leaves that out. Every half
second it prints how many ticks it has aggregated, and when.
"""

import json
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from marketflow.domain.minute import MinuteBook, MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.stat import PriceStat
from marketflow.domain.tick import Ticks
from marketflow.domain.window import PriceWindow

_WORKERS = 5
_ROOM = 10_000
_EVERY_S = 0.5
_SPAN_MS = 300_000
_SWITCH_INTERVAL_S = 0.0005  # as in marketflow/app.py
DEFAULT_INTERVAL = "--default-interval"

Line = tuple[str, bytes]
Tick = tuple[str, str, float, int]


class Pipeline:
    """Everything between the sockets and the aggregates."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.aggregated = 0
        self._ports = {f"exchange{number}": port for number, port in enumerate(ports, 1)}
        self._inbox: queue.Queue[Line] = queue.Queue(_ROOM)
        self._work: dict[str, queue.Queue[Line]] = {
            exchange: queue.Queue(_ROOM) for exchange in self._ports
        }
        self._ticks: queue.Queue[Tick] = queue.Queue(_ROOM)
        self._windows: dict[tuple[str, str], PriceWindow] = {}
        self._minutes = MinuteBook(MinuteRules())

    def start(self) -> None:
        bodies: list[Callable[[], None]] = [self._aggregate, self._route]
        for exchange in self._ports:
            bodies.append(partial(self._listen, exchange))
            bodies += [partial(self._decode, exchange)] * _WORKERS
        for body in bodies:
            threading.Thread(target=body, daemon=True).start()

    def _listen(self, exchange: str) -> None:
        with socket.create_connection(("127.0.0.1", self._ports[exchange])) as connection:
            for line in connection.makefile("rb"):
                self._inbox.put((exchange, line))

    def _route(self) -> None:
        while True:
            item = self._inbox.get()
            self._work[item[0]].put(item)

    def _decode(self, exchange: str) -> None:
        work = self._work[exchange]
        while True:
            _, line = work.get()
            tick = json.loads(line)
            price = float(tick["price"])
            if price > 0 and tick["timestamp"] > 0:
                self._ticks.put((exchange, tick["symbol"], price, tick["timestamp"]))

    def _aggregate(self) -> None:
        windows, end_of = self._windows, self._minutes.rules.end_of
        while True:
            exchange, symbol, price, at = self._ticks.get()
            stat = PriceStat.of(Ticks([at], [price]))
            window = windows.get((exchange, symbol))
            if window is None:
                window = windows[exchange, symbol] = PriceWindow(_SPAN_MS)
            window.add(at, price, at)
            self._minutes.add(Mode.LIVE, exchange, end_of(at), {symbol: stat})
            self.aggregated += 1


def rate_of(output: str, *, skip_s: float = 1.0) -> float:
    """Return ticks a second from what the program printed, its first *skip_s* left out.

    Raises:
        ValueError: there are no two counts left.
    """
    samples = [tuple(map(float, line.split())) for line in output.splitlines()]
    moving = [(at, ticks) for at, ticks in samples if ticks]
    kept = [(at, ticks) for at, ticks in moving if at >= moving[0][0] + skip_s] if moving else []
    if len(kept) < 2:
        raise ValueError(f"the reference must have printed two counts, was {output!r}")
    (began, first), (ended, last) = kept[0], kept[-1]
    return (last - first) / (ended - began)


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[0] == DEFAULT_INTERVAL:
        del arguments[0]
    else:
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
    pipeline = Pipeline([int(port) for port in arguments])
    pipeline.start()
    pause = threading.Event()
    while not pause.wait(_EVERY_S):
        print(time.monotonic(), pipeline.aggregated, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
