"""What goes wrong with answers over HTTP: late, refused, broken, old, cut off."""

import json
from collections.abc import Collection
from http import HTTPStatus
from random import Random

from fakeexchange.faults import Faults, Plan
from fakeexchange.http_messages import Answer, complaint

_WRONG_PRICES: tuple[object, ...] = (
    "much",
    None,
    True,
    -1.5,
    0,
    [],
    {"usd": 1.5},
    float("nan"),
    float("inf"),
)


class AnswerFaults:
    """Decides what happens to each answer; times are monotonic milliseconds, called in order."""

    def __init__(self, kinds: Collection[str], random: Random, plan: Plan | None = None) -> None:
        self._kinds = frozenset(kinds)
        self._random = random
        self._plan = plan or Plan()
        self._timed = Faults(kinds, random, plan)

    def age_s(self) -> float:
        """Return how old the next quote shall be."""
        happens = self._happens("stale", self._plan.stale_share)
        return self._plan.stale_by.pick(self._random) / 1000.0 if happens else 0.0

    def spoil(self, answer: Answer, now_ms: float) -> Answer:
        """Return *answer* with what goes wrong with it, mostly nothing."""
        wait_ms = max(0.0, self._timed.silent_until(now_ms) - now_ms)
        if self._happens("slow", self._plan.slow_share):
            wait_ms += self._plan.slow_for.pick(self._random)
        if self._timed.drops(now_ms):
            answer = answer._replace(is_cut=True)
        elif self._happens("error", self._plan.error_share):
            answer = complaint(HTTPStatus.INTERNAL_SERVER_ERROR, "an error fault was due")
        elif self._happens("garbage", self._plan.garbage_share):
            answer = self._garbage(answer)
        return answer._replace(wait_ms=wait_ms)

    def _happens(self, kind: str, share: float) -> bool:
        return kind in self._kinds and self._random.random() < share

    def _garbage(self, answer: Answer) -> Answer:
        body = answer.body
        spoilt = json.loads(body) | {"price": self._random.choice(_WRONG_PRICES)}
        return self._random.choice(
            (
                answer._replace(is_cut=True),
                answer._replace(body=body[: len(body) // 2]),
                answer._replace(body=json.dumps(spoilt).encode()),
                answer._replace(body=json.dumps(spoilt).encode()),
                answer._replace(body=json.dumps([spoilt]).encode()),
                answer._replace(body=b'{"symbol":"%b"}' % (b"x" * 100_000)),
                answer._replace(body=self._random.randbytes(60)),
                answer._replace(body=b"<html>Bad Gateway</html>"),
                answer._replace(body=b""),
            )
        )
