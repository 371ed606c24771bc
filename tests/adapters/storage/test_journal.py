import errno
import logging
import os
import subprocess
import sys
import threading

import pytest

from marketflow.adapters.storage import journal as journal_module
from marketflow.adapters.storage.journal import FileJournal, NoJournal
from tests.examples import MINUTE_MS, NOON_MS, journal_record


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "var" / "journal"


@pytest.fixture
def open_journal(directory):
    opened = []

    def open_journal(max_bytes=10_000_000, rows_need_ms=5 * MINUTE_MS):
        journal = FileJournal(directory, max_bytes=max_bytes, rows_need_ms=rows_need_ms)
        opened.append(journal)
        return journal

    yield open_journal
    for journal in opened:
        journal.close()


def numbers(journal):
    return [record.number for record in journal.replay()]


def messages(caplog, level):
    return [record.message for record in caplog.records if record.levelno == level]


def test_nothing_is_created_before_the_first_chunk(open_journal, directory):
    journal = open_journal()
    journal.sync()
    journal.release(NOON_MS)
    assert not directory.exists()


def test_files_are_private(open_journal, directory):
    open_journal().append(journal_record(0))
    (segment,) = directory.iterdir()
    assert segment.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.parent.stat().st_mode & 0o777 == 0o700


def test_a_chunk_is_one_write(open_journal, monkeypatch):
    writes = []
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, parts: writes.append(fd) or writev(fd, parts))
    journal = open_journal()
    for number in range(5):
        journal.append(journal_record(number))
    assert len(writes) == 5


def test_each_minute_has_a_segment_and_overtaken_chunks_do_not_begin_another(
    open_journal, directory
):
    journal = open_journal()
    for number, after_ms in enumerate((0, 59_999, 60_000, 59_998, 60_001, 120_000)):
        journal.append(journal_record(number, received_ms=NOON_MS + after_ms))
    assert len(list(directory.iterdir())) == 3
    assert numbers(open_journal()) == [0, 1, 2, 3, 4, 5]


def test_a_clock_set_back_begins_a_segment_and_keeps_the_order_of_arrival(open_journal, directory):
    journal = open_journal()
    journal.append(journal_record(0))
    journal.append(journal_record(1, received_ms=NOON_MS - 60 * MINUTE_MS))
    assert len(list(directory.iterdir())) == 2
    assert numbers(open_journal()) == [0, 1]


def test_a_large_minute_is_several_segments(open_journal, directory, monkeypatch):
    monkeypatch.setattr(journal_module, "_SEGMENT_BYTES", 10_000)
    journal = open_journal()
    for number in range(10):
        journal.append(journal_record(number, chunk=b"x" * 4_000))
    journal.append(journal_record(10, chunk=b"x" * 20_000))
    assert [path.stat().st_size > 20_000 for path in sorted(directory.iterdir())] == [False] * 5 + [
        True
    ]
    assert numbers(open_journal()) == list(range(11))


def test_a_segment_is_released_when_its_whole_minute_is_over(open_journal, directory):
    journal = open_journal()
    for minute in range(3):
        journal.append(journal_record(minute, received_ms=NOON_MS + minute * MINUTE_MS + 500))
    journal.release(NOON_MS + MINUTE_MS - 1)
    assert len(list(directory.iterdir())) == 3
    journal.release(NOON_MS + MINUTE_MS)
    assert len(list(directory.iterdir())) == 2
    journal.release(NOON_MS + 1000 * MINUTE_MS)
    assert len(list(directory.iterdir())) == 1, "the one being written stays"
    assert journal.status().size_bytes == sum(path.stat().st_size for path in directory.iterdir())
    assert open_journal().complete_from_ms() == NOON_MS + MINUTE_MS + 501, (
        "just after the last gone"
    )


def test_the_size_counts_the_header_and_what_earlier_processes_left(open_journal, directory):
    for number in range(3):
        open_journal().append(journal_record(number))
    on_disk = sum(path.stat().st_size for path in directory.iterdir())
    assert open_journal().status().size_bytes == on_disk


def test_a_first_segment_that_was_killed_before_its_header_is_skipped(
    open_journal, directory, caplog
):
    directory.mkdir(parents=True)
    (directory / f"0000000001-{NOON_MS}.seg").write_bytes(b"")
    journal = open_journal()
    assert numbers(journal) == []
    assert journal.complete_from_ms() == 0, "there was nothing in it, so nothing was lost"
    journal.append(journal_record())
    assert open_journal().complete_from_ms() == 0
    assert not caplog.records


