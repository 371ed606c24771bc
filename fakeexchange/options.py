"""The command line of `python -m fakeexchange`."""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fakeexchange.faults import KINDS
from fakeexchange.prices import RATE
from fakeexchange.replay import Recording

PORTS = (40101, 40102, 40103)  # of the original exchange programs
HTTP_PORTS = (8081, 8082, 8083)
USAGE = """\
Usage:
  fakeexchange [--port <N>]... [--http-port <N>]... [--host <H>] [--rate <N>] [--seed <N>] [--symbols <LIST>] [--faults <LIST>]
  fakeexchange [--port <N>]... [--http-port <N>]... [--host <H>] --replay <FILE> [--speed <N>] [--faults <LIST>]
  fakeexchange --help

Options:
  --port N         Port number; several for several exchanges
  --http-port N    Port number of an exchange over HTTP, /mock/ticker/{symbol}; several likewise
                   (default of both, if neither is given: 40101 to 40103, and 8081 to 8083 over HTTP)
  --host H         Address to listen on (default: 127.0.0.1)
  --rate N         Lines per second on each connection (default: 50)
  --seed N         Whole number; the same seed gives the same prices (default: different each time;
                   over HTTP 0, where prices also depend on the time)
  --symbols LIST   Pairs, separated by commas (default: BTCUSDT,DOGEUSDT,TONUSDT,SOLUSDT,ETHUSDT;
                   over HTTP those of symbols.csv)
  --replay FILE    Send these recorded lines, timestamps shifted to now, and start over at the end
  --speed N        How many times faster than recorded (default: 1)
  --faults LIST    What goes wrong now and then, separated by commas:
                   drop     closes a connection, in the middle of a line or an answer, every 2 to 10 s
                   stall    goes silent for 6 to 10 s
                   garbage  sends broken lines between the good ones, broken answers over HTTP
                   slow     over HTTP: answers after 0.5 to 5 s
                   error    over HTTP: answers with status 500
                   stale    over HTTP: quotes that are 2 to 15 minutes old
"""  # noqa: E501  as it stands on the screen


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    ports: tuple[int, ...] = PORTS
    http_ports: tuple[int, ...] = HTTP_PORTS
    host: str = "127.0.0.1"
    rate: float = RATE
    seed: int | None = None
    symbols: tuple[str, ...] | None = None  # upper case; None: each kind of exchange has its own
    recording: Recording | None = None
    speed: float = 1.0
    faults: tuple[str, ...] = ()


class _Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        return USAGE

    def error(self, message: str) -> NoReturn:
        # "argument --port: must be" is ours without the first word and the colon
        reason = re.sub(r"^argument (--[\w-]+):", r"\1", message)
        self.exit(2, f"fakeexchange: {reason}\n")


def parse(arguments: Sequence[str]) -> Options:
    """Return the options, or leave with status 2 and one line that says what is wrong."""
    parser = _Parser(prog="fakeexchange", allow_abbrev=False)
    parser.add_argument("--port", type=_port, action="append", dest="ports")
    parser.add_argument("--http-port", type=_port, action="append", dest="http_ports")
    parser.add_argument("--host")
    parser.add_argument("--rate", type=_rate)
    parser.add_argument("--seed", type=_seed)
    parser.add_argument("--symbols", type=_symbols)
    parser.add_argument("--replay", type=_recording, dest="recording")
    parser.add_argument("--speed", type=_speed)
    parser.add_argument("--faults", type=_faults)
    parsed = vars(parser.parse_args(arguments))
    given: dict[str, Any] = {key: value for key, value in parsed.items() if value is not None}
    if "ports" in given or "http_ports" in given:
        for key in ("ports", "http_ports"):
            given[key] = tuple(given.get(key, ()))
        _check_ports(parser, given["ports"], given["http_ports"])
    _check_replay(parser, given)
    return Options(**given)


def _check_ports(parser: _Parser, ports: Sequence[int], http_ports: Sequence[int]) -> None:
    for option, chosen in (("--port", ports), ("--http-port", http_ports)):
        if len(set(chosen)) < len(chosen):
            parser.error(f"{option} must be another one each time, was {_listed(chosen)}")
    if both := [port for port in http_ports if port in ports]:
        parser.error(f"--http-port must be another one than --port, was {_listed(both)}")


def _check_replay(parser: _Parser, given: dict[str, Any]) -> None:
    if "recording" not in given and "speed" in given:
        parser.error("--speed must come with --replay")
    for generated in ("rate", "seed", "symbols"):
        if "recording" in given and generated in given:
            parser.error(f"--{generated} must not come with --replay")
    if "recording" in given and not given.get("ports", PORTS):
        parser.error("--replay must come with --port, or without --http-port")


def _listed(ports: Sequence[int]) -> str:
    return ", ".join(map(str, ports))


def _port(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= 65535:
        return int(text)
    raise _wrong("a whole number from 1 to 65535", text)


def _seed(text: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    raise _wrong("a whole number of up to 18 digits", text)


def _rate(text: str) -> float:
    return _number(text, 0.1, 1_000_000)


def _speed(text: str) -> float:
    return _number(text, 0.01, 10_000)


def _number(text: str, low: float, high: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if low <= number <= high:
        return number
    raise _wrong(f"a number from {low:g} to {high:,.0f}", text)


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(text.upper().split(","))
    if all(re.fullmatch(r"[A-Z0-9]{1,32}", symbol) for symbol in symbols):
        return tuple(dict.fromkeys(symbols))
    raise _wrong("letters and digits, separated by commas", text)


def _faults(text: str) -> tuple[str, ...]:
    faults = tuple(text.split(","))
    if set(faults) <= set(KINDS):
        return faults
    raise _wrong(f"some of {','.join(KINDS)}", text)


def _recording(text: str) -> Recording:
    try:
        return Recording.load(Path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text}: {error.strerror}") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} in {text}") from error


def _wrong(wanted: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"must be {wanted}, was {text!r}")
