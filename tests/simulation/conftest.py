"""A directory on a disk as fast as there is: histories force every step to it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_MEMORY = Path("/dev/shm")


@pytest.fixture
def scratch(tmp_path):
    if not _MEMORY.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=_MEMORY) as directory:
        yield Path(directory)
