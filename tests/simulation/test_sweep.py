"""One history, crashed after its first durable step, after its second, and so on to its end."""

from collections import Counter

import pytest

from tests.simulation.gate import SITES
from tests.simulation.history import play
from tests.simulation.scenario import SCENARIO
from tests.simulation.world import FileDrive, MemoryDrive

_FAULTS = [
    *(("disk", state) for state in ("full", "short", "torn")),
    ("sync", "failing"),
    *((part, state) for part in ("outbox", "store") for state in ("down", "lost")),
    ("refused", "exchange1"),
]
_FOR = 12  # steps of the history that a fault lasts


def test_the_history_takes_every_kind_of_durable_step():
    world = play(SCENARIO, MemoryDrive())
    assert set(SITES) == set(world.gate.sites)
    assert world.steps > 100


@pytest.mark.parametrize("second", [None, 1, 2, 3, 5, 8])
def test_a_crash_after_any_step_and_another_soon_after_it_change_no_row(second):
    deaths = Counter()
    for first in every_step():
        deaths += play_through(SCENARIO, first, second)
    assert set(deaths) == set(SITES)


def test_a_crash_after_any_step_changes_no_row_in_real_files(scratch):
    for first in every_step():
        drive = FileDrive(scratch / str(first))
        try:
            play_through(SCENARIO, first, None, drive)
        finally:
            drive.close()


@pytest.mark.parametrize(("part", "state"), _FAULTS)
def test_a_fault_that_begins_at_any_step_changes_no_row(part, state):
    for at in range(0, len(SCENARIO), 2):
        ending = [("fault", part, None), *SCENARIO[at + _FOR :]]
        story = [*SCENARIO[:at], ("fault", part, state), *SCENARIO[at : at + _FOR], *ending]
        for first in (None, 40, 80):
            play_through(story, first, None)


def every_step():
    return range(1, play(SCENARIO, MemoryDrive()).steps + 1)


def play_through(story, first, second, drive=None):
    crashes = [steps for steps in (first, second) if steps is not None]
    try:
        world = play(story, drive or MemoryDrive(), crashes=crashes)
    except AssertionError as error:
        raise AssertionError(f"crashes={crashes}: {error}") from error
    assert first is None or world.gate.deaths
    return world.gate.deaths
