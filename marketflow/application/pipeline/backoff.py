"""Not too often: delays between attempts, and between repeated log lines."""

import random


class Backoff:
    """Doubles from *first_s* to *max_s*; each delay is jittered by up to a quarter, downwards."""

    def __init__(self, first_s: float, max_s: float, rng: random.Random | None = None) -> None:
        self._first_s = min(first_s, max_s)
        self._max_s = max_s
        self._next_s = self._first_s
        self._rng = rng or random.Random()

    def next(self) -> float:
        """Return the next delay in seconds."""
        delay = self._next_s
        self._next_s = min(delay * 2, self._max_s)
        return delay * (1 - self._rng.random() / 4)

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self._next_s = self._first_s


class Throttle:
    """Lets one line per key through every *every_ms* and counts those it holds back."""

    def __init__(self, every_ms: int = 1_000) -> None:
        self._every_ms = every_ms
        self._next_ms: dict[str, int] = {}
        self._held: dict[str, int] = {}

    def allow(self, key: str, now_mono: int, count: int = 1) -> int:
        """Return how many events to report for *key* now, 0 for none; keys must be few."""
        total = self._held.get(key, 0) + count
        if now_mono < self._next_ms.get(key, now_mono):
            self._held[key] = total
            return 0
        self._held[key] = 0
        self._next_ms[key] = now_mono + self._every_ms
        return total
