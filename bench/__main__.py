"""`make bench`: every figure beside its reference in one run, a table, `bench/results.md`."""

import argparse
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path

from bench import (
    assets,
    drain,
    http_fed,
    http_idle,
    ingest,
    load,
    machine,
    mirror,
    startup,
    stream,
    windows,
)
from bench.binaries import complaint
from bench.session import Session
from tools.processes import Interrupted, Processes

GROUPS: dict[str, Callable[[Session], None]] = {
    "http": http_idle.run,
    "fed": http_fed.fed,
    "flooded": http_fed.flooded,
    "ingest": ingest.run,
    "replay": startup.replay,
    "start": startup.first_answer,
    "load": load.load,
    "growth": load.growth,
    "windows": windows.run,
    "redis": mirror.run,
    "postgres": drain.run,
    "assets": assets.run,
    "stream": stream.run,
}
_RESULTS = Path(__file__).with_name("results.md")


def main() -> int:
    """Measure; 0 if every target was met, 1 if one was missed, 2 if it could not be measured."""
    options = _options()
    if missing := complaint():
        return _complain(missing)
    session = Session(rounds=options.rounds, seconds=options.seconds)
    failures = []
    try:
        with Processes():  # signals wait from here on
            for name in options.only:
                session.group = name
                try:
                    GROUPS[name](session)
                except (RuntimeError, OSError, ValueError, HTTPException) as error:
                    failures.append(f"{name}: {error}")
                    session.tell(f"failed: {error}")
    except Interrupted:
        return _complain("interrupted")
    print(f"\n{session.report.text()}\n")
    _write(session, options, failures)
    for line in [
        *failures,
        *(f"missed: {line.group}: {line.name}" for line in session.report.missed()),
    ]:
        print(line)
    return 2 if failures else int(bool(session.report.missed()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", type=_names, default=list(GROUPS), metavar=",".join(GROUPS))
    parser.add_argument("--rounds", type=int, default=3, help="of each figure")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="where the table goes")
    options = parser.parse_args()
    if options.rounds < 1 or not 1 <= options.seconds <= 60:
        parser.error("--rounds must be at least 1, --seconds from 1 to 60")
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in GROUPS]:
        raise argparse.ArgumentTypeError(f"must be of {','.join(GROUPS)}, was {unknown[0]}")
    return names


def _write(session: Session, options: argparse.Namespace, failures: list[str]) -> None:
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.facts().items())
    command = shlex.join(["make", "bench", f"ARGS={shlex.join(sys.argv[1:])}"])
    notes = "\n".join(f"- failed: {failure}" for failure in failures)
    options.results.write_text(
        f"# What was measured\n\n"
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by `{command}`: {session.rounds} rounds, wrk for"
        f" {session.seconds:g} s with one thread. References run in the same rounds; a ratio is"
        f" formed within its round. Clients, feeders and servers share the cores.\n\n"
        f"{facts}\n\n{session.report.markdown()}\n{notes}",
        encoding="utf-8",
    )


def _complain(sentence: str) -> int:
    print(f"make bench: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
