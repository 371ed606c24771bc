"""The suite's checks can fail: each bug that is planted here is caught by one of them."""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from marketflow.adapters.exchange import tcp, wire
from marketflow.adapters.storage import outbox, postgres, postgres_connection
from marketflow.application.pipeline import messages
from marketflow.application.pipeline.backlog import Backlog
from marketflow.application.pipeline.collector import Collector
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.folding import Folder
from marketflow.application.pipeline.publisher import Publisher
from marketflow.domain import minute
from marketflow.domain.minute import MinuteRules
from marketflow.domain.stat import PriceStat
from tests.fakes import MemoryOutbox
from tests.faults import plays
from tests.servers import Database, PostgresServer

pytestmark = pytest.mark.slow

Play = Callable[[Database], None]
Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    plant: Plant
    play: Play  # that shows it


def _drop_rows_on_outage(patch: pytest.MonkeyPatch) -> None:
    drain = Flusher._drain

    def forget(self, now):
        drain(self, now)
        if self.store_state.problem:
            self._outbox.acknowledge(self._outbox.oldest(500))

    patch.setattr(Flusher, "_drain", forget)


def _acknowledge_before_commit(patch: pytest.MonkeyPatch) -> None:
    upsert = Flusher._upsert

    def hasty(self, rows):
        self._outbox.acknowledge(rows)
        return upsert(self, rows)

    patch.setattr(Flusher, "_upsert", hasty)


def _acknowledge_any_version(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outbox, "_ACKNOWLEDGE", outbox._ACKNOWLEDGE.replace("tick_count = ?", "? > 0"))


def _keep_rows_in_memory_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryOutbox, "put", lambda self, rows: None)


def _release_the_journal_early(patch: pytest.MonkeyPatch) -> None:
    save = Flusher._save

    def hasty(self):
        save(self)
        self._journal.release(self._watermark_ms - self._retention_ms)

    patch.setattr(Flusher, "_save", hasty)


