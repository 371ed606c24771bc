"""How the service is, told so that an operator knows where to look."""

from collections.abc import Callable, Sequence
from typing import Any

from marketflow.application.assets.report import AssetReport
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.publisher import Publisher
from marketflow.application.ports import Clock, Journal
from marketflow.application.state import Market
from marketflow.application.telemetry import Feed, Telemetry

_RECENT_MS = 5_000  # how long something that passed stays a problem
_NOTABLE_STEP_MS = 1_000


class Health:
    """Reads every part; changes none."""

    def __init__(  # noqa: PLR0913  it looks at everything
        self,
        *,
        market: Market,
        telemetry: Telemetry,
        flusher: Flusher,
        journal: Journal,
        clock: Clock,
        channels: Callable[[], Sequence[Channel[Any]]],
        threads: Callable[[], tuple[int, int]],
        stale_after_ms: int,
        backend: str,
        version: str,
        publisher: Publisher | None = None,
        assets: AssetReport | None = None,
    ) -> None:
        self._market = market
        self._telemetry = telemetry
        self._flusher = flusher
        self._journal = journal
        self._clock = clock
        self._channels = channels
        self._threads = threads
        self._stale_after_ms = stale_after_ms
        self._backend = backend
        self._publisher = publisher
        self._assets = assets
        self._version = version
        self._started_mono = clock.now().mono_ms

    def ready(self) -> bool:
        """Whether prices can be served."""
        return not self._market.restoring

    def report(self) -> dict[str, Any]:
        """Return the whole picture, ready for JSON."""
        now_mono = self._clock.now().mono_ms
        mode = self._market.state.mode
        feeds = self._telemetry.feeds_of(mode)
        journal = self._journal.status()
        expected, alive = self._threads()
        problems = [p for feed in feeds for p in self._feed_problems(feed, now_mono)]
        problems += self._storage_problems(now_mono)
        if self._assets is not None:
            problems += self._assets.problems()
        if journal.problem:
            problems.append(journal.problem)
        if journal.damaged_segments and _is_recent(self._market.restored_mono, now_mono):
            problems.append(f"journal: {journal.damaged_segments} segments were damaged")
        if alive < expected:
            problems.append(f"threads: {expected - alive} of {expected} are dead")
        if not self.ready():
            problems.insert(0, "restoring the last minutes from the journal")
        status = "down" if not self.ready() else "degraded" if problems else "ok"
        return {
            "status": status,
            "mode": mode,
            "uptime_s": round((now_mono - self._started_mono) / 1000, 3),
            "version": self._version,
            "problems": list(dict.fromkeys(problems)),  # two parts may meet the same server's
            "feeds": {feed.exchange: self._feed(feed, now_mono) for feed in feeds},
            "postgres": self._postgres(),
            "redis": self._redis(),
            "storage": {
                "backend": self._backend,
                "ok": self._flusher.store_state.problem is None,
                "latency_ms": self._flusher.latency_ms,
                "outbox_rows": self._flusher.waiting_count(),
                "parked_rows": self._flusher.parked_count(),
                "rows_dropped": self._telemetry.rows_dropped,
                "journal_bytes": journal.size_bytes,
                "journal_lost_chunks": journal.lost_chunks,
                "journal_damaged_segments": journal.damaged_segments,
            },
            "assets": {"enabled": False} if self._assets is None else self._assets.section(),
            "channels": {
                channel.name: {"depth": channel.depth(), "capacity": channel.capacity}
                for channel in self._channels()
            },
            "threads": {"expected": expected, "alive": alive},
        }

    def _feed(self, feed: Feed, now_mono: int) -> dict[str, Any]:
        return {
            "connected": feed.connected,
            "stale": self._is_stale(feed, now_mono),
            "last_tick_ms": feed.last_tick_ms,
            "ticks_per_s": round(feed.rate(), 1),
            "reconnects": feed.reconnects,
            "rejected": feed.rejected,
            "late": feed.late,
        }

    def _postgres(self) -> dict[str, Any]:
        if self._backend != "postgres":
            return {"configured": False}
        ok = self._flusher.store_state.problem is None
        return {"configured": True, "ok": ok, "latency_ms": self._flusher.latency_ms}

    def _redis(self) -> dict[str, Any]:
        publisher = self._publisher
        if publisher is None:
            return {"configured": False}
        return {
            "configured": True,
            "ok": publisher.problem is None,
            "latency_ms": publisher.latency_ms,
            "kept_bytes": publisher.kept_bytes,
            "dropped_ticks": publisher.dropped,
        }

    def _is_stale(self, feed: Feed, now_mono: int) -> bool:
        last = feed.last_tick_mono
        return last is None or now_mono - last > self._stale_after_ms

    def _feed_problems(self, feed: Feed, now_mono: int) -> list[str]:
        name, problems = feed.exchange, []
        if not feed.connected:
            problems.append(f"{name}: not connected")
        elif self._is_stale(feed, now_mono):
            seconds = self._stale_after_ms / 1000
            since = "yet" if feed.last_tick_mono is None else f"for {seconds:g} s"
            problems.append(f"{name}: connected, but no price {since}")
        if _is_recent(feed.skew_mono, now_mono):
            way = "ahead of" if feed.skew_ms > 0 else "behind"
            seconds = abs(feed.skew_ms) / 1000
            problems.append(f"{name}: timestamps are {seconds:g} s {way} our clock and refused")
        if _is_recent(feed.failure_mono, now_mono):
            problems.append(f"{name}: a worker failed, its chunk was not counted")
        return problems

    def _storage_problems(self, now_mono: int) -> list[str]:
        problems = self._flusher.problems()
        if self._publisher is not None and self._publisher.problem:
            problems.append(self._publisher.problem)
        if _is_recent(self._telemetry.dropped_mono, now_mono):
            problems.append(f"rows dropped: {self._telemetry.rows_dropped}, nothing takes them")
        if _is_recent(self._telemetry.restart_mono, now_mono):
            problems.append("threads: one died and was started again")
        if abs(self._telemetry.clock_step_ms) > _NOTABLE_STEP_MS:
            seconds = self._telemetry.clock_step_ms / 1000
            problems.append(f"clock: the system's was stepped by {seconds:g} s, ours was not")
        return problems


def _is_recent(then_mono: int | None, now_mono: int) -> bool:
    return then_mono is not None and now_mono - then_mono < _RECENT_MS
