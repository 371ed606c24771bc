"""One refresh on its way: an asset, the questions for it, the future that ends it."""

from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock
from typing import NamedTuple

from marketflow.application.asset_ports import Answer
from marketflow.domain.asset import AssetPrice


class Refreshed(NamedTuple):
    """What a refresh has done."""

    price: AssetPrice
    shared: bool | None  # whether the shared cache took it; None: there is none
    history: bool  # whether it waits for, or is in, a history that works


class Flight:
    """Collects the first answer from each exchange; any thread may tell one.

    What waits for it waits on `future`, which nobody can cancel: it is shared.
    """

    __slots__ = ("_answers", "_left", "_lock", "asset", "deadline_mono", "future")

    def __init__(self, asset: str, deadline_mono: int) -> None:
        self.asset = asset
        self.deadline_mono = deadline_mono
        self.future: Future[Refreshed] = Future()
        self.future.set_running_or_notify_cancel()
        self._answers: list[Answer | None] = []
        self._left = 0
        self._lock = Lock()

    def expect(self, answers: Sequence[Answer | None]) -> None:
        """Wait for those of *answers* that are None; the others are known beforehand."""
        with self._lock:
            self._answers = list(answers)
            self._left = self._answers.count(None)

    def note(self, place: int, answer: Answer) -> tuple[bool, bool]:
        """Take the answer from *place*: whether it is the first from there, and the last of all."""
        with self._lock:
            if self._answers[place] is not None:
                return False, False
            self._answers[place] = answer
            self._left -= 1
            return True, not self._left

    def missing(self) -> list[int]:
        """Return the places that have not answered."""
        with self._lock:
            return [place for place, answer in enumerate(self._answers) if answer is None]

    def answers(self) -> list[Answer]:
        """Return what is known, in the order of the places."""
        with self._lock:
            return [answer for answer in self._answers if answer is not None]
