"""The judge: knows every tick that was heard, which of them may be lost, and every stored row."""

from marketflow.adapters.storage.segment import SEGMENT_MS
from marketflow.domain.minute import MinuteKey
from tests.application.ledger import Ledger, check_row


class Chunk:
    """A chunk that one life of the process heard."""

    def __init__(self, life, record):
        self.life = life
        self.record = record
        self.journaled = True
        self.forced = False  # to the disk: not even a power cut may take it
        self.gap_ms = 1  # if it is lost, the journal may be whole again so much later


class Oracle(Ledger):
    """Judges versions of rows by what the life that made them can have known.

    A life knows what earlier ones have journaled, and all that it heard itself; a version of n
    ticks is the first n of those. So a tick can be missing for one reason alone: the journal
    had lost it, and a version from a later life was the better informed.
    """

    def __init__(self, *, interval_ms, late_intervals, skew_ms):
        super().__init__(interval_ms=interval_ms, late_intervals=late_intervals)
        self.life = 0
        self.chunks = []
        self._skew_ms = skew_ms
        self._gap_until_ms = 0  # by then all that a life had lost at the journal's start was heard
        self._origins = {}  # MinuteKey -> the chunk of each of its ticks
        self._known = {}  # MinuteRow -> the places of its ticks among the key's
        self._rows = {}  # MinuteKey -> places, of the row in the store
        self._best = {}  # MinuteKey -> ticks of the best version that outbox or store ever had

    def hear(self, record, ticks, received_mono):
        """Note a chunk, as its *record* would be in the journal, and its (symbol, price, at)."""
        chunk = Chunk(self.life, record)
        self.chunks.append(chunk)
        received_ms = record.received_ms
        for symbol, price, at_ms in ticks:
            if at_ms > received_ms + self._skew_ms:
                continue
            before = self.late
            args = (record.mode, record.source, symbol, price, at_ms)
            self.add(*args, received_ms=received_ms, received_mono=received_mono)
            if self.late == before:
                key = self._key(record, symbol, at_ms)
                self._origins.setdefault(key, []).append(chunk)
        return chunk

    def restore(self, complete_from_ms):
        """Note that a life takes the journal for whole from *complete_from_ms* on."""
        if any(
            not chunk.journaled
            and -self._skew_ms <= complete_from_ms - chunk.record.received_ms <= chunk.gap_ms
            for chunk in self.chunks
        ):
            self._gap_until_ms = max(self._gap_until_ms, complete_from_ms)

    def end_life(self):
        """Note that what comes next is another process' doing."""
        self.life += 1

    def lose_all_but(self, records):
        """Note what a power cut has left in the journal."""
        for chunk in self.chunks:
            if chunk.journaled and not chunk.forced and chunk.record not in records:
                chunk.journaled = False
                chunk.gap_ms = SEGMENT_MS  # what was forced no longer says when it was heard

    def force(self):
        """Note that all that the present life journaled is on the disk."""
        for chunk in reversed(self.chunks):
            if chunk.forced or chunk.life < self.life:
                return
            chunk.forced = True

    def identify(self, row):
        """Find out which ticks a version of a row was made of: it must be those it may be."""
        if row in self._known:
            return
        key = row.key
        ticks = self.minutes.get(key, ())
        views = [self._view(key)]
        if self._is_gap(key):
            views.append([at for at in views[0] if self._origins[key][at].life == self.life])
        for view in views:
            places = view[: row.tick_count]
            if places and _is_made_of(row, [ticks[at] for at in places]):
                self._known[row] = frozenset(places)
                return
        heard = [ticks[at] for at in views[0]]
        raise AssertionError(f"{row} must be made of the first of {heard}")

    def kept(self, row):
        """Note a version that will outlive a crash."""
        self._best[row.key] = max(self._best.get(row.key, 0), row.tick_count)

    def stored(self, row):
        """Judge a row as it stands in the store: of the ticks that it had none may be gone."""
        key = row.key
        assert row in self._known, f"{row} must have been handed out, was invented"
        places = self._known[row]
        gone = {
            at
            for at in self._rows.get(key, frozenset()) - places
            if self._origins[key][at].journaled and not self._is_gap(key)
        }
        assert not gone, f"{row} must keep {[self.minutes[key][at] for at in gone]}"
        self._rows[key] = places
        self.kept(row)

    def judge(self, rows, *, until_ms=2**60, parked=()):
        """Judge all rows of minutes that ended by *until_ms*; *parked* keys may be missing.

        Returns how many minutes were judged, and of how many the journal had lost something.
        """
        found = {row.key: row for row in rows}
        assert len(found) == len(rows), "a key must be stored once"
        assert found.keys() <= self.minutes.keys(), "a row must have a tick"
        ended = [key for key in self.minutes if key.end_ms <= until_ms and key not in parked]
        damaged = 0
        for key in ended:
            view, gap, row = self._view(key), self._is_gap(key), found.get(key)
            if len(view) == len(self.minutes[key]) and not gap:
                assert row is not None, f"{key} must be stored"
                check_row(row, self.minutes[key])
                continue
            damaged += 1
            least = max(self._best.get(key, 0), 0 if gap else len(view))
            count = row.tick_count if row else 0
            assert count >= least, f"{key} must have {least} ticks, was {count}"
            assert row is None or row in self._known, f"{row} must have been handed out"
        return len(ended), damaged

    def _view(self, key):
        """Return the places of the ticks that the present life knows of."""
        return [
            at
            for at, chunk in enumerate(self._origins.get(key, ()))
            if chunk.journaled or chunk.life == self.life
        ]

    def _is_gap(self, key):
        """Whether a life had reason not to make a row of what the journal holds of the minute."""
        return key.end_ms - self.interval_ms - self._skew_ms < self._gap_until_ms

    def _key(self, record, symbol, at_ms):
        end_ms = at_ms - at_ms % self.interval_ms + self.interval_ms
        return MinuteKey(record.mode, record.source, symbol, end_ms)


def _is_made_of(row, ticks):
    try:
        check_row(row, ticks)
    except AssertionError:
        return False
    return True
