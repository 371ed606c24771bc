"""Histories made up from a seed."""

from random import Random

from tests.simulation.gate import SITES

_GAPS_MS = [0, 1, 15, 15, 40, 120, 120, 400, 2_500]
_AGES_MS = [0, 0, 0, 30, 1_999, 5_000, 7_000, 9_000, -400]
_PAUSES_MS = [100, 500, 2_500, 12_000, 12_000, 70_000]
_DOWNS_MS = [0, 5, 300, 2_000, 7_000, 65_000, 200_000]
_OFFSETS_MS = [0, 0, 0, 300, -300, -200_000]
_FAULTS = {
    "disk": ["full", "short", "torn"],
    "sync": ["failing"],
    "outbox": ["down", "lost"],
    "store": ["down", "down", "lost"],
    "refused": ["exchange1", "exchange2"],
}


def history(seed, *, steps=(12, 60), disk_faults=None):
    """Return the history of *seed*; two thirds of them have no faults of the journal's disk."""
    rng = Random(seed)
    if disk_faults is None:
        disk_faults = seed % 3 == 0
    maker = _Maker(rng, disk_faults)
    for _ in range(rng.randint(*steps)):
        maker.add()
    return maker.history


class _Maker:
    def __init__(self, rng, disk_faults):
        self.rng = rng
        self.disk_faults = disk_faults
        self.parts = list(_FAULTS) if disk_faults else ["outbox", "store", "refused"]
        self.broken = set()
        self.history = []
        kinds = {
            self._hear: 50,
            self._absorb: 16,
            self._close: 12,
            self._flush: 14,
            self._sync: 3,
            self._pause: 3,
            self._fault: 5,
            self._switch: 2,
            self._calm: 1,
            self._crash: 5,
            self._end: 3,
        }
        self._kinds, self._weights = list(kinds), list(kinds.values())
        self._crash()

    def add(self):
        (kind,) = self.rng.choices(self._kinds, self._weights)
        kind()

    def _note(self, *step):
        self.history.append(step)

    def _hear(self):
        for _ in range(self.rng.choice([1, 1, 2, 5])):
            self.history.append(self._chunk())

    def _chunk(self):
        rng = self.rng
        ticks = [
            (
                rng.randrange(2),
                rng.choice([0.1, 0.3, rng.uniform(1, 2), rng.uniform(1, 2)]),
                rng.choice(_AGES_MS),
            )
            for _ in range(rng.randint(1, 4))
        ]
        return ("hear", rng.randrange(2), ticks, rng.choice(_GAPS_MS))

    def _absorb(self):
        if self.rng.random() < 0.1:
            self._note("absorb_stuck")
        self._note("absorb", self.rng.choice([1, 3, 10, 100]), self.rng.randrange(2**32))

    def _close(self):
        self._note("pause", 100)
        self._note("close")

    def _flush(self):
        self._note("pause", self.rng.choice([0, 50, 1_000]))
        self._note("flush", self.rng.choice([0, 1, 9, 64]))

    def _sync(self):
        self._note("sync")

    def _pause(self):
        self._note("pause", self.rng.choice(_PAUSES_MS))

    def _fault(self):
        part = self.rng.choice(self.parts)
        if part in self.broken and self.rng.random() < 0.7:
            self.broken.remove(part)
            self._note("fault", part, None)
        else:
            self.broken.add(part)
            self._note("fault", part, self.rng.choice(_FAULTS[part]))

    def _switch(self):
        self._note("switch", self.rng.choice([None, None, 0, 1]))

    def _calm(self):
        self._note("calm")
        self.broken.clear()

    def _crash(self):
        self._start()
        self._note("crash_after", self.rng.choice(SITES), self.rng.choice([1, 1, 2, 3, 5, 8]))

    def _end(self):
        rng = self.rng
        ways = ["kill", "stop", "power_cut"] if self.disk_faults else ["kill", "stop"]
        way = rng.choice(ways)
        seed = [rng.randrange(2**32)] if way == "power_cut" else []
        self._note(way, rng.choice(_DOWNS_MS), *seed)
        self._note("clock", rng.choice(_OFFSETS_MS))
        self._start()

    def _start(self):
        if self.rng.random() < 0.3:
            steps = {}
            for _ in range(self.rng.randint(1, 3)):
                what = self.rng.choice([("flush", 0), self._chunk(), self._chunk(), ("stop",)])
                steps.setdefault(self.rng.randint(0, 12), []).append(what)
            self._note("while_restoring", steps)
