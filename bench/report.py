"""What was measured against what is demanded: statistics, verdicts, the table."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

MET, MISSED, SKIPPED, NO_TARGET = "met", "MISSED", "skipped", ""
_HEADINGS = ("figure", "target", "min", "median", "max", "verdict")


@dataclass(frozen=True)
class Target:
    """A bound for the median."""

    bound: float
    at_most: bool

    def holds(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Line:
    """One figure: a sample of each round, or why there is none."""

    group: str
    name: str
    unit: str
    samples: tuple[float, ...]
    target: Target | None = None
    why_not: str = ""

    @property
    def verdict(self) -> str:
        if not self.samples:
            return SKIPPED
        if self.target is None:
            return NO_TARGET
        return MET if self.target.holds(median(self.samples)) else MISSED

    def cells(self) -> tuple[str, ...]:
        """Return the line as text, one for each of the headings."""
        name = f"{self.name}, {self.unit}" if self.unit else self.name
        target = ""
        if self.target is not None:
            sign = "<=" if self.target.at_most else ">="
            target = f"{sign} {shown(self.target.bound)}"
        if not self.samples:
            return (name, target, "", "", "", f"{SKIPPED}: {self.why_not}")
        low, middle, high = min(self.samples), median(self.samples), max(self.samples)
        return (name, target, shown(low), shown(middle), shown(high), self.verdict)


class Report:
    """The lines of one run, in the order they were added."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def add(
        self,
        group: str,
        name: str,
        samples: Sequence[float],
        *,
        unit: str = "",
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Add a figure; at most one of the bounds is its target."""
        self.lines.append(Line(group, name, unit, tuple(samples), _target(at_least, at_most)))

    def skip(
        self,
        group: str,
        name: str,
        why: str,
        *,
        unit: str = "",
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Note a figure that could not be measured."""
        self.lines.append(Line(group, name, unit, (), _target(at_least, at_most), why))

    def missed(self) -> list[Line]:
        return [line for line in self.lines if line.verdict == MISSED]

    def text(self) -> str:
        """Return the table for a terminal."""
        rows = [_HEADINGS, *(line.cells() for line in self.lines)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
        out, group = [_padded(_HEADINGS, widths)], ""
        for line in self.lines:
            if line.group != group:
                group = line.group
                out += ["", group]
            out.append(_padded(line.cells(), widths))
        return "\n".join(out)

    def markdown(self) -> str:
        """Return the table for a document, a part for each group."""
        out: list[str] = []
        group = ""
        for line in self.lines:
            if line.group != group:
                group = line.group
                out += ["", f"## {group}", "", _row(_HEADINGS), "|---|---|---|---|---|---|"]
            out.append(_row(line.cells()))
        return "\n".join(out).lstrip()


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return round by round how many times theirs ours is."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def shown(value: float) -> str:
    """Return *value* with three digits that count, thousands set apart."""
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.1e}"


def _target(at_least: float | None, at_most: float | None) -> Target | None:
    if at_least is not None:
        return Target(at_least, at_most=False)
    return None if at_most is None else Target(at_most, at_most=True)


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *numbers, last = cells
    middle = (cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True))
    return f"{first.ljust(widths[0])}  {'  '.join(middle)}  {last}".rstrip()


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
