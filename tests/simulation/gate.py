"""Where every durable step passes: it is counted there, and there the process may die."""

from collections import Counter
from dataclasses import dataclass

SITES = (
    "segment made",
    "chunk half written",
    "chunk written",
    "torn chunk cut off",
    "segment forced",
    "directory forced",
    "segment deleted",
    "rows put",
    "store asked",
    "store committed",
    "rows acknowledged",
    "rows parked",
    "outbox trimmed",
)


class Crash(BaseException):
    """The process died right after the step *site*; nothing of ours may catch this."""

    def __init__(self, site):
        super().__init__(site)
        self.site = site


class Gate:
    """Counts durable steps; set `crash_at` to the number of one and the process dies after it."""

    def __init__(self):
        self.steps = 0
        self.crash_at = None
        self._site, self._left = None, 0
        self.sites = Counter()  # how often each kind of step was taken
        self.deaths = Counter()  # and how often it was the last

    def crash_after(self, site, times):
        """Let the process die when it has taken the step *site* so many *times* more."""
        self._site, self._left = site, times

    def calm(self):
        """Let nobody die."""
        self.crash_at = None
        self._site, self._left = None, 0

    def passed(self, site):
        """Note that the step *site* has just taken effect."""
        self.steps += 1
        self.sites[site] += 1
        if site == self._site:
            self._left -= 1
            if self._left == 0:
                self.crash_at = self.steps
        if self.steps == self.crash_at:
            self.deaths[site] += 1
            self.calm()
            raise Crash(site)


@dataclass
class Faults:
    """What does not work now; each is None when all is well."""

    disk: str | None = None  # full: nothing is taken; short: half of it is; torn: nor cut off again
    sync: str | None = None  # failing
    outbox: str | None = None  # down: nothing is done; lost: it is done, and fails all the same
    store: str | None = None  # the same
    refused: str | None = None  # the exchange whose rows the store refuses

    def heal(self):
        self.__init__()

    def is_well(self):
        return self == Faults()
