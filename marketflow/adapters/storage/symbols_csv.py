"""The file that lists the known assets, one a line."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from reprlib import repr as shortened

MAX_LINES = 1_000_000
_MAX_CHARACTERS = 64 * MAX_LINES
_NAME = re.compile(r"[A-Za-z0-9]{1,32}")
_RESERVED = ("latest", "highest", "lowest", "average", "stats")  # routes of these names are others


def read_symbols(path: Path) -> tuple[str, ...]:
    """Return the names in the first column of *path*, in order and in lower case.

    A header `symbol`, blank lines, spaces around a name and further columns are left out.

    Raises:
        ValueError: the file cannot be read, or holds something else; one sentence that says where.
    """
    found: dict[str, int] = {}
    for number, name in _names(_lines(path)):
        lower = name.lower()
        if not _NAME.fullmatch(name):
            wanted = "1 to 32 letters and digits"
        elif lower in _RESERVED:
            wanted = f"none of the reserved words {', '.join(_RESERVED)}"
        elif lower in found:
            wanted = f"another symbol than line {found[lower]}"
        else:
            found[lower] = number
            continue
        raise ValueError(f"{path} line {number} must be {wanted}, was {shortened(name)}")
    if not found:
        raise ValueError(f"{path} must list at least one symbol, was without any")
    return tuple(found)


def _lines(path: Path) -> list[str]:
    try:
        # what is no UTF-8 is no name either, and refused as one
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(_MAX_CHARACTERS + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"{path} must be at most {_MAX_CHARACTERS:,} characters, was longer")
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > MAX_LINES:
        raise ValueError(f"{path} must be at most {MAX_LINES:,} lines, was {len(lines):,}")
    return lines


def _names(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the first column of each line that is not blank, and the line's number."""
    is_first = True
    for number, line in enumerate(lines, start=1):
        if stripped := line.strip():
            name = stripped.partition(",")[0].rstrip()
            if not is_first or name.lower() != "symbol":
                yield number, name
            is_first = False
