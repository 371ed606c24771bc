"""Keeps every aggregated price until the history has it."""

import logging
from itertools import islice
from threading import Event, Lock
from time import monotonic

from marketflow.application.asset_ports import AssetHistory
from marketflow.application.assets.trouble import Trouble
from marketflow.application.pipeline.backoff import Throttle
from marketflow.application.ports import Clock, Instant
from marketflow.domain.asset import AssetPrice, HistoryItem
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

_BATCH = 500  # items in one write
_LEAST_BATCH = 25  # where more take the history longer than a turn
_WAIT_S = 1.0  # at most, for a batch to fill
_TRIM_MS = 60_000
_TURN_S = 1.0  # of writing at a stretch, and for one write: a stop must not wait long
_LAST_S = 3.0  # for what is left when closed

_Key = tuple[str, int]  # asset, second


class Historian:
    """Writes prices in batches; of one asset and second the one aggregated last.

    What cannot be written waits, up to *capacity* items, then the oldest are dropped. Items older
    than *retention_ms* (None: for ever) are forgotten by the history.
    """

    def __init__(
        self,
        history: AssetHistory,
        *,
        clock: Clock,
        retention_ms: int | None,
        capacity: int = 100_000,
    ) -> None:
        self.backend = history.backend
        self._history = history
        self._clock = clock
        self._retention_ms = retention_ms
        self._capacity = capacity
        self._waiting: dict[Mode, dict[_Key, HistoryItem]] = {mode: {} for mode in Mode}
        self._lock = Lock()
        self._wake = Event()
        self._closing = False
        self._closed = False
        self._greeted = False  # tables are created by the first ping
        self._batch = _BATCH
        self._trim_mono = 0
        self._trouble = Trouble(
            starts="prices wait for the history", ends="prices reach the history again"
        )
        self._drops = Throttle(every_ms=60_000)
        self.dropped = 0  # items given up that the history never had
        self.dropped_mono: int | None = None  # when the last one was
        self.latency_ms: float | None = None  # of the last write or ping

    @property
    def problem(self) -> str | None:
        """One sentence while prices do not reach the history."""
        return self._trouble.problem

    @property
    def errors(self) -> int:
        """Attempts that failed."""
        return self._trouble.errors

    def offer(self, mode: Mode, price: AssetPrice) -> bool:
        """Take note of *price*, never waiting; whether the history works as far as is known."""
        item = HistoryItem(
            price.asset, price.timestamp_ms // 1000, price.price, price.updated_ms // 1000
        )
        key = (item.asset, item.timestamp_s)
        dropped = False
        with self._lock:
            if self._closed:
                return False
            waiting = self._waiting[mode]
            known = waiting.get(key)
            if known is None or item.updated_s >= known.updated_s:
                waiting[key] = item
            count = self.waiting()
            if count > self._capacity:
                longest = self._waiting[self._longest()]
                del longest[next(iter(longest))]
                dropped = True
        if dropped:
            self._note_drop()
        works = self._trouble.problem is None
        if count >= _BATCH and works:
            self._wake.set()
        return works

    def waiting(self) -> int:
        """Return how many items the history does not have yet."""
        return sum(map(len, self._waiting.values()))

    def unwritten(self, mode: Mode, asset: str, from_s: int, to_s: int) -> list[HistoryItem]:
        """Return the items of *asset* in [from_s, to_s) that the history may not have yet."""
        with self._lock:
            items = list(self._waiting[mode].values())
        return [item for item in items if item.asset == asset and from_s <= item.timestamp_s < to_s]

    def run(self) -> None:
        """Write until closed, then what is left, and close the history."""
        while not self._closing:
            self._turn()
            self._wake.wait(self._trouble.wait_s(_WAIT_S, self._clock.now().mono_ms))
            self._wake.clear()
        self._turn(last=True)
        with self._lock:
            self._closed = True
        if left := self.waiting():
            context = {"items": left, "reason": self._trouble.problem}
            log.error("last prices did not reach the history", extra=context)
        self._history.close()

    def close(self) -> None:
        """Let `run` end."""
        self._closing = True
        self._wake.set()

    def write(self, now: Instant, *, for_s: float = _TURN_S) -> None:
        """Write what waits, oldest first, for up to *for_s* seconds; see to the history."""
        if self._trouble.problem is not None or not self._greeted:
            started = monotonic()
            self._history.ping()
            self._time(started)
            self._greeted = True
        self._write_all(monotonic() + for_s)
        self._trouble.succeeded(self._clock.now().mono_ms)
        if self._retention_ms is not None and now.mono_ms >= self._trim_mono:
            self._trim_mono = now.mono_ms + _TRIM_MS
            self._history.trim((now.wall_ms - self._retention_ms) // 1000)

    def _turn(self, *, last: bool = False) -> None:
        now = self._clock.now()
        if now.mono_ms < self._trouble.retry_mono and not last:
            return
        try:
            self.write(now, for_s=_LAST_S if last else _TURN_S)
        except StorageUnavailable as error:
            self._trouble.failed(str(error), self._clock.now().mono_ms)
        except Exception as error:
            if self._trouble.problem is None:
                log.exception("history could not be written")
            self._trouble.failed(repr(error), self._clock.now().mono_ms)

    def _write_all(self, deadline: float) -> None:
        while self.waiting():
            started = monotonic()
            if started >= deadline:
                self._wake.set()  # go on at once
                break
            mode = self._longest()
            with self._lock:
                batch = dict(islice(self._waiting[mode].items(), self._batch))
            try:
                self._history.append(mode, list(batch.values()))
            finally:
                self._pace(monotonic() - started)
            self._time(started)
            self._settle(mode, batch)

    def _pace(self, took_s: float) -> None:
        """Write fewer items at once if they took long: too many would never be written."""
        if took_s > _TURN_S:
            self._batch = max(_LEAST_BATCH, self._batch // 2)
        else:
            self._batch = min(_BATCH, self._batch + _LEAST_BATCH)

    def _longest(self) -> Mode:
        return max(self._waiting, key=lambda mode: len(self._waiting[mode]))

    def _settle(self, mode: Mode, batch: dict[_Key, HistoryItem]) -> None:
        waiting = self._waiting[mode]
        with self._lock:
            for key, item in batch.items():
                # a newer one may have come meanwhile: it waits on
                if waiting.get(key) is item:
                    del waiting[key]

    def _time(self, started: float) -> None:
        self.latency_ms = round((monotonic() - started) * 1000, 3)

    def _note_drop(self) -> None:
        now_mono = self._clock.now().mono_ms
        with self._lock:
            self.dropped += 1
            self.dropped_mono = now_mono
            items = self._drops.allow("", now_mono)
        if items:
            context = {"items": items, "reason": self._trouble.problem}
            log.error("prices dropped that the history never had", extra=context)
