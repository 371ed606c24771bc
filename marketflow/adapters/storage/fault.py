"""Something that fails for a while, told once when it starts and once when it ends."""

import logging

log = logging.getLogger(__name__)


class Fault:
    """The state of one thing that may fail; `problem` is a sentence while it does.

    *failing* and *working* are what the log says when either begins.
    """

    def __init__(self, failing: str, working: str) -> None:
        self.problem: str | None = None
        self._failing = failing
        self._working = working
        self._since_ms = 0

    def begin(self, reason: str, at_ms: int) -> None:
        """Note that it fails, if that is news."""
        if self.problem is None:
            self._since_ms = at_ms
            log.error(self._failing, extra={"reason": reason})
        self.problem = f"{self._failing}: {reason}"

    def end(self, at_ms: int, **context: int) -> None:
        """Note that it works, if that is news."""
        if self.problem is not None:
            self.problem = None
            for_s = round((at_ms - self._since_ms) / 1000, 1)
            log.info(self._working, extra={"for_s": for_s, **context})
