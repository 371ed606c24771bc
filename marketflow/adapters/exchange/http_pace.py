"""Not faster than an exchange allows."""

_CATCH_UP_S = 0.01  # a timer is late by up to that much, and would cost that much of the rate


class Pace:
    """Spaces what it lets through evenly, *per_s* in a second; None: as it comes."""

    def __init__(self, per_s: float | None) -> None:
        self._every_s = 1 / per_s if per_s else 0.0
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Return for how many seconds nothing may go, 0 if something may."""
        return max(0.0, self._next - now)

    def spend(self, now: float) -> None:
        """Count one that goes at *now*."""
        self._next = max(self._next, now - _CATCH_UP_S) + self._every_s
