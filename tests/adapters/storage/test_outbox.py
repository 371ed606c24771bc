import errno
import logging
import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.adapters.storage.outbox import SqliteOutbox
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row
from tests.fakes import ManualClock

DAY_MS = 86_400_000
LIMIT = 100_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "outbox.db"


@pytest.fixture
def open_outbox(path):
    opened = []

    def open_outbox(max_bytes=10_000_000):
        outbox = outbox_at(path, max_bytes)
        opened.append(outbox)
        return outbox

    yield open_outbox
    for outbox in opened:
        outbox.close()


def outbox_at(path, max_bytes=10_000_000):
    clock = ManualClock(wall_ms=NOON_MS)
    return SqliteOutbox(path, max_age_ms=7 * DAY_MS, max_bytes=max_bytes, clock=clock)


def minutes(count, **changes):
    return [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS, **changes) for n in range(count)]


def test_rows_and_their_number_survive_the_process(open_outbox, path):
    outbox = open_outbox()
    outbox.put(minutes(3))
    outbox.close()
    again = open_outbox()
    assert again.oldest(LIMIT) == minutes(3)
    assert again.count() == 3
    assert path.stat().st_mode & 0o777 == 0o600


WRITER = """
import sys
from pathlib import Path
from tests.adapters.storage.test_outbox import minutes, outbox_at

outbox = outbox_at(Path(sys.argv[1]))
for number, row in enumerate(minutes(10_000)):
    outbox.put([row])
    print(number, flush=True)
"""


def test_after_kill_9_every_row_whose_put_returned_is_there(open_outbox, path):
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        for _ in range(100):
            last = int(writer.stdout.readline())
        writer.kill()
        for line in writer.stdout:
            last = int(line)
    found = open_outbox().oldest(LIMIT)
    assert found == minutes(len(found))
    assert len(found) - 1 in (last, last + 1)


