"""Make a failing history as short as it can be: `python -m tests.simulation.shrink SEED`."""

import sys

from tests.simulation.history import play
from tests.simulation.randomly import history
from tests.simulation.world import MemoryDrive


def shrink(story):
    """Return *story* without the steps and ticks that its failure does not need."""
    size = len(story) // 2
    while size:
        at = 0
        while at < len(story):
            shorter = story[:at] + story[at + size :]
            if failure(shorter):
                story = shorter
            else:
                at += size
        size //= 2
    for at, step in enumerate(story):
        if step[0] == "hear":
            story = _with_fewer_ticks(story, at)
    return story


def failure(story):
    """Return why *story* fails, None if it does not."""
    try:
        play(story, MemoryDrive())
    except AssertionError as error:
        return str(error) or repr(error)
    return None


def _with_fewer_ticks(story, at):
    for tick in story[at][2]:
        name, source, ticks, gap_ms = story[at]
        fewer = [other for other in ticks if other is not tick]
        shorter = [*story[:at], (name, source, fewer, gap_ms), *story[at + 1 :]]
        if fewer and failure(shorter):
            story = shorter
    return story


if __name__ == "__main__":
    whole = history(int(sys.argv[1]))
    if failure(whole) is None:
        sys.exit("the history does not fail")
    short = shrink(whole)
    print(*short, sep="\n")
    print(failure(short))
