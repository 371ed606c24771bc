"""One run of the benchmark: how often, how long, and where figures and progress go."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from bench.report import Report, shown


@dataclass
class Session:
    """What every group is given."""

    rounds: int = 3
    seconds: float = 3.0  # of one run of wrk; the others derive theirs
    report: Report = field(default_factory=Report)
    began: float = field(default_factory=monotonic)
    group: str = ""

    def each_round(self) -> Iterator[int]:
        """Yield the numbers of the rounds, from 1."""
        yield from range(1, self.rounds + 1)

    def tell(self, what: str, value: float | None = None, unit: str = "") -> None:
        """Show progress."""
        took = monotonic() - self.began
        figure = "" if value is None else f": {shown(value)} {unit}".rstrip()
        print(f"{took:6.1f} s  {self.group:9} {what}{figure}", file=sys.stderr, flush=True)
