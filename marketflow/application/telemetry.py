"""What the service counts about itself: each number has one writer, any thread may read."""

from bisect import bisect_left
from collections import deque

from marketflow.domain.mode import Mode

RATE_SPAN_MS = 10_000
LATENCY_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


class Histogram:
    """Counts of seconds in the service's common buckets."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS_S) + 1)  # the last one is above every bound
        self.total_s = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count *seconds*, *times* over."""
        self.total_s += seconds * times
        self.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += times


class Feed:
    """One exchange's counters, over both modes; the connection is the current one's."""

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        # written by the listener
        self.connected = False
        self.reconnects = 0
        self.received = 0
        # written by the collector
        self.aggregated = 0
        self.late = 0
        self.rejects: dict[str, int] = {}
        self.last_tick_ms: int | None = None  # the newest tick's own time
        self.last_tick_mono: int | None = None  # when it was received
        self.latency = Histogram()
        self.skew_ms = 0  # by how much the last refused timestamps were ahead, or behind if < 0
        self.skew_mono: int | None = None
        self.failure_mono: int | None = None  # when a worker last failed
        self._samples: deque[tuple[int, int]] = deque()

    @property
    def rejected(self) -> int:
        """Lines refused for whatever reason."""
        return sum(self.rejects.values())

    def in_flight(self) -> int:
        """Lines received and not yet accounted for."""
        return max(0, self.received - self.aggregated - self.rejected - self.late)

    def sample(self, now_mono: int) -> None:
        """Remember the count at *now_mono* for the rate; the supervisor's task."""
        samples = self._samples  # `restart` may replace them meanwhile
        samples.append((now_mono, self.aggregated))
        while len(samples) > 1 and samples[0][0] < now_mono - RATE_SPAN_MS:
            samples.popleft()

    def rate(self) -> float:
        """Return the ticks per second over the last ten seconds."""
        samples = list(self._samples)
        if not samples or samples[-1][0] == samples[0][0]:
            return 0.0
        (start, before), (end, after) = samples[0], samples[-1]
        return (after - before) * 1000 / (end - start)

    def restart(self) -> None:
        """Forget what belongs to the mode that ended."""
        self.connected = False
        self.last_tick_ms = self.last_tick_mono = self.skew_mono = self.failure_mono = None
        self._samples = deque()


class Telemetry:
    """Every feed's counters, and the flusher's."""

    def __init__(self, exchanges: dict[Mode, list[str]]) -> None:
        self._by_mode = exchanges
        names = dict.fromkeys(name for some in exchanges.values() for name in some)
        self.feeds = {name: Feed(name) for name in names}
        self.rows_stored = 0
        self.rows_dropped = 0
        self.store_errors = 0
        self.replayed = 0
        self.dropped_mono: int | None = None  # when rows were last dropped
        self.thread_restarts = 0
        self.restart_mono: int | None = None
        self.clock_step_ms = 0  # how far the system's wall clock is ahead of ours

    def feeds_of(self, mode: Mode) -> list[Feed]:
        """Return the feeds that exist in *mode*."""
        return [self.feeds[name] for name in self._by_mode[mode]]