def _plain_insert(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(postgres, "_UPSERT", postgres._UPSERT.partition("ON CONFLICT")[0])


def _overwrite_with_less(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(postgres, "_UPSERT", postgres._UPSERT.rpartition("WHERE")[0])


def _local_time_zone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(postgres, "_UPSERT", postgres._UPSERT.replace("timestamptz", "timestamp"))


def _no_deadline(patch: pytest.MonkeyPatch) -> None:
    wait = postgres_connection._wait
    # a minute is for ever here, and the next test must not wait for it
    patch.setattr(postgres_connection, "_wait", lambda one, limit: wait(one, limit + 60))


def _average_of_averages(patch: pytest.MonkeyPatch) -> None:
    merge = PriceStat.merge

    def careless(self, later):
        merged = merge(self, later)
        middle = (self.average + later.average) / 2
        return merged._replace(total=middle * merged.ticks, carry=0.0)

    patch.setattr(PriceStat, "merge", careless)
    patch.setattr(minute, "_WAITING", 1)  # so that every chunk is merged


def _minute_of_arrival(patch: pytest.MonkeyPatch) -> None:
    add = Folder.add

    def by_arrival(self, symbol, ticks, text):
        add(self, symbol, ticks, text)
        stats = [of_pair for minute in self.minutes.values() for of_pair in minute.items()]
        self.minutes = {self._rules.end_of(self._received_ms): dict(stats)}

    def minute_of(turns, received_ms, rules):
        return rules.end_of(received_ms) if turns else None

    patch.setattr(Folder, "add", by_arrival)
    patch.setattr(messages, "_minute_of", minute_of)


def _boundary_in_the_old_minute(patch: pytest.MonkeyPatch) -> None:
    def end_of(self, timestamp_ms):
        return -(-timestamp_ms // self.interval_ms) * self.interval_ms

    patch.setattr(MinuteRules, "end_of", end_of)


def _chunks_counted_twice(patch: pytest.MonkeyPatch) -> None:
    absorb = Collector.absorb

    def twice(self, batch):
        absorb(self, batch)
        absorb(self, batch)

    patch.setattr(Collector, "absorb", twice)


def _no_flush_on_sigterm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Collector, "_hand_out_all", lambda self: None)


def _no_stale_timeout(patch: pytest.MonkeyPatch) -> None:
    read = tcp.TcpSource._read

    def patient(self, sock, alarm):
        self._stale_after_s += 60
        return read(self, sock, alarm)

    patch.setattr(tcp.TcpSource, "_read", patient)


def _glue_partial_lines(patch: pytest.MonkeyPatch) -> None:
    shared = wire.LineCutter(65_536)
    patch.setattr(tcp, "LineCutter", lambda max_line: shared)


def _trust_nan(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(wire, "_DECODER", json.JSONDecoder())
    patch.setattr(wire, "_price", lambda value: value if type(value) is float else None)


def _new_ids_for_old_entries(patch: pytest.MonkeyPatch) -> None:
    send = Publisher._send

    def renumber(self, flushes, now_mono):
        for flush in flushes:
            flush.id_ms = 0
        return send(self, flushes, now_mono)

    patch.setattr(Publisher, "_send", renumber)


def _trust_the_mirror_to_keep(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backlog, "rewind", lambda self: None)


BUGS = {
    "rows are dropped on an outage": Bug(_drop_rows_on_outage, plays.an_outage_of_the_store),
    "rows are only in memory": Bug(
        _keep_rows_in_memory_only, plays.a_crash_while_the_store_is_away
    ),
    "rows leave the outbox before COMMIT": Bug(
        _acknowledge_before_commit, plays.a_crash_while_the_store_is_away
    ),
    "rows leave the outbox whatever their version": Bug(
        _acknowledge_any_version, plays.a_late_tick_during_a_write
    ),
    "the journal goes before its rows are safe": Bug(
        _release_the_journal_early, plays.a_crash_while_outbox_and_store_are_away
    ),
    "a plain INSERT": Bug(_plain_insert, plays.a_late_tick),
    "a partial minute overwrites a full one": Bug(
        _overwrite_with_less, plays.a_second_instance_that_knows_less
    ),
    "the local time zone": Bug(_local_time_zone, plays.sessions_in_another_time_zone),
    "no deadline": Bug(_no_deadline, plays.silence_of_postgresql),
    "the average of averages": Bug(_average_of_averages, plays.many_chunks_in_a_minute),
    "the minute of arrival": Bug(_minute_of_arrival, plays.ticks_about_the_end_of_a_minute),
    "a boundary that belongs to the old minute": Bug(
        _boundary_in_the_old_minute, plays.ticks_about_the_end_of_a_minute
    ),
    "a chunk is absorbed twice": Bug(_chunks_counted_twice, plays.many_chunks_in_a_minute),
    "no flush on SIGTERM": Bug(_no_flush_on_sigterm, plays.a_stop_in_the_middle_of_a_minute),
    "no stale timeout": Bug(_no_stale_timeout, plays.an_exchange_that_falls_silent),
    "partial lines are glued": Bug(_glue_partial_lines, plays.a_line_that_is_cut_in_two),
    "NaN is trusted": Bug(_trust_nan, plays.lines_that_are_no_ticks),
    "entries get new ids when sent again": Bug(
        _new_ids_for_old_entries, plays.a_mirror_whose_answer_is_lost
    ),
    "what the mirror lost is not sent again": Bug(
        _trust_the_mirror_to_keep, plays.a_mirror_that_comes_back_empty
    ),
}


@pytest.fixture(scope="module")
def reused_database(postgres: PostgresServer) -> Iterator[Database]:
    with postgres.start().new_database() as database:
        yield database


@pytest.fixture
def database(reused_database: Database) -> Database:
    """An empty one."""
    reused_database.reset()
    return reused_database


PLAYS = {bug.play.__name__: bug.play for bug in BUGS.values()}


@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
def test_without_a_bug_the_checks_pass(database: Database, play: Play):
    play(database)


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_a_bug_is_caught(database: Database, monkeypatch: pytest.MonkeyPatch, bug: Bug):
    bug.plant(monkeypatch)
    with pytest.raises(AssertionError):
        bug.play(database)
