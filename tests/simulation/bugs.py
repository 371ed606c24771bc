"""Bugs to plant: each makes one promise of the pipeline untrue, in the real code."""

from marketflow.adapters.storage import minute_table
from marketflow.adapters.storage.journal import FileJournal
from marketflow.adapters.storage.segment import Segment
from marketflow.application.pipeline.collector import Collector
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.restorer import Restorer
from marketflow.domain.minute import MinuteBook
from marketflow.domain.stat import PriceStat
from tests.fakes import _Rows


def acknowledge_before_the_store_has_committed(patch):
    def empty_outbox(self):
        while self._outbox.count():
            rows = self._read_outbox()
            if not rows or not self._acknowledge(rows, []):
                return False
            self._upsert(rows)
        return True

    patch.setattr(Flusher, "_empty_outbox", empty_outbox)


def release_the_journal_before_the_outbox_has_the_rows(patch):
    save = Flusher._save

    def release_and_save(self):
        if self._watermark_ms:
            self._journal.release(self._watermark_ms - self._retention_ms)
        save(self)

    patch.setattr(Flusher, "_save", release_and_save)


def release_the_journal_while_its_minutes_can_change(patch):
    release = FileJournal.release
    patch.setattr(FileJournal, "release", lambda self, before_ms: release(self, before_ms + 10_000))


def release_the_journal_of_chunks_still_on_their_way(patch):
    patch.setattr(Lane, "oldest_ms", lambda self: None)


def drop_rows_when_the_outbox_is_down(patch):
    patch.setattr(Flusher, "_bound_unsaved", lambda self: self._unsaved.clear())


def delete_refused_rows(patch):
    acknowledge = Flusher._acknowledge
    patch.setattr(Flusher, "_acknowledge", lambda self, rows, refused: acknowledge(self, rows, []))


def drop_refused_rows_when_the_outbox_is_down(patch):
    upsert = Flusher._upsert

    def upsert_and_forget(self, rows):
        refused = upsert(self, rows)
        return [] if self._unsaved else refused

    patch.setattr(Flusher, "_upsert", upsert_and_forget)


def let_any_version_replace_the_stored_one(patch):
    def keep(self, rows):
        self.check()
        self._rows.update((row.key, row) for row in rows)

    patch.setattr(_Rows, "keep", keep)


def upsert_without_comparing_tick_counts(patch):
    statement, _, _ = minute_table.UPSERT.rpartition("WHERE")
    patch.setattr(minute_table, "UPSERT", statement)


def discard_minutes_that_late_ticks_can_touch(patch):
    def discard(self, watermark_ms):
        for origin in [one for one, minute in self._minutes.items() if not minute.is_touched]:
            if origin[-1] < watermark_ms:
                del self._minutes[origin]

    patch.setattr(MinuteBook, "discard", discard)


def take_minutes_for_whole_that_the_journal_holds_in_part(patch):
    restore = Collector.restore
    patch.setattr(Collector, "restore", lambda self, batch, _: restore(self, batch, 0))


def forget_that_ticks_may_be_ahead_of_us(patch):
    run = Restorer.run

    def run_without(self):
        self._max_clock_skew_ms = 0
        run(self)

    patch.setattr(Restorer, "run", run_without)


def hand_out_minutes_after_a_stop_while_restoring(patch):
    run = Restorer.run

    def run_and_pretend(self):
        run(self)
        self._market.restoring = False

    patch.setattr(Restorer, "run", run_and_pretend)


def replay_the_start_mode_alone(patch):
    restore = Restorer._restore

    def restore_some(self, record, complete_from_ms):
        if record.mode == self._market.state.mode:
            restore(self, record, complete_from_ms)

    patch.setattr(Restorer, "_restore", restore_some)


def journal_a_chunk_after_it_was_queued(patch):
    append, close = FileJournal.append, FileJournal.close

    def append_the_one_before(self, record):
        before, self.held = getattr(self, "held", None), record
        if before is not None:
            append(self, before)

    def append_and_close(self):
        if getattr(self, "held", None) is not None:
            append(self, self.held)
        close(self)

    patch.setattr(FileJournal, "append", append_the_one_before)
    patch.setattr(FileJournal, "close", append_and_close)


def go_on_in_a_segment_after_a_torn_write(patch):
    patch.setattr(FileJournal, "_break_off", lambda self, reason, at_ms: self._lose(at_ms))


def forget_to_force_segments_that_are_full(patch):
    retire = FileJournal._retire

    def retire_and_close(self):
        retire(self)
        while self._retired:
            self._retired.pop()

    patch.setattr(FileJournal, "_retire", retire_and_close)


def take_a_segment_without_a_header_for_a_loss(patch):
    patch.setattr(Segment, "is_blank", False)


def drop_the_open_minutes_on_a_mode_switch(patch):
    reset = Collector._reset

    def reset_with_book(self, message):
        self._book = MinuteBook(self._book.rules)
        reset(self, message)

    patch.setattr(Collector, "_reset", reset_with_book)


def absorb_batches_as_they_come(patch):
    receive = Collector.receive

    def receive_at_once(self, message):
        if hasattr(message, "parts"):
            self._settle(message)
        else:
            receive(self, message)

    patch.setattr(Collector, "receive", receive_at_once)


def average_the_averages(patch):
    merge = PriceStat.merge

    def merge_means(self, later):
        merged = merge(self, later)
        mean = (self.average + later.average) / 2
        return merged._replace(total=mean * merged.ticks, carry=0.0)

    patch.setattr(PriceStat, "merge", merge_means)


BUGS = (
    acknowledge_before_the_store_has_committed,
    release_the_journal_before_the_outbox_has_the_rows,
    release_the_journal_while_its_minutes_can_change,
    release_the_journal_of_chunks_still_on_their_way,
    drop_rows_when_the_outbox_is_down,
    delete_refused_rows,
    drop_refused_rows_when_the_outbox_is_down,
    let_any_version_replace_the_stored_one,
    discard_minutes_that_late_ticks_can_touch,
    take_minutes_for_whole_that_the_journal_holds_in_part,
    forget_that_ticks_may_be_ahead_of_us,
    hand_out_minutes_after_a_stop_while_restoring,
    replay_the_start_mode_alone,
    journal_a_chunk_after_it_was_queued,
    go_on_in_a_segment_after_a_torn_write,
    forget_to_force_segments_that_are_full,
    take_a_segment_without_a_header_for_a_loss,
    drop_the_open_minutes_on_a_mode_switch,
    absorb_batches_as_they_come,
    average_the_averages,
)
FILE_BUGS = (upsert_without_comparing_tick_counts,)  # these need the real store
