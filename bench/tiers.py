"""How punctually assets were refreshed, read from their stored history."""

import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

SYMBOLS = Path(__file__).resolve().parents[1] / "symbols.csv"
TIERS = (("hot", 20, 5), ("medium", 180, 30), ("cold", None, 180))  # name, assets, seconds
FIRST_WITHIN_S = 60
_LATEST = 1.5  # intervals
_ROUNDING_S = 1  # stored times are whole seconds
# from one refresh to the next, and from the last one to the end
_LONGEST_PAUSE = """
SELECT asset, max(pause), min(updated_at) FROM (
    SELECT asset, updated_at,
        lead(updated_at, 1, ?) OVER (PARTITION BY asset ORDER BY updated_at) - updated_at AS pause
    FROM asset_prices
) GROUP BY asset
"""


class Punctuality(NamedTuple):
    """One tier's worst: longest pause between two refreshes, and the last first refresh."""

    tier: str
    assets: int  # with any refresh
    wanted: int
    every_s: int
    longest_pause_s: int
    last_first_s: int

    @property
    def kept(self) -> bool:
        """Whether no asset was later than allowed."""
        return (
            self.assets == self.wanted
            and self.longest_pause_s <= _LATEST * self.every_s + _ROUNDING_S
            and self.last_first_s <= FIRST_WITHIN_S + _ROUNDING_S
        )


def punctuality(database: Path, started_s: int, ended_s: int) -> list[Punctuality]:
    """Return each tier's, of a service that ran from *started_s* to *ended_s*."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(_LONGEST_PAUSE, (ended_s,)).fetchall()
    found = {asset: (pause, first - started_s) for asset, pause, first in rows}
    names = iter(SYMBOLS.read_text(encoding="utf-8").split()[1:])
    tiers = []
    for tier, count, every_s in TIERS:
        members = list(islice(names, count))
        known = [found[name] for name in members if name in found]
        tiers.append(
            Punctuality(
                tier,
                len(known),
                len(members),
                every_s,
                max((pause for pause, _ in known), default=0),
                max((first for _, first in known), default=0),
            )
        )
    return tiers
