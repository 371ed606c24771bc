"""Keeps every price fresh: wakes a few times a second and refreshes what is due."""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from threading import Event
from typing import NamedTuple

from marketflow.application.assets.book import AssetBook
from marketflow.application.assets.flight import Refreshed
from marketflow.application.assets.refreshes import Refreshes
from marketflow.application.assets.schedule import Due, Schedule
from marketflow.application.ports import Clock
from marketflow.domain.asset import AssetCatalog
from marketflow.domain.errors import AssetNotFound
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

_WAKE_S = 0.25  # or more often, if the shortest interval is very short
_MAX_IN_FLIGHT = 256
_PURGE_MS = 60_000


class _Ended(NamedTuple):
    schedule: Schedule
    due: Due
    error: BaseException | None


class Refresher:
    """Follows the mode: after a switch every asset is due once soon.

    With *enabled* False nothing is refreshed by itself; what was asked for is looked after all
    the same.
    """

    def __init__(
        self,
        catalog: AssetCatalog,
        *,
        refreshes: Refreshes,
        books: Mapping[Mode, AssetBook],
        enabled: bool,
        clock: Clock,
        mode: Callable[[], Mode],
    ) -> None:
        self._catalog = catalog
        self._refreshes = refreshes
        self._books = books
        self._enabled = enabled
        self._clock = clock
        self._mode = mode
        self._scheduled: Mode | None = None
        self._schedule = Schedule(AssetCatalog((), ()), 0)
        self._ended: deque[_Ended] = deque()  # filled by whichever thread ends a refresh
        self.in_flight = 0
        self._purge_mono = 0
        self._failing = False
        self._wake_s = min([_WAKE_S, *(tier.every_ms / 10_000 for tier in catalog.tiers)])
        self._closing = Event()

    def run(self) -> None:
        """Refresh until closed."""
        while not self._closing.wait(self._wake_s):
            self._turn()

    def close(self) -> None:
        """Let `run` end."""
        self._closing.set()

    def step(self, now_mono: int) -> None:
        """Start the refreshes that are due, as far as exchanges can be asked."""
        self._refreshes.give_up()
        self._settle(now_mono)
        if now_mono >= self._purge_mono:
            self._purge_mono = now_mono + _PURGE_MS
            for book in self._books.values():
                book.purge(now_mono)
        if not self._enabled:
            return
        mode = self._mode()
        if mode is not self._scheduled:
            self._scheduled = mode
            self._schedule = Schedule(self._catalog, now_mono)
        room = min(_MAX_IN_FLIGHT - self.in_flight, self._refreshes.room())
        for due in self._schedule.take(now_mono, room):
            self.in_flight += 1
            self._refreshes.refresh(due.asset).add_done_callback(
                partial(self._note, self._schedule, due)
            )

    def _turn(self) -> None:
        try:
            self.step(self._clock.now().mono_ms)
        except Exception:
            if not self._failing:
                log.exception("assets could not be refreshed")
            self._failing = True
        else:
            self._failing = False

    def _note(self, schedule: Schedule, due: Due, future: Future[Refreshed]) -> None:
        self._ended.append(_Ended(schedule, due, future.exception()))

    def _settle(self, now_mono: int) -> None:
        while self._ended:
            schedule, due, error = self._ended.popleft()
            self.in_flight -= 1
            # not listed is an answer: it will not be another one in a moment
            if error is None or isinstance(error, AssetNotFound):
                schedule.succeeded(due)
            else:
                schedule.failed(due, now_mono)
