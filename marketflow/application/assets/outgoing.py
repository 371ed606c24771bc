"""What waits for the shared cache: the newest price of each asset, and who wants to know."""

from collections.abc import Callable
from typing import NamedTuple

from marketflow.domain.asset import AssetPrice
from marketflow.domain.mode import Mode

Told = Callable[[bool], None]


class Parcel(NamedTuple):
    """A price, until when it may be told, and who waits for the news that it was taken."""

    mode: Mode
    price: AssetPrice
    expires_mono: int
    told: list[Told]


class Outgoing:
    """Bounded by the number of assets; its owner locks around it."""

    def __init__(self) -> None:
        self._waiting: dict[Mode, dict[str, Parcel]] = {mode: {} for mode in Mode}
        self._sending: list[Parcel] = []

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._sending)

    def add(self, mode: Mode, price: AssetPrice, expires_mono: int, told: Told | None) -> None:
        """Let *price* wait in place of an older one; who waited for that waits for this."""
        known = self._waiting[mode].get(price.asset)
        waiting = [] if known is None else known.told
        if told is not None:
            waiting.append(told)
        self._waiting[mode][price.asset] = Parcel(mode, price, expires_mono, waiting)

    def take(self, limit: int, now_mono: int) -> tuple[list[Parcel], list[Told]]:
        """Return up to *limit* parcels of one mode to be sent, and who waits for expired ones."""
        self.put_back()  # something is left if the thread that sent it died
        lost: list[Told] = []
        mode = max(self._waiting, key=lambda mode: len(self._waiting[mode]))
        waiting = self._waiting[mode]
        while waiting and len(self._sending) < limit:
            parcel = waiting.pop(next(iter(waiting)))
            if parcel.expires_mono > now_mono:
                self._sending.append(parcel)
            else:
                lost += parcel.told
        return list(self._sending), lost

    def put_back(self) -> None:
        """Let what was taken and not sent wait again, unless a newer price does."""
        for parcel in self._sending:
            newer = self._waiting[parcel.mode].setdefault(parcel.price.asset, parcel)
            if newer is not parcel:
                newer.told.extend(parcel.told)
        self._sending = []

    def settle(self) -> list[Told]:
        """Forget what was taken, it was sent; return who waits for that."""
        told = [tell for parcel in self._sending for tell in parcel.told]
        self._sending = []
        return told

    def hear_out(self) -> list[Told]:
        """Return everyone who waits, once; the parcels stay."""
        told: list[Told] = []
        for some in (self._sending, *(waiting.values() for waiting in self._waiting.values())):
            for parcel in some:
                told += parcel.told
                parcel.told.clear()
        return told
