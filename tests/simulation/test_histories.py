"""Thousands of histories made up from seeds: whatever fails and dies, the rows are what was heard.

To see the shortest history that fails as a seed's does: `python -m tests.simulation.shrink SEED`.
"""

import pytest

from tests.simulation.history import play
from tests.simulation.randomly import history
from tests.simulation.world import FileDrive, MemoryDrive

_HISTORIES = 2_000
_GROUPS = 10
_IN_FILES = range(10_000, 10_100)
_LONG = range(20_000, 20_015)


@pytest.mark.parametrize("group", range(_GROUPS))
def test_in_the_end_the_stored_rows_are_what_was_heard(group):
    judged = damaged = 0
    for seed in range(group, _HISTORIES, _GROUPS):
        world = judge(seed, history(seed), MemoryDrive())
        judged += world.judged
        damaged += world.damaged
    assert judged > 5_000
    assert damaged < judged / 5, "most must be judged without mercy"


def test_so_they_are_in_real_files(scratch):
    for seed in _IN_FILES:
        judge(seed, history(seed), FileDrive(scratch / str(seed)))


def test_so_they_are_after_histories_of_which_the_journal_has_forgotten_most():
    forgotten = 0
    for seed in _LONG:
        world = judge(seed, history(seed, steps=(400, 500)), MemoryDrive())
        forgotten += world.gate.sites["segment deleted"]
    assert forgotten > 10 * len(_LONG)


def judge(seed, story, drive):
    """Play *story*; a failure names its seed."""
    try:
        return play(story, drive)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    finally:
        drive.close()