def test_a_torn_segment_costs_its_tail_and_is_named(open_journal, directory, caplog):
    for run in ((0, 1, 2), (10, 11)):
        journal = open_journal()
        for number in run:
            journal.append(journal_record(number))
    first = min(directory.iterdir())
    data = first.read_bytes()
    first.write_bytes(data[:-3])
    assert numbers(open_journal()) == [0, 1, 10, 11]
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (warning.segment, warning.offset) == (first.name, 15 + (len(data) - 15) // 3 * 2)


def test_a_segment_that_cannot_be_read_does_not_hide_the_others(open_journal, directory, caplog):
    for number in range(3):
        open_journal().append(journal_record(number))
    second = sorted(directory.iterdir())[1]
    second.unlink()
    second.mkdir()
    assert numbers(open_journal()) == [0, 2]
    assert len(messages(caplog, logging.WARNING)) == 1


def test_segments_of_this_process_are_not_added_to_an_earlier_one(open_journal, directory):
    open_journal().append(journal_record(0))
    (first,) = directory.iterdir()
    before = first.read_bytes()
    journal = open_journal()
    journal.append(journal_record(1))
    assert first.read_bytes() == before
    assert numbers(journal) == [0]


def test_many_threads_may_append_at_once(open_journal):
    journal = open_journal()

    def write(source):
        for number in range(300):
            journal.append(
                journal_record(
                    number, source=source, received_ms=NOON_MS + number * 500, chunk=b"x" * number
                )
            )

    threads = [threading.Thread(target=write, args=(f"exchange{n}",)) for n in range(4)]
    stop = threading.Event()

    def keep_syncing():
        while not stop.is_set():
            journal.sync()

    syncer = threading.Thread(target=keep_syncing)
    for thread in [syncer, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    syncer.join()
    found = list(open_journal().replay())
    for n in range(4):
        mine = [record for record in found if record.source == f"exchange{n}"]
        assert [len(record.chunk) for record in mine] == list(range(300))
    assert len(found) == 1200
    assert journal.status().problem is None


def test_appending_does_not_wait_for_the_disk(open_journal, monkeypatch):
    journal = open_journal()
    journal.append(journal_record(0))
    syncing, go_on = threading.Event(), threading.Event()

    def slow(fd):
        syncing.set()
        assert go_on.wait(10)

    monkeypatch.setattr(os, "fdatasync", slow)
    thread = threading.Thread(target=journal.sync)
    thread.start()
    assert syncing.wait(10)
    journal.append(journal_record(1))
    journal.append(journal_record(2, received_ms=NOON_MS + MINUTE_MS))
    go_on.set()
    thread.join()
    assert numbers(open_journal()) == [0, 1, 2]


def test_only_what_was_written_is_synced(open_journal, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    journal = open_journal()
    journal.append(journal_record(0))
    journal.append(journal_record(1, received_ms=NOON_MS + MINUTE_MS))
    journal.sync()
    journal.sync()
    assert len(synced) == 2, "the segment that was left, and the current one, once"


def failing_writev(error, *, short=False):
    writev = os.writev

    def fail(fd, parts):
        if short:
            writev(fd, [b"".join(parts)[:-1]])
            return len(b"".join(parts)) - 1
        raise error

    return fail


@pytest.mark.parametrize("short", [False, True])
def test_a_full_disk_loses_chunks_says_so_and_heals(open_journal, directory, caplog, short):
    caplog.set_level(logging.INFO)
    journal = open_journal()
    journal.append(journal_record(0))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "writev", failing_writev(full, short=short))
        for number in range(1, 41):
            journal.append(journal_record(number, received_ms=NOON_MS + number * 100))
            journal.sync()
    status = journal.status()
    assert status.lost_chunks == 40
    assert status.problem.startswith("journal cannot be written: ")
    assert short or status.problem.endswith("No space left on device")
    assert len(list(directory.iterdir())) == 1, "no litter while the disk is full"
    journal.append(journal_record(41, received_ms=NOON_MS + 5_000))
    assert journal.status().problem is None
    assert messages(caplog, logging.ERROR) == ["journal cannot be written"]
    (healed,) = [record for record in caplog.records if record.levelno == logging.INFO]
    assert (healed.message, healed.for_s, healed.lost_chunks) == (
        "journal is written again",
        4.9,
        40,
    )
    assert numbers(open_journal()) == [0, 41]
    assert messages(caplog, logging.WARNING) == [], "no torn tail is left"


def test_a_failing_disk_is_asked_about_once_a_second(open_journal, monkeypatch):
    attempts = []

    def fail(fd, parts):
        attempts.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "writev", fail)
    journal = open_journal()
    for number in range(1000):
        journal.append(journal_record(number, received_ms=NOON_MS + number * 10))
    assert len(attempts) == 10
    assert journal.status().lost_chunks == 1000


def test_a_directory_that_cannot_be_created_is_a_problem_until_it_can(open_journal, directory):
    directory.parent.write_text("in the way")
    journal = open_journal()
    journal.append(journal_record(0))
    assert journal.status().problem == "journal cannot be written: File exists"
    directory.parent.unlink()
    journal.append(journal_record(1, received_ms=NOON_MS + 1_000))
    assert journal.status().problem is None
    assert journal.status().lost_chunks == 1
    journal = open_journal()
    assert numbers(journal) == [1]
    assert journal.complete_from_ms() == NOON_MS + 1, "what came first was lost"


def test_a_deleted_segment_is_noticed_by_the_next_sync(open_journal, directory, caplog):
    journal = open_journal()
    journal.append(journal_record(0))
    (segment,) = directory.iterdir()
    segment.unlink()
    directory.rmdir()
    journal.sync()
    journal.append(journal_record(1))
    assert numbers(open_journal()) == [1]
    assert messages(caplog, logging.WARNING) == ["journal segment was deleted, starting another"]


def test_a_disk_that_cannot_sync_is_a_problem_until_it_can(open_journal, caplog):
    journal = open_journal()

    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        for number in range(3):
            journal.append(journal_record(number))
            journal.sync()
    assert journal.status().problem == "journal cannot be synced: Input/output error"
    assert messages(caplog, logging.ERROR) == ["journal cannot be synced"]
    journal.append(journal_record(3))
    journal.sync()
    assert journal.status().problem is None


def test_a_segment_that_cannot_be_deleted_is_a_problem_until_it_can(open_journal, directory):
    journal = open_journal()
    for minute in range(2):
        journal.append(journal_record(minute, received_ms=NOON_MS + minute * MINUTE_MS))
    oldest = min(directory.iterdir())
    content = oldest.read_bytes()
    oldest.unlink()
    oldest.mkdir()
    journal.release(NOON_MS + MINUTE_MS)
    assert journal.status().problem.startswith("journal cannot be released: ")
    oldest.rmdir()
    oldest.write_bytes(content)
    journal.release(NOON_MS + MINUTE_MS)
    assert journal.status().problem is None
    assert not oldest.exists()


def test_over_its_bound_the_window_loses_its_share_first(open_journal):
    journal = open_journal(max_bytes=5_000, rows_need_ms=2 * MINUTE_MS)
    for minute in range(6):
        journal.append(
            journal_record(minute, received_ms=NOON_MS + minute * MINUTE_MS, chunk=b"x" * 1_100)
        )
        assert journal.status().size_bytes <= 5_000
    assert journal.status().problem is None
    journal = open_journal(max_bytes=5_000)
    assert numbers(journal) == [2, 3, 4, 5]
    assert journal.complete_from_ms() == NOON_MS + MINUTE_MS + 1


def test_over_its_bound_with_rows_still_open_it_stops_until_there_is_room(open_journal, caplog):
    journal = open_journal(max_bytes=5_000)
    for number in range(6):
        journal.append(
            journal_record(number, received_ms=NOON_MS + number * 20_000, chunk=b"x" * 1_100)
        )
    status = journal.status()
    assert status.lost_chunks == 2
    assert status.problem == (
        "journal cannot be written: journal.max_bytes (5000) is full of chunks still needed"
    )
    assert status.size_bytes <= 5_000
    journal.release(NOON_MS + MINUTE_MS)
    journal.append(journal_record(6, received_ms=NOON_MS + 2 * MINUTE_MS))
    assert journal.status().problem is None
    assert numbers(open_journal()) == [3, 6]
    assert messages(caplog, logging.ERROR) == ["journal cannot be written"]


WRITER = """
import sys
from pathlib import Path
from marketflow.adapters.storage.journal import FileJournal
from tests.examples import NOON_MS, journal_record

journal = FileJournal(Path(sys.argv[1]), max_bytes=10**9, rows_need_ms=300_000)
for number in range(10**9):
    journal.append(
        journal_record(
            number, source=sys.argv[2], received_ms=NOON_MS + 500 * number, chunk=b"x" * 3_000
        )
    )
    print(number, flush=True)
"""


def test_after_kill_9_every_chunk_whose_append_returned_is_there(open_journal, directory):
    returned = {}
    for run in ("one", "two", "three"):
        command = [sys.executable, "-c", WRITER, str(directory), run]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(500):
                returned[run] = int(writer.stdout.readline())
            writer.kill()
            for line in writer.stdout:
                returned[run] = int(line)
    journal = open_journal()
    assert journal.complete_from_ms() == 0
    found = list(journal.replay())
    for run, last in returned.items():
        mine = [record.number for record in found if record.source == run]
        assert mine == list(range(len(mine)))
        # the last append may have returned without being told
        assert len(mine) - 1 in (last, last + 1)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from marketflow.adapters.storage.journal import FileJournal
from tests.examples import NOON_MS, journal_record

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
journal = FileJournal(Path(sys.argv[1]), max_bytes=10**9, rows_need_ms=300_000)
for number in range(10):
    journal.append(journal_record(number, received_ms=NOON_MS + number * 1000, chunk=b"x" * 3_000))
print(journal.status().lost_chunks, journal.status().problem)
journal.close()
"""


def test_a_write_that_the_system_cuts_short_is_left_out_and_the_next_goes_elsewhere(
    open_journal, directory, caplog
):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(directory)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "2 None\n"
    assert numbers(open_journal()) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert messages(caplog, logging.WARNING) == []


def test_without_a_journal_only_minutes_begun_after_the_start_are_whole():
    journal = NoJournal(NOON_MS)
    journal.append(journal_record(0))
    journal.sync()
    journal.release(NOON_MS)
    assert list(journal.replay()) == []
    assert journal.complete_from_ms() == NOON_MS
    assert journal.status() == (0, None, 0, 0)
    journal.close()
