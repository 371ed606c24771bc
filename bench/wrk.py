"""wrk: one run, and what it printed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.command import output_of

_QUESTIONS = Path(__file__).with_name("questions.lua")
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_PERCENTILE = re.compile(r"^ +(50|99)% +([\d.]+)(us|ms|s|m) *$", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec: +([\d.]+)$", re.MULTILINE)
_BAD_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


@dataclass(frozen=True)
class Run:
    """What one run measured."""

    rate: float  # answers a second
    p50_ms: float
    p99_ms: float
    bad: int  # answers that were no 2xx, and connections that failed


def parse(text: str) -> Run:
    """Read what wrk prints with `--latency`.

    Raises:
        ValueError: it is something else.
    """
    rate = _RATE.search(text)
    latency = {name: float(n) * _UNITS_MS[unit] for name, n, unit in _PERCENTILE.findall(text)}
    if rate is None or len(latency) != 2:
        raise ValueError(f"wrk must print a rate and its latencies, was {text!r}")
    bad = _BAD_STATUS.search(text)
    errors = _SOCKET_ERRORS.search(text)
    failed = sum(map(int, errors.groups())) if errors else 0
    return Run(float(rate[1]), latency["50"], latency["99"], failed + (int(bad[1]) if bad else 0))


def run(
    url: str,
    *,
    connections: int,
    seconds: float,
    questions: str = "",
    headers: Sequence[str] = (),
) -> Run:
    """Ask *url*, or the *questions* of that name in `questions.lua`, with one thread.

    Raises:
        RuntimeError: an answer was bad.
    """
    arguments = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    arguments += [word for header in headers for word in ("-H", header)]
    script = ["-s", str(_QUESTIONS), url, "--", questions] if questions else [url]
    found = parse(output_of("wrk", [*arguments, "--timeout", "10s", *script]))
    if found.bad:
        raise RuntimeError(f"every answer of {url} must be good, {found.bad} were not")
    return found
