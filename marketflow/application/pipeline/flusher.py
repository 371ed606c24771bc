"""The last step of a row: into the outbox, from there to the store, oldest first."""

import logging
from collections.abc import Callable, Sequence
from time import monotonic

from marketflow.application.pipeline.backoff import Backoff
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.messages import Closing
from marketflow.application.ports import Clock, Journal, MinuteStore, Outbox, RefusedRow
from marketflow.application.telemetry import Telemetry
from marketflow.domain.errors import ChannelClosed, StorageUnavailable
from marketflow.domain.minute import MinuteKey, MinuteRow
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

_BATCH_ROWS = 500
_MAX_UNSAVED = 100_000
_TICK_S = 1.0  # how often the store is pinged
_TRIM_S = 30.0
_DRAIN_S = 1.0  # of emptying the outbox at a stretch: new rows, and a stop, must not wait long


class Condition:
    """Whether something does all its tasks, told to the log when it changes."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.problem: str | None = None
        self._failing: dict[str, str] = {}
        self._since = 0.0

    def fail(self, reason: str, task: str = "") -> None:
        """Note that *task* was not done."""
        if not self._failing:
            self._since = monotonic()
            log.warning("rows wait", extra={"failed": self.what, "reason": reason})
        self._failing[task] = reason
        self.problem = reason

    def succeed(self, task: str = "") -> None:
        """Note that *task* was done; others may go on failing."""
        if self._failing.pop(task, None) is None:
            return
        self.problem = next(iter(self._failing.values()), None)
        if self.problem is None:
            for_s = round(monotonic() - self._since, 1)
            log.info("rows move again", extra={"works": self.what, "for_s": for_s})


class Flusher:
    """Keeps every row until the store has it, through any outage of outbox or store."""

    def __init__(
        self,
        closings: Channel[Closing],
        *,
        outbox: Outbox,
        store: MinuteStore,
        journal: Journal,
        retention_ms: int,
        clock: Clock,
        telemetry: Telemetry,
        announce: Callable[[Sequence[MinuteRow]], None] | None = None,
    ) -> None:
        self._closings = closings
        self._outbox = outbox
        self._store = store
        self._journal = journal
        self._retention_ms = retention_ms
        self._clock = clock
        self._telemetry = telemetry
        self._announce = announce  # rows the store has acknowledged; never waits
        self._unsaved: dict[MinuteKey, MinuteRow] = {}
        self._sample: list[MinuteRow] = []  # what to try an outbox with that failed
        self._watermark_ms = 0
        self._backoff = Backoff(0.2, 2.0)
        self._retry_at = 0.0
        self._trim_at = 0.0
        self.latency_ms: float | None = None
        self.refusal = ""  # why the store refused a row last
        self.state = Condition("flusher")
        self.outbox_state = Condition("outbox")
        self.store_state = Condition("store")

    def run(self) -> None:
        """Flush until the channel is closed, then a last time."""
        while True:
            try:
                closings = self._closings.take(_BATCH_ROWS, self._patience_s())
            except ChannelClosed:
                break
            self._step(closings)
        self._retry_at = 0.0
        self._step([])

    def flush(self, closings: Sequence[Closing], now: float) -> None:
        """Take in *closings*, then move rows on; *now* is monotonic seconds."""
        for closing in closings:
            for row in closing.rows:
                known = self._unsaved.get(row.key)
                if known is None or row.tick_count >= known.tick_count:
                    self._unsaved[row.key] = row
            # not the highest so far: the wall clock may have been set back
            self._watermark_ms = closing.watermark_ms or self._watermark_ms
        self._save()
        if now >= self._retry_at:
            self._drain(now)
        if now >= self._trim_at:
            self._trim_at = now + _TRIM_S
            self._trim()

    def waiting(
        self, mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int
    ) -> list[MinuteRow]:
        """Return a pair's rows that the store may not have yet; any thread.

        Raises:
            StorageUnavailable: the outbox cannot be read.
        """
        rows = [
            row
            for row in list(self._unsaved.values())
            if (row.mode, row.pair_name) == (mode, symbol)
            and (exchange is None or row.exchange == exchange)
            and from_ms <= row.timestamp_ms < to_ms
        ]
        if self._outbox.count() or self._outbox.parked():
            rows += self._outbox.rows(mode, symbol, exchange, from_ms, to_ms)
        return rows

    def waiting_count(self) -> int:
        """Return how many rows the store does not have yet."""
        return self._outbox.count() + len(self._unsaved)

    def parked_count(self) -> int:
        """Return how many rows the store has refused."""
        return self._outbox.parked()

    def problems(self) -> list[str]:
        """Return a sentence for each thing that keeps rows from the store."""
        found = [self.store_state.problem, self.outbox_state.problem, self.state.problem]
        found.append(self._outbox.notice())
        if parked := self.parked_count():
            found.append(f"{parked} rows are parked, the store refuses them: {self.refusal}")
        return [sentence for sentence in found if sentence]

    def _step(self, closings: Sequence[Closing]) -> None:
        try:
            self.flush(closings, monotonic())
        except Exception as error:
            if self.state.problem is None:
                log.exception("flush failed")
            self.state.fail(f"flusher: {error!r}")
        else:
            self.state.succeed()

    def _patience_s(self) -> float:
        if not self.waiting_count():
            return _TICK_S
        return min(_TICK_S, max(0.05, self._retry_at - monotonic()))

    def _save(self) -> None:
        # the store has the sample already: written again it does no harm
        if rows := list(self._unsaved.values()) or self._sample:
            try:
                self._outbox.put(rows)
            except StorageUnavailable as error:
                self.outbox_state.fail(str(error), "put")
                self._bound_unsaved()
            else:
                self.outbox_state.succeed("put")
                self._unsaved.clear()
                self._sample = []
        if self._watermark_ms and not self._unsaved:
            self._journal.release(self._watermark_ms - self._retention_ms)

    def _bound_unsaved(self) -> None:
        excess = len(self._unsaved) - _MAX_UNSAVED
        for key in sorted(self._unsaved, key=lambda key: key.end_ms)[: max(0, excess)]:
            del self._unsaved[key]
        if excess > 0:
            self._note_drop(excess, "neither outbox nor store takes them")

    def _drain(self, now: float) -> None:
        try:
            if rows := list(self._unsaved.values()):  # the outbox fails: straight to the store
                refused = self._upsert(rows)
                # what the store refuses waits until the outbox can park it
                self._unsaved = {row.key: row for row, _ in refused}
                self._sample = rows[-1:]
            emptied = self._empty_outbox() and not self._unsaved
            if not (emptied and self._outbox.count()):  # a backlog that moves is proof enough
                started = monotonic()
                self._store.ping()
                self.latency_ms = round((monotonic() - started) * 1000, 3)
        except StorageUnavailable as error:
            self._telemetry.store_errors += 1
            self.store_state.fail(str(error))
            self._retry_at = now + self._backoff.next()
            return
        self.store_state.succeed()
        if emptied:
            self._backoff.reset()
        else:
            self._retry_at = now + self._backoff.next()

    def _empty_outbox(self) -> bool:
        # False if the outbox fails; a failing store is the caller's
        deadline = monotonic() + _DRAIN_S
        while self._outbox.count():
            rows = self._read_outbox()
            if not rows:
                return False
            if not self._acknowledge(rows, self._upsert(rows)):
                return False
            if monotonic() >= deadline:
                break  # the next flush goes on at once
        return True

    def _read_outbox(self) -> list[MinuteRow] | None:
        try:
            rows = self._outbox.oldest(_BATCH_ROWS)
        except StorageUnavailable as error:
            self.outbox_state.fail(str(error), "read")
            return None
        self.outbox_state.succeed("read")
        return rows

    def _acknowledge(self, rows: list[MinuteRow], refused: list[RefusedRow]) -> bool:
        unwanted = {row.key for row, _ in refused}
        try:
            if refused:
                self._outbox.park(refused)
            self._outbox.acknowledge([row for row in rows if row.key not in unwanted])
        except StorageUnavailable as error:
            self.outbox_state.fail(str(error), "acknowledge")
            return False
        self.outbox_state.succeed("acknowledge")
        return True

    def _upsert(self, rows: list[MinuteRow]) -> list[RefusedRow]:
        refused = self._store.upsert(rows)
        self._telemetry.rows_stored += len(rows) - len(refused)
        if refused:
            row, self.refusal = refused[0]
            first = f"{row.exchange} {row.pair_name} {row.timestamp_ms}"
            context = {"rows": len(refused), "first": first, "reason": self.refusal}
            log.error("rows refused by the store are parked", extra=context)
        if self._announce is not None:
            unwanted = {row.key for row, _ in refused}
            self._announce([row for row in rows if row.key not in unwanted])
        return refused

    def _trim(self) -> None:
        try:
            dropped = self._outbox.trim(self._clock.now().wall_ms)
        except StorageUnavailable as error:
            self.outbox_state.fail(str(error), "trim")
            self._trim_at = 0.0
            return
        self.outbox_state.succeed("trim")
        if dropped:
            self._note_drop(dropped, "the outbox is over its bounds")

    def _note_drop(self, rows: int, reason: str) -> None:
        self._telemetry.rows_dropped += rows
        self._telemetry.dropped_mono = self._clock.now().mono_ms
        log.error("rows dropped", extra={"rows": rows, "reason": reason})
