"""In-memory stand-ins for the ports of the asset prices; they keep the promises of the ports."""

from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import NamedTuple

from marketflow.application.asset_ports import Answer, CachedPrice
from marketflow.application.ports import Clock
from marketflow.domain.asset import AssetPrice, HistoryItem
from marketflow.domain.errors import CacheUnavailable, NotAsked, StorageUnavailable
from marketflow.domain.mode import Mode


class Question(NamedTuple):
    """What a source was asked."""

    asset: str
    deadline: float
    tell: Callable[[Answer], None]


class FakeExchange:
    """A source that answers at once with what *answer* makes of an asset.

    Without *answer* questions wait in `waiting` until `tell_all`; set `answer` at any time.
    """

    def __init__(self, exchange: str, answer: Callable[[str], Answer] | None = None) -> None:
        self.exchange = exchange
        self.answer = answer
        self.asked: list[str] = []
        self.waiting: list[Question] = []
        self.closed = False

    def ask(self, asset: str, deadline: float, tell: Callable[[Answer], None]) -> None:
        self.asked.append(asset)
        if self.closed:
            tell(NotAsked("it is closed"))
        elif self.answer is not None:
            tell(self.answer(asset))
        else:
            self.waiting.append(Question(asset, deadline, tell))

    def tell_all(self, answer: Callable[[str], Answer]) -> None:
        """Answer what waits."""
        waiting, self.waiting = self.waiting, []
        for question in waiting:
            question.tell(answer(question.asset))

    def close(self) -> None:
        self.closed = True
        self.tell_all(lambda _: NotAsked("it is closed"))


class MemoryAssetCache:
    """A cache in a dict, whose prices end by *clock*; `puts` counts the writes that succeeded.

    Set `down` to a reason and every use fails with it; clear `free`, and every use waits for it.
    """

    def __init__(self, clock: Clock) -> None:
        self.down: str | None = None
        self.free = Event()
        self.free.set()
        self.puts = 0
        self.gets = 0
        self.pings = 0
        self.closed = False
        self._clock = clock
        self._held: dict[tuple[Mode, str], tuple[AssetPrice, int]] = {}
        self._lock = Lock()

    def put(self, mode: Mode, prices: Sequence[CachedPrice]) -> None:
        self._check()
        now_mono = self._clock.now().mono_ms
        with self._lock:
            self.puts += 1
            for price, ttl_ms in prices:
                self._held[mode, price.asset] = price, now_mono + ttl_ms

    def get(self, mode: Mode, asset: str) -> CachedPrice | None:
        self.gets += 1
        self._check()
        price, expires_mono = self._held.get((mode, asset), (None, 0))
        left_ms = expires_mono - self._clock.now().mono_ms
        return None if price is None or left_ms <= 0 else CachedPrice(price, left_ms)

    def everything(self, mode: Mode, assets: Sequence[str]) -> list[CachedPrice]:
        return [held for asset in assets if (held := self.get(mode, asset)) is not None]

    def ping(self) -> None:
        self._check()
        self.pings += 1

    def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        self.free.wait()
        if self.down is not None:
            raise CacheUnavailable(self.down)


class MemoryAssetHistory:
    """A history in a dict; `appends` holds the size of each write that succeeded.

    Set `down` to a reason and every use fails with it; set `answer_lost` and the next write is
    done, but fails all the same.
    """

    backend = "memory"

    def __init__(self) -> None:
        self.down: str | None = None
        self.answer_lost = False
        self.appends: list[int] = []
        self.trims: list[int] = []
        self.pings = 0
        self.closed = False
        self._items: dict[tuple[Mode, str, int], HistoryItem] = {}

    def append(self, mode: Mode, items: Sequence[HistoryItem]) -> None:
        self._check()
        for item in items:
            key = (mode, item.asset, item.timestamp_s)
            known = self._items.get(key)
            if known is None or item.updated_s >= known.updated_s:
                self._items[key] = item
        if self.answer_lost:
            self.answer_lost = False
            raise StorageUnavailable("the answer was lost")
        self.appends.append(len(items))

    def newest(
        self, mode: Mode, asset: str, from_s: int, to_s: int, limit: int
    ) -> list[HistoryItem]:
        self._check()
        found = [
            item
            for (its_mode, its_asset, at_s), item in self._items.items()
            if (its_mode, its_asset) == (mode, asset) and from_s <= at_s < to_s
        ]
        return sorted(found, key=lambda item: -item.timestamp_s)[:limit]

    def trim(self, before_s: int) -> None:
        self._check()
        self.trims.append(before_s)
        self._items = {key: item for key, item in self._items.items() if key[2] >= before_s}

    def ping(self) -> None:
        self._check()
        self.pings += 1

    def close(self) -> None:
        self.closed = True

    def all(self, mode: Mode) -> set[HistoryItem]:
        """Return every item of *mode*."""
        return {item for key, item in self._items.items() if key[0] is mode}

    def _check(self) -> None:
        if self.down is not None:
            raise StorageUnavailable(self.down)
