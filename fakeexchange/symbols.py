"""The assets that the exchanges over HTTP list: those of `symbols.csv`."""

from pathlib import Path

PATH = Path(__file__).parents[1] / "symbols.csv"


def listed(path: Path = PATH) -> tuple[str, ...]:
    """Return the first column of *path* below its header, in lower case.

    Raises:
        OSError: it cannot be read.
    """
    _, *lines = path.read_text(encoding="utf-8-sig").splitlines()
    return tuple(line.partition(",")[0].strip().lower() for line in lines if line.strip())
