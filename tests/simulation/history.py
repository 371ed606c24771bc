"""Histories: lists of steps that can be written down, played, and played again."""

import logging
from contextlib import contextmanager

import pytest

from marketflow.adapters.storage import journal
from tests.simulation.gate import Crash
from tests.simulation.life import Life
from tests.simulation.world import World

_DOWN_MS = 300  # between a crash and the next start


def play(history, drive, *, crashes=()):
    """Play *history*, then mend everything, and judge what is stored; return the world.

    A step is a method of `Life` with its arguments, or one of these:

    - ("crash_after", site, n): the process dies after its n-th such durable step from now
    - ("kill", down_ms), ("stop", down_ms), ("power_cut", down_ms, seed): it ends here
    - ("clock", offset_ms): the next process' clock is so far ahead of the true time
    - ("while_restoring", {n: [steps]}): the next process does that before its n-th record

    After a crash the history goes on with its next step, in another process. *crashes* are
    the numbers of durable steps after which processes die, counted from the last such death.
    """
    world = World(drive)
    with _installed(world):
        player = _Player(world, list(crashes))
        for step in history:
            player.take(step)
        player.finish()
    return world


class _Player:
    def __init__(self, world, crashes):
        self.world = world
        self.life = None
        self.while_restoring = None
        self.crashes = crashes
        self._arm()

    def take(self, step):
        name, *arguments = step
        try:
            if name == "clock":
                (self.world.offset_ms,) = arguments
            elif name == "while_restoring":
                (self.while_restoring,) = arguments
            elif name == "crash_after":
                self.world.gate.crash_after(*arguments)
            elif name in ("kill", "stop", "power_cut"):
                self._end(name, *arguments)
            else:
                self._alive().take(step)
        except Crash:
            self._bury(_DOWN_MS)
            self._arm()

    def finish(self):
        """Let everything work, restart, and judge."""
        world = self.world
        world.steps = world.gate.steps
        if self.life is not None:
            self._bury(_DOWN_MS)
        world.gate.calm()
        world.faults.heal()
        world.offset_ms = 0
        self.while_restoring = None
        self._alive().calm()
        self._end("stop", _DOWN_MS)
        outbox = world.new_outbox()
        outbox.oldest(1)  # opens it
        assert (outbox.count(), outbox.parked()) == (0, 0)
        world.judged, world.damaged = world.oracle.judge(world.rows())

    def _arm(self):
        if self.crashes:
            self.world.gate.crash_at = self.world.gate.steps + self.crashes.pop(0)

    def _alive(self):
        while self.life is None:
            steps, self.while_restoring = self.while_restoring, None
            life = Life(self.world, while_restoring=steps)
            if life.interrupted:
                life.stop()
                self._bury(_DOWN_MS)
            else:
                self.life = life
        return self.life

    def _end(self, how, down_ms, seed=0):
        life = self._alive()
        if how == "stop":
            life.stop()
        self._bury(down_ms)
        if how == "power_cut":
            self.world.cut_power(seed)

    def _bury(self, down_ms):
        self.life = None
        self.world.end_process(down_ms)


@contextmanager
def _installed(world):
    """Let the journal use the world's disk, quietly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "os", world.os)
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
            world.os.end_process()
