import os
import subprocess
import sys

import pytest

from marketflow.adapters.storage.data_dir import DataDirInUse, DataDirLock
from marketflow.domain.errors import StorageUnavailable

HOLDER = """
import sys
from pathlib import Path
from marketflow.adapters.storage.data_dir import DataDirLock

DataDirLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "var")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_directory_is_created_private_and_names_its_user(tmp_path):
    lock = DataDirLock(tmp_path / "deep" / "var")
    lock.acquire()
    assert (tmp_path / "deep" / "var").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "deep" / "var" / "lock").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "deep" / "var" / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()
    lock.release()


def test_a_directory_in_use_is_refused_naming_it_and_its_user(tmp_path, holder):
    with pytest.raises(DataDirInUse) as refused:
        DataDirLock(tmp_path / "var").acquire()
    assert str(refused.value) == (
        f"data_dir must be used by one instance only, was {tmp_path / 'var'}, "
        f"in use by process {holder.pid}"
    )
    assert (tmp_path / "var" / "lock").read_text() == f"{holder.pid}\n"


def test_the_lock_ends_with_its_process(tmp_path, holder):
    holder.kill()
    holder.wait()
    lock = DataDirLock(tmp_path / "var")
    lock.acquire()
    lock.release()


def test_a_released_lock_can_be_taken_again(tmp_path):
    first, second = DataDirLock(tmp_path), DataDirLock(tmp_path)
    first.acquire()
    with pytest.raises(DataDirInUse):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_directory_that_cannot_be_created_is_unavailable(tmp_path):
    (tmp_path / "var").write_text("in the way")
    with pytest.raises(StorageUnavailable, match=r"data_dir .*var: File exists"):
        DataDirLock(tmp_path / "var").acquire()
