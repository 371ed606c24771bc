"""`python -m bench.feeder`: exchanges that send as fast as they are read, at a pace, or the past.

Lines are made before anything is sent; what is left to do for each burst is to put its time in.
It is told what to do by JSON lines on a control connection and answers each with one: `Feeder`
in `bench/feeding.py` is the other end. The count of bursts it answers with is the ledger that
"nothing lost" is checked against.
"""

import argparse
import contextlib
import json
import math
import select
import socket
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

from fakeexchange.prices import PAIRS, bursts

BLOB_BYTES = 32 * 1024  # what shares a millisecond when sent as fast as it is read
_LINES = 10_000  # made beforehand, for each exchange
_SPEAKERS = 3
_IDLE_S = 0.05


def pair_names(count: int) -> list[str]:
    """Return *count* pairs, the five of the exchanges first."""
    return [*PAIRS, *(f"P{number:04d}USDT" for number in range(len(PAIRS), count))][:count]


class Script:
    """The lines of one exchange: bursts of all pairs, again and again, cut where the time goes."""

    def __init__(self, exchange: int, pairs: Sequence[str]) -> None:
        count = max(16, _LINES // len(pairs))
        made = bursts(exchange, symbols=pairs, seed=exchange)
        self._bursts = [burst.pieces for burst in islice(made, count)]
        line_bytes = len(_stamp().join(self._bursts[0]))
        self.bursts_per_blob = max(1, BLOB_BYTES // line_bytes)
        self._blobs = cycle([_joined(some) for some in _slices(self._bursts, self.bursts_per_blob)])
        self._singles = cycle(self._bursts)

    def blob(self) -> bytes:
        """Return bursts that all happen now."""
        return _stamp().join(next(self._blobs))

    def burst(self, timestamp_ms: int | None = None) -> bytes:
        """Return one burst of now, or of *timestamp_ms*."""
        return _stamp(timestamp_ms).join(next(self._singles))


class Speaker:
    """One exchange: its port, its client, what it has sent."""

    def __init__(self, number: int, port: int, pairs: Sequence[str]) -> None:
        self.script = Script(number, pairs)
        self.listener = socket.create_server(("127.0.0.1", port), backlog=8)
        self.client: socket.socket | None = None
        self.unsent = memoryview(b"")
        self.bursts = 0
        self.cut_off = 0  # connections that ended in the middle of what we sent

    def accept(self) -> None:
        if self.client is not None:
            self.client.close()
            self.cut_off += bool(self.unsent)
        self.client, _ = self.listener.accept()
        self.client.setblocking(False)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unsent = memoryview(b"")

    def say(self, data: bytes, burst_count: int) -> bool:
        """Send; whether all of it was taken at once."""
        self.bursts += burst_count
        self.unsent = memoryview(data)
        return self.flush()

    def flush(self) -> bool:
        try:
            while self.unsent and self.client is not None:
                self.unsent = self.unsent[self.client.send(self.unsent) :]
        except BlockingIOError:
            return False
        except OSError:
            self.cut_off += 1
            self.unsent = memoryview(b"")
            if self.client is not None:
                self.client.close()
            self.client = None
        return True


class Feed:
    """Everything that is sent, from one thread."""

    def __init__(self, ports: Sequence[int], pairs: Sequence[str], control: socket.socket) -> None:
        self._speakers = [Speaker(n, port, pairs) for n, port in enumerate(ports, 1)]
        self._pairs = len(pairs)
        self._control = control
        self._rate = 0.0  # ticks per second of all together; infinite: as fast as they are read
        self._began = 0.0
        self._said = 0  # bursts since then, at a pace

    def run(self) -> None:
        """Obey until the control connection ends."""
        commands = self._control.makefile("r")
        while True:
            if self._rate and not math.isinf(self._rate):
                self._keep_pace()
            wanted = [s.listener for s in self._speakers]
            writers = {s.client: s for s in self._speakers if s.client and self._has_more(s)}
            readable, writable, _ = select.select(
                [self._control, *wanted], list(writers), [], self._patience_s()
            )
            for client in writable:
                speaker = writers[client]
                if speaker.flush() and math.isinf(self._rate):
                    speaker.say(speaker.script.blob(), speaker.script.bursts_per_blob)
            for speaker in self._speakers:
                if speaker.listener in readable:
                    speaker.accept()
            if self._control in readable:
                line = commands.readline()
                if not line:
                    return
                answer = self._obey(json.loads(line))
                self._control.sendall(json.dumps(answer).encode() + b"\n")

    def _obey(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["do"] == "fill":
            self._fill(command["rate"], command["ms"])
        if command["do"] == "pace":
            self._rate = math.inf if command["rate"] is None else command["rate"]
            self._began, self._said = time.perf_counter(), 0
        if not self._rate:
            self._finish()
        return {
            "bursts": [speaker.bursts for speaker in self._speakers],
            "connected": sum(speaker.client is not None for speaker in self._speakers),
            "cut_off": sum(speaker.cut_off for speaker in self._speakers),
        }

    def _has_more(self, speaker: Speaker) -> bool:
        return bool(speaker.unsent) or math.isinf(self._rate)

    def _interval_s(self) -> float:
        return self._pairs / self._rate  # between two bursts, whoever says them

    def _patience_s(self) -> float:
        if not self._rate or math.isinf(self._rate):
            return _IDLE_S
        due = self._began + (self._said + 1) * self._interval_s()
        return min(_IDLE_S, max(0.0, due - time.perf_counter()))

    def _keep_pace(self) -> None:
        due = int((time.perf_counter() - self._began) / self._interval_s())
        while self._said < due:
            speaker = self._speakers[self._said % len(self._speakers)]
            if speaker.client is None or not speaker.flush():
                return  # it is behind, and so are we from now on
            speaker.say(speaker.script.burst(), 1)
            self._said += 1

    def _fill(self, rate: float, ms: int) -> None:
        """Send what would have been sent in the last *ms* milliseconds."""
        now_ms = time.time_ns() // 1_000_000
        interval_ms = 1000 * self._pairs * len(self._speakers) / rate
        per_piece = self._speakers[0].script.bursts_per_blob
        count = int(ms / interval_ms)
        times = [now_ms - ms + int(number * interval_ms) for number in range(count)]
        for at in range(0, count, per_piece):
            some = times[at : at + per_piece]
            for speaker in self._speakers:
                data = b"".join([speaker.script.burst(at_ms) for at_ms in some])
                speaker.say(data, len(some))
                self._finish()

    def _finish(self) -> None:
        for speaker in self._speakers:
            while speaker.client is not None and not speaker.flush():
                select.select([], [speaker.client], [], 1.0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.feeder")
    parser.add_argument("--control", type=int, required=True, help="port to be told on")
    parser.add_argument("--ports", type=int, nargs="+", required=True, help="one per exchange")
    parser.add_argument("--pairs", type=int, default=len(PAIRS))
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.control)) as listener:
        control, _ = listener.accept()
    with contextlib.closing(control):
        Feed(options.ports, pair_names(options.pairs), control).run()
    return 0


def _stamp(timestamp_ms: int | None = None) -> bytes:
    return b"%d" % (time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms)


def _joined(some: Sequence[tuple[bytes, ...]]) -> list[bytes]:
    pieces = list(some[0])
    for first, *rest in some[1:]:
        pieces[-1] += first
        pieces += rest
    return pieces


def _slices(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    # whole ones only: every blob holds as many bursts
    return [items[at : at + size] for at in range(0, len(items) - size + 1, size)] or [items]


if __name__ == "__main__":
    sys.exit(main())
