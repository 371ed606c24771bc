"""Exchanges that send at a steady pace, and can hold their breath."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from threading import Event, Lock, Thread

from tests.end_to_end.feeder import Feeder
from tests.end_to_end.ledger import Sent

PAUSE_S = 0.05


class Exchanges:
    """A feeder for each of *names*; with *lines* each burst goes out on so many, all the same.

    A feeder serves one process, so two processes that read the same exchanges need two lines.
    """

    def __init__(self, *names: str, lines: int = 1) -> None:
        self.lines = [
            [Feeder(name, seed=n, scale=1 + n / 1000) for n, name in enumerate(names)]
            for _ in range(lines)
        ]
        self._turn = Lock()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="exchanges")

    def start(self) -> "Exchanges":
        """Listen, and send to whoever connects."""
        for feeder in chain(*self.lines):
            feeder.start()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close everything."""
        self._stopping.set()
        self._thread.join()
        for feeder in chain(*self.lines):
            feeder.stop()

    def addresses(self, line: int = 0) -> list[tuple[str, int]]:
        """Return name and port of each."""
        return [(feeder.name, feeder.port) for feeder in self.lines[line]]

    def ledger(self, line: int = 0) -> list[Sent]:
        """Return all that was sent on *line* so far."""
        return list(chain.from_iterable(list(feeder.ledger) for feeder in self.lines[line]))

    def wait_until_heard(self, line: int = 0) -> None:
        """Wait until each has sent on *line*."""
        for feeder in self.lines[line]:
            feeder.wait_for_connection()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Send nothing meanwhile."""
        with self._turn:
            yield

    def hang_up(self, line: int = 0) -> None:
        """Close every connection of *line*."""
        for feeder in self.lines[line]:
            feeder.hang_up()

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            with self._turn:
                for n in range(len(self.lines[0])):
                    burst = self.lines[0][n].burst()
                    for line in self.lines:
                        line[n].send(burst)