def test_threads_may_put_and_acknowledge_at_once(open_outbox):
    outbox = open_outbox()

    def work(exchange):
        for row in minutes(40, exchange=exchange):
            outbox.put([row, minute_row(exchange=exchange, pair_name="KEPT")])
            outbox.acknowledge([row])

    threads = [threading.Thread(target=work, args=(f"exchange{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.pair_name for row in outbox.oldest(LIMIT)] == ["KEPT"] * 3
    assert outbox.count() == 3


def test_over_its_bytes_the_oldest_rows_go_and_are_counted(open_outbox, path):
    outbox = open_outbox(max_bytes=300_000)
    rows = minutes(3_000)
    outbox.put(rows)
    dropped = outbox.trim(NOON_MS)
    assert 0 < dropped < 3_000
    assert outbox.count() == 3_000 - dropped
    kept = outbox.oldest(LIMIT)
    assert kept == rows[dropped:]
    for _ in range(5):
        outbox.trim(NOON_MS)
    assert outbox.count() > 500, "trimming converges instead of emptying"
    outbox.close()
    connection = sqlite3.connect(path)
    ((pages,),) = connection.execute("PRAGMA page_count")
    ((free,),) = connection.execute("PRAGMA freelist_count")
    connection.close()
    assert (pages - free) * 4096 <= 300_000


def test_an_outbox_within_its_bounds_is_left_alone(open_outbox):
    outbox = open_outbox()
    outbox.put(minutes(10))
    assert outbox.trim(NOON_MS + DAY_MS) == 0
    assert outbox.count() == 10


def test_an_outbox_found_corrupt_is_set_aside_and_another_one_started(open_outbox, path, caplog):
    outbox = open_outbox()
    outbox.put(minutes(200))
    outbox.close()
    corrupt = b"not a database" * 1_000
    path.write_bytes(corrupt)
    outbox = open_outbox()
    outbox.put([minute_row(exchange="exchange2")])
    assert outbox.oldest(LIMIT) == [minute_row(exchange="exchange2")]
    assert outbox.count() == 1
    assert path.with_name("outbox.db.corrupt-20250505T120000.000Z").read_bytes() == corrupt
    assert path.stat().st_mode & 0o777 == 0o600
    assert [record.message for record in caplog.records] == [
        "outbox is corrupt, set aside and started anew"
    ]


def test_an_outbox_that_becomes_corrupt_is_set_aside_too(open_outbox, path, caplog):
    outbox = open_outbox()
    outbox.put(minutes(20_000))  # far more than is cached, and all of it in the main file
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 4_000_000)
    assert outbox.oldest(LIMIT) == []
    outbox.put([minute_row(exchange="exchange2")])
    assert outbox.oldest(LIMIT) == [minute_row(exchange="exchange2")]
    assert outbox.count() == 1
    (aside,) = path.parent.glob("outbox.db.corrupt-*")
    assert aside.stat().st_size > 4_000_000
    (error,) = caplog.records
    assert error.levelno == logging.ERROR
    assert error.rows_lost == 20_000


@pytest.mark.parametrize(
    "damage", [(b"CREATE", b"CRXATE"), (b"average", b"aver\xc5ge"), (b"tick_count", b"tock_count")]
)
def test_an_outbox_whose_schema_is_damaged_is_set_aside(open_outbox, path, damage):
    outbox = open_outbox()
    outbox.put(minutes(3))
    outbox.close()
    path.write_bytes(path.read_bytes().replace(*damage))
    outbox = open_outbox()
    outbox.put([minute_row(exchange="exchange2")])
    assert outbox.oldest(LIMIT) == [minute_row(exchange="exchange2")]


def places_in(content):
    # the first page is left out: there a byte may turn the schema into another that is as good
    return st.integers(4096, len(content) - 1)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_byte_is_wrong_the_outbox_goes_on(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    outbox = outbox_at(path)
    outbox.put(minutes(40))
    outbox.close()
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(places_in(content))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    outbox = outbox_at(path)
    new = minute_row(exchange="new", timestamp_ms=NOON_MS - MINUTE_MS)
    for _ in range(2):
        outbox.put([new])
        kept = outbox.oldest(LIMIT)
        outbox.rows(Mode.LIVE, "BTCUSDT", None, 0, NOON_MS)
    outbox.acknowledge(kept)
    outbox.trim(NOON_MS)
    outbox.close()
    assert new in kept


def test_two_threads_that_meet_the_same_corruption_set_one_file_aside(open_outbox, path):
    outbox = open_outbox()
    outbox.put(minutes(200))
    outbox.close()
    path.write_bytes(b"not a database" * 1_000)
    outbox = open_outbox()
    start = threading.Barrier(4)

    def put(number):
        start.wait()
        outbox.put([minute_row(exchange=f"exchange{number}")])

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outbox.oldest(LIMIT)) == 4
    assert len(list(path.parent.glob("*Z"))) == 1


def test_an_outbox_that_cannot_be_opened_is_unavailable_until_it_can(open_outbox, path):
    path.parent.write_text("in the way")
    outbox = open_outbox()
    for use in (
        lambda: outbox.put([minute_row()]),
        lambda: outbox.oldest(1),
        lambda: outbox.acknowledge([minute_row()]),
        lambda: outbox.rows(Mode.LIVE, "BTCUSDT", None, 0, NOON_MS),
        lambda: outbox.trim(NOON_MS),
    ):
        with pytest.raises(StorageUnavailable, match=r"^outbox outbox\.db: File exists$"):
            use()
    assert outbox.count() == 0
    path.parent.unlink()
    outbox.put([minute_row()])
    assert outbox.count() == 1


def test_a_read_only_disk_is_unavailable_and_keeps_the_rows(open_outbox, path):
    outbox = open_outbox()
    outbox.put(minutes(2))

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refuse)
        path.rename(path.with_name("away.db"))
        with pytest.raises(StorageUnavailable, match="Read-only file system"):
            outbox.put(minutes(3))
    path.with_name("away.db").rename(path)
    outbox.put(minutes(3))
    assert outbox.count() == 3


LIMITED = """
import resource, signal, sys
from pathlib import Path
from marketflow.domain.errors import StorageUnavailable
from tests.adapters.storage.test_outbox import LIMIT, minutes, outbox_at

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outbox = outbox_at(Path(sys.argv[1]))
outbox.put(minutes(100))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for attempt in range(2):
    try:
        outbox.put(minutes(5_000))
    except StorageUnavailable as error:
        print(error)
print(len(outbox.oldest(LIMIT)), outbox.count())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
outbox.put(minutes(5_000))
print(len(outbox.oldest(LIMIT)), outbox.count())
outbox.close()
"""


def test_a_full_disk_is_unavailable_keeps_the_rows_and_heals(path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], check=True, capture_output=True, text=True
    )
    *refusals, full, healed = done.stdout.splitlines()
    assert len(refusals) == 2
    assert all(line.startswith("outbox outbox.db: ") for line in refusals)
    assert full == "100 100"
    assert healed == "5000 5000"
