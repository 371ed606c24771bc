"""`python -m bench.listeners`: subscribers of /stream, and when they saw what; JSON on the output.

It prints one line when all of them have their snapshot, and one when the time is over.
"""

import argparse
import json
import re
import selectors
import socket
import sys
from dataclasses import dataclass, field
from math import ceil
from time import monotonic, time_ns

_REQUEST = b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_SEEN = re.compile(rb'"price":[^,]+,"timestamp":(\d+)')
_AT_ONCE = 50  # connections, so that the backlog is not what is measured


@dataclass
class Listener:
    """One subscriber."""

    client: socket.socket
    heard: float = 0.0  # when something came last, monotonic; 0 before the snapshot


@dataclass
class Listeners:
    """All of them, read by one thread."""

    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    everyone: list[Listener] = field(default_factory=list)
    ages_ms: list[int] = field(default_factory=list)  # of the oldest price in each piece
    events: int = 0
    longest_gap_s: float = 0.0
    ended: int = 0
    measuring: bool = False

    def join(self, port: int, count: int) -> None:
        """Subscribe *count* clients and wait for their snapshots."""
        for number in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
            client.sendall(_REQUEST)
            client.setblocking(False)
            listener = Listener(client)
            self.everyone.append(listener)
            self.selector.register(client, selectors.EVENT_READ, listener)
            if number % _AT_ONCE == 0:
                self.listen(0.0)
        while not all(listener.heard for listener in self.everyone):
            self.listen(0.05)

    def measure(self, seconds: float) -> None:
        """Note for so long what comes when."""
        self.measuring, end = True, monotonic() + seconds
        while (left := end - monotonic()) > 0:
            self.listen(left)
        now = monotonic()
        gaps = [now - listener.heard for listener in self.everyone]
        self.longest_gap_s = max(self.longest_gap_s, *gaps)

    def listen(self, timeout: float) -> None:
        """Read what is there."""
        for key, _ in self.selector.select(timeout):
            listener: Listener = key.data
            data = listener.client.recv(1 << 20)
            now = monotonic()
            if not data:
                self.ended += 1
                self.selector.unregister(listener.client)
            elif self.measuring:
                self._note(data, now - listener.heard)
            listener.heard = now

    def found(self) -> dict[str, float]:
        """Return what was measured."""
        ages = sorted(self.ages_ms) or [0]
        return {
            "events": self.events,
            "p50_ms": ages[len(ages) // 2],
            "p99_ms": ages[ceil(len(ages) * 0.99) - 1],
            "max_ms": ages[-1],
            "longest_gap_ms": round(self.longest_gap_s * 1000),
            "ended": self.ended,
        }

    def _note(self, data: bytes, gap_s: float) -> None:
        times = _SEEN.findall(data)
        if times:
            self.events += len(times)
            self.ages_ms.append(time_ns() // 1_000_000 - min(map(int, times)))
            self.longest_gap_s = max(self.longest_gap_s, gap_s)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.listeners")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--stuck", type=int, default=0, help="so many more, who never read")
    options = parser.parse_args()
    stuck = [_stuck(options.port) for _ in range(options.stuck)]
    listeners = Listeners()
    listeners.join(options.port, options.count)
    print(json.dumps({"joined": options.count}), flush=True)
    listeners.measure(options.seconds)
    print(json.dumps(listeners.found()), flush=True)
    for client in [*stuck, *(listener.client for listener in listeners.everyone)]:
        client.close()
    return 0


def _stuck(port: int) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(_REQUEST)
    return client


if __name__ == "__main__":
    sys.exit(main())
