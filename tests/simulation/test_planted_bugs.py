"""The simulation can fail: each bug that is planted into the real code is found."""

import pytest

from tests.simulation.bugs import BUGS, FILE_BUGS
from tests.simulation.history import play
from tests.simulation.randomly import history
from tests.simulation.world import FileDrive, MemoryDrive

_WITHIN = 300  # histories


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        play_all(MemoryDrive() for _ in range(_WITHIN))


@pytest.mark.parametrize("plant", FILE_BUGS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_of_the_files_is_found(plant, monkeypatch, scratch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        play_all(FileDrive(scratch / str(number)) for number in range(_WITHIN))


def play_all(drives):
    for seed, drive in enumerate(drives):
        try:
            play(history(seed), drive)
        finally:
            drive.close()
