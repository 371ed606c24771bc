"""What every journal promises."""

import pytest

from marketflow.adapters.storage.journal import FileJournal
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, journal_record
from tests.fakes import MemoryJournal


class MemoryHost:
    """Starts processes whose journals are in memory."""

    def __init__(self):
        self.journal = MemoryJournal()

    def restart(self):
        self.journal.close()
        self.journal = self.journal.reopened()
        return self.journal


class FileHost:
    """Starts processes that share a journal directory."""

    def __init__(self, directory):
        self.directory = directory
        self.journal = self.open()

    def open(self):
        return FileJournal(self.directory, max_bytes=1_000_000, rows_need_ms=5 * MINUTE_MS)

    def restart(self):
        self.journal.close()
        self.journal = self.open()
        return self.journal


@pytest.fixture(params=["memory", "file"])
def host(request, tmp_path):
    host = MemoryHost() if request.param == "memory" else FileHost(tmp_path / "journal")
    yield host
    host.journal.close()


def test_a_new_journal_is_empty_whole_and_without_problems(host):
    assert list(host.journal.replay()) == []
    assert host.journal.complete_from_ms() == 0
    assert host.journal.status().problem is None
    assert host.journal.status().lost_chunks == 0


def test_the_next_process_reads_what_was_appended_in_order_and_to_the_byte(host):
    records = [
        journal_record(0),
        journal_record(0, source="börse 2", mode=Mode.TEST, chunk=bytes(range(256))),
        journal_record(1, received_ms=NOON_MS + 30, chunk=b"x" * 70_000),
        journal_record(2, received_ms=NOON_MS + 10, chunk=b"\n"),
        journal_record(3, received_ms=NOON_MS + MINUTE_MS),
    ]
    for record in records:
        host.journal.append(record)
    assert list(host.restart().replay()) == records


def test_a_process_does_not_replay_its_own_chunks(host):
    host.journal.append(journal_record(0))
    journal = host.restart()
    journal.append(journal_record(1))
    assert list(journal.replay()) == [journal_record(0)]


def test_chunks_of_several_processes_are_replayed_in_their_order(host):
    for number in range(4):
        host.restart().append(journal_record(number))
    journal = host.restart()
    assert [record.number for record in journal.replay()] == [0, 1, 2, 3]
    assert journal.complete_from_ms() == 0


def test_released_chunks_are_gone_and_the_journal_says_from_when_it_is_whole(host):
    for minute in range(4):
        host.journal.append(journal_record(minute, received_ms=NOON_MS + minute * MINUTE_MS))
    journal = host.restart()
    journal.release(NOON_MS + 2 * MINUTE_MS)
    journal = host.restart()
    assert [record.number for record in journal.replay()] == [2, 3]
    assert NOON_MS + MINUTE_MS < journal.complete_from_ms() <= NOON_MS + 2 * MINUTE_MS


def test_releasing_before_everything_keeps_everything(host):
    host.journal.append(journal_record(0))
    host.journal.release(0)
    host.journal.release(NOON_MS)
    journal = host.restart()
    assert list(journal.replay()) == [journal_record(0)]
    assert journal.complete_from_ms() == 0


def test_the_size_grows_with_what_is_appended(host):
    before = host.journal.status().size_bytes
    host.journal.append(journal_record(0, chunk=b"x" * 5_000))
    assert host.journal.status().size_bytes >= before + 5_000


def test_appending_to_a_closed_journal_is_an_error(host):
    host.journal.close()
    with pytest.raises(RuntimeError, match="closed"):
        host.journal.append(journal_record(0))


def test_syncing_and_closing_twice_is_harmless(host):
    host.journal.sync()
    host.journal.append(journal_record(0))
    host.journal.sync()
    host.journal.sync()
    host.journal.close()
    host.journal.close()
    assert host.journal.status().problem is None
