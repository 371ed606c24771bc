"""What goes wrong on purpose, and how often: dropped connections, silence, broken lines."""

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

KINDS = ("drop", "stall", "garbage", "slow", "error", "stale")
CUT_LINE = b'{"symbol":"BTCUSDT","pri'  # the last a dropped client hears


@dataclass(frozen=True, slots=True)
class Span:
    """A range of durations in milliseconds to choose from."""

    low_ms: float
    high_ms: float

    def pick(self, random: Random) -> float:
        """Choose one."""
        return random.uniform(self.low_ms, self.high_ms)


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, and how long."""

    drop_every: Span = Span(2_000, 10_000)
    stall_every: Span = Span(5_000, 20_000)
    stall_for: Span = Span(6_000, 10_000)  # longer than the 5 s after which a feed counts as dead
    garbage_share: float = 0.2  # of the sends, or of the answers over HTTP
    # over HTTP only
    slow_share: float = 0.05
    slow_for: Span = Span(500, 5_000)
    error_share: float = 0.1
    stale_share: float = 0.1
    stale_by: Span = Span(120_000, 900_000)


class Faults:
    """Decides when a fault happens; times are monotonic milliseconds, called in their order."""

    def __init__(self, kinds: Collection[str], random: Random, plan: Plan | None = None) -> None:
        self._kinds = frozenset(kinds)
        self._random = random
        self._plan = plan or Plan()
        self._drop_at_ms: float | None = None
        self._stall_at_ms: float | None = None
        self._silent_until_ms = 0.0

    def drops(self, now_ms: float) -> bool:
        """Whether a connection is to be closed now."""
        if "drop" not in self._kinds:
            return False
        due = self._drop_at_ms is not None and now_ms >= self._drop_at_ms
        if due or self._drop_at_ms is None:
            self._drop_at_ms = now_ms + self._plan.drop_every.pick(self._random)
        return due

    def silent_until(self, now_ms: float) -> float:
        """Return when lines may be sent again; in the past while there is no stall."""
        if "stall" not in self._kinds:
            return 0.0
        if self._stall_at_ms is None:
            self._stall_at_ms = now_ms + self._plan.stall_every.pick(self._random)
        elif now_ms >= self._stall_at_ms:
            self._silent_until_ms = now_ms + self._plan.stall_for.pick(self._random)
            self._stall_at_ms = self._silent_until_ms + self._plan.stall_every.pick(self._random)
        return self._silent_until_ms

    def spoil(self, lines: bytes, wall_ms: float) -> bytes:
        """Return *lines*, now and then with a broken one between them; good ones stay whole."""
        if "garbage" not in self._kinds or self._random.random() >= self._plan.garbage_share:
            return lines
        split = lines.split(b"\n")  # its last item is what follows the last newline: nothing
        split.insert(self._random.randrange(len(split)), self._broken_line(int(wall_ms)))
        return b"\n".join(split)

    def _broken_line(self, wall_ms: int) -> bytes:
        return self._random.choice(
            (
                CUT_LINE,
                b'{"symbol":"BTCUSDT","price":NaN,"timestamp":%d}' % wall_ms,
                b'{"symbol":"NOSUCHUSDT","price":1.5,"timestamp":%d}' % wall_ms,
                self._random.randbytes(60).replace(b"\n", b"\0"),
                b'{"symbol":"%b"}' % (b"X" * 100_000),
            )
        )
