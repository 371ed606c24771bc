"""Fan-in: the one writer of windows, minutes and latest prices."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from marketflow.application.pipeline.backoff import Throttle
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.messages import Batch, Closing, Origin, Reset
from marketflow.application.ports import Clock, Instant
from marketflow.application.state import Market, State
from marketflow.application.telemetry import Feed, Telemetry
from marketflow.domain.errors import ChannelClosed
from marketflow.domain.minute import MinuteBook, MinuteKey, MinuteRow, MinuteRules
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

_TAKE = 16  # batches taken at once: each may have to wait for the mirror
_PASS_MS = 100  # late ticks within it share one row
_WATERMARK_MS = 1_000  # how often the flusher is told it without rows
_HAND_OUT_S = 5.0


class Collector:
    """Puts each source's batches back in order, then into windows and minutes."""

    def __init__(
        self,
        batches: Channel[Batch | Reset],
        closings: Channel[Closing],
        *,
        market: Market,
        rules: MinuteRules,
        clock: Clock,
        telemetry: Telemetry,
        watermark_ms: Callable[[int], int],
        offer: Callable[[Batch], None] | None = None,
    ) -> None:
        self._batches = batches
        self._closings = closings
        self._market = market
        self._clock = clock
        self._telemetry = telemetry
        self._watermark_ms = watermark_ms
        self._offer = offer  # to the publisher; waits for moments at most
        self._book = MinuteBook(rules)
        self._book_lock = threading.Lock()
        self._taken: deque[Batch | Reset] = deque()
        self._early: dict[Origin, dict[int, Batch]] = {}
        self._next: dict[Origin, int] = {}
        self._unsent: dict[MinuteKey, MinuteRow] = {}
        self._next_pass_mono = 0
        self._told_ms = 0
        self._discarded_ms = 0
        self._rejections = Throttle()

    def run(self) -> None:
        """Absorb until the channel is closed, then hand out every minute, open ones included."""
        wait_s = 0.0
        while True:
            try:
                messages = self._batches.take(_TAKE, wait_s)
            except ChannelClosed:
                break
            # one by one off the queue: what a dying thread leaves, its successor takes up
            self._taken.extend(messages)
            while self._taken:
                try:
                    self.receive(self._taken.popleft())
                except Exception:
                    log.exception("message could not be received")
            now = self._clock.now()
            wait_s = self._wait_s(now)
            if wait_s <= 0:
                self.close_minutes(now)
                wait_s = self._wait_s(now)
        self._hand_out_all()

    def receive(self, message: Batch | Reset) -> None:
        """Absorb a batch when all before it have been; switch state on a reset."""
        if isinstance(message, Reset):
            self._reset(message)
            return
        origin = message.origin
        if origin.intake != self._market.state.intake:
            # given up by its intake: order no longer matters, the ticks do
            self._settle(message)
            return
        early = self._early.get(origin)
        if not early and message.number == self._next.get(origin, 0):  # hardly ever otherwise
            self._next[origin] = message.number + 1
            self._settle(message)
            return
        if early is None:
            early = self._early[origin] = {}
        early[message.number] = message
        while (batch := early.pop(self._next.get(origin, 0), None)) is not None:
            self._next[origin] = batch.number + 1
            self._settle(batch)

    def absorb(self, batch: Batch, complete_from_ms: int = 0) -> None:
        """Add a batch to its windows, if its intake is the current one, and to its minutes.

        Minutes begun before *complete_from_ms* are not whole and are left out.
        """
        mode, exchange, intake = batch.origin
        state = self._market.state
        if intake == state.intake:
            self._add_to_windows(batch, state)
        first_end_ms = complete_from_ms + self._book.rules.interval_ms
        with self._book_lock:
            if batch.turns_end_ms >= first_end_ms:
                for turn in batch.turns:
                    self._book.add_turn(mode, exchange, batch.turns_end_ms, turn)
            for end_ms, stats in batch.minutes.items():
                if end_ms >= first_end_ms:
                    self._book.add(mode, exchange, end_ms, stats)

    def restore(self, batch: Batch, complete_from_ms: int) -> None:
        """Absorb a batch from the journal; minutes begun before *complete_from_ms* are not whole.

        Those feed the window only, never a row.
        """
        self.absorb(batch, complete_from_ms)
        self._telemetry.replayed += batch.ticks

    def close_minutes(self, now: Instant) -> None:
        """Send the due rows to the flusher, and how far the journal is accounted for."""
        if now.mono_ms < self._next_pass_mono:
            return
        self._next_pass_mono = now.mono_ms + _PASS_MS
        # while a part of the journal was not replayed, nothing is accounted for and no row is whole
        watermark_ms = 0 if self._market.restoring else self._watermark_ms(now.wall_ms)
        with self._book_lock:
            rows = [] if self._market.restoring else self._book.due(now.wall_ms)
            if abs(watermark_ms - self._discarded_ms) >= self._book.rules.interval_ms:
                self._discarded_ms = watermark_ms
                self._book.discard(watermark_ms)
        self._send(rows, watermark_ms)

    def minutes(
        self, mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int
    ) -> list[MinuteRow]:
        """Return a pair's minutes still in memory whose end is in [from_ms, to_ms); any thread."""
        with self._book_lock:
            return list(self._book.rows(mode, symbol, exchange, from_ms, to_ms))

    def _add_to_windows(self, batch: Batch, state: State) -> None:
        exchange, pairs, received_ms = batch.origin.exchange, state.pairs, batch.received_ms
        offset = batch.received_mono - received_ms
        for turn in batch.turns:
            ats = {at: min(at, received_ms) + offset for at in set(turn.timestamps_ms)}
            for symbol, at, price in zip(*turn[:3], strict=True):
                pair = pairs[symbol]
                with pair.lock:
                    pair.note(exchange, pair.windows[exchange].add(ats[at], price, at))
        for symbol, part in batch.parts.items():
            pair = pairs[symbol]
            with pair.lock:
                add = pair.windows[exchange].extend
                pair.note(exchange, add(part.rows, offset, part.price, part.timestamp_ms))

    def _settle(self, batch: Batch) -> None:
        try:
            self.absorb(batch)
            if self._offer is not None:
                self._offer(batch)
        except Exception:
            log.exception("batch could not be absorbed")
            rejects = {**batch.rejects, "collector": batch.ticks}
            batch = replace(batch, parts={}, turns=(), rejects=rejects)
        finally:
            if batch.lane is not None:
                batch.lane.settle()
        self._count(batch, self._telemetry.feeds[batch.origin.exchange])

    def _reset(self, reset: Reset) -> None:
        self._market.state = reset.state
        for feed in self._telemetry.feeds.values():
            feed.restart()
        given_up = [early[number] for early in self._early.values() for number in sorted(early)]
        self._early.clear()
        self._next.clear()
        for batch in given_up:
            self.receive(batch)
        reset.done.set()

    def _count(self, batch: Batch, feed: Feed) -> None:
        count = batch.ticks
        feed.late += batch.late
        for reason, lines in batch.rejects.items():
            feed.rejects[reason] = feed.rejects.get(reason, 0) + lines
            self._tell_rejection(batch, reason, lines)
        if "worker" in batch.rejects:
            feed.failure_mono = batch.received_mono
        if batch.skew_ms:
            feed.skew_ms = batch.skew_ms
            feed.skew_mono = batch.received_mono
        if count:
            feed.last_tick_ms = max(feed.last_tick_ms or 0, batch.newest_ms)
            feed.last_tick_mono = batch.received_mono
            for at_ms, ticks in batch.places().items():
                feed.latency.observe((batch.received_ms - at_ms) / 1000, ticks)
        # last: a reader that sees the count finds everything else already told
        feed.aggregated += count

    def _tell_rejection(self, batch: Batch, reason: str, lines: int) -> None:
        exchange = batch.origin.exchange
        if total := self._rejections.allow(f"{exchange} {reason}", batch.received_mono, lines):
            context = {"source": exchange, "reason": reason, "lines": total}
            log.warning("lines rejected", extra=context)

    def _send(self, rows: list[MinuteRow], watermark_ms: int) -> None:
        self._unsent.update((row.key, row) for row in rows)
        if not self._unsent and abs(watermark_ms - self._told_ms) < _WATERMARK_MS:
            return
        closing = Closing(list(self._unsent.values()), watermark_ms)
        # a flusher that is far behind must not stop prices: what has no room is sent later
        if self._closings.put(closing, timeout=0):
            self._unsent.clear()
            self._told_ms = watermark_ms

    def _hand_out_all(self) -> None:
        if self._market.restoring:
            log.info("stopped while restoring, the journal keeps the open minutes")
            return
        with self._book_lock:
            rows = self._book.touched()
        self._unsent.update((row.key, row) for row in rows)
        if not self._closings.put(Closing(list(self._unsent.values()), 0), timeout=_HAND_OUT_S):
            log.error("last rows were not stored, the journal holds their ticks")

    def _wait_s(self, now: Instant) -> float:
        # until there is a row to send, or the watermark; the book is read by its only writer
        pass_ms = self._next_pass_mono - now.mono_ms
        wait_ms = pass_ms + _WATERMARK_MS - _PASS_MS
        due_ms = now.wall_ms if self._unsent else self._book.next_due_ms()
        if due_ms is not None:
            wait_ms = max(pass_ms, min(wait_ms, due_ms - now.wall_ms))
        return wait_ms / 1000
