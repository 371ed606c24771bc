"""The command line: arguments to settings, and what is printed instead of starting."""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from marketflow import __version__, logfmt
from marketflow.config import Loaded, load, parse_setting
from marketflow.settings import ConfigError

HELP = """\
Usage:
  marketflow [--port <N>]
  marketflow --help

Options:
  --port N     Port number
  --host H     Address to listen on
  --config FILE
               Configuration, default: config.json beside marketflow.py
  --mode live|test
               Mode to start in
  --data-dir DIR
               Directory for the journal and the databases
  --log-level debug|info|warning|error
               What to log from
  --log-format text|json
               How to log
  --check-config
               Print the configuration in effect, secrets hidden, and exit
  --version    Print the version and exit
  --help       Print this text and exit

Every setting can also come from the environment: http.port is MARKETFLOW_HTTP_PORT,
and MARKETFLOW_HTTP_PORT_FILE names a file that holds it. The command line beats the
environment, the environment beats the file.
"""

_FLAGS = ("--help", "--version", "--check-config")
_SETTINGS = {
    "--port": "http.port",
    "--host": "http.host",
    "--mode": "mode",
    "--data-dir": "data_dir",
    "--log-level": "log.level",
    "--log-format": "log.format",
}
_WITH_VALUE = ("--config", *_SETTINGS)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class UsageError(Exception):
    """Arguments that cannot be understood; the message is one sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what *argv* (None: the process's arguments) asks for and return the exit status."""
    try:
        options = _parse(sys.argv[1:] if argv is None else argv)
        if "--help" in options:
            return _print(HELP)
        if "--version" in options:
            return _print(f"marketflow {__version__}\n")
        overrides = {
            key: parse_setting(key, options[option], option)
            for option, key in _SETTINGS.items()
            if option in options
        }
    except (UsageError, ConfigError) as error:
        return _complain(f"{error}; try --help")
    try:
        loaded = load(_config_path(options.get("--config")), os.environ, overrides)
    except ConfigError as error:
        return _complain(str(error))
    if "--check-config" in options:
        return _check(loaded)
    return _run(loaded)


def _parse(argv: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = iter(argv)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option not in _FLAGS and option not in _WITH_VALUE:
            kind = "option" if argument.startswith("-") else "argument"
            raise UsageError(f"unknown {kind} {option!r}")
        if option in options:
            raise UsageError(f"{option} must be given once")
        if option in _FLAGS:
            if equals:
                raise UsageError(f"{option} takes no value")
        else:
            value = value if equals else next(rest, "")
            if not value or (not equals and value.startswith("--")):
                raise UsageError(f"{option} needs a value")
        options[option] = value
    return options


def _config_path(given: str | None) -> Path | None:
    if given is not None:
        return Path(given)
    path = Path(__file__).resolve().parents[1] / "config.json"
    if not path.is_file():
        return None
    try:
        return path.relative_to(Path.cwd())  # reads better in messages
    except (ValueError, OSError):  # started from elsewhere, or from a deleted directory
        return path


def _check(loaded: Loaded) -> int:
    from marketflow.quoting import check_quoting  # noqa: PLC0415  late, as in `_run`

    try:
        check_quoting(loaded.config)
    except ConfigError as error:
        return _complain(str(error))
    for warning in loaded.warnings:
        _complain(warning)
    return _print(json.dumps(loaded.config.shown(), indent=2) + "\n")


def _run(loaded: Loaded) -> int:
    logfmt.configure(loaded.config.log.level, loaded.config.log.format)
    # late, so that --help and complaints do not wait for the whole service to be imported
    from marketflow.app import run  # noqa: PLC0415

    return run(loaded.config, loaded.warnings)


def _print(text: str) -> int:
    try:
        print(text, end="", flush=True)
    except OSError as error:
        # Python would try again at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _complain(f"standard output cannot be written: {error.strerror}")
        return 1
    return 0


def _complain(message: str) -> int:
    line = _CONTROL.sub(lambda found: repr(found[0])[1:-1], message)
    print(f"marketflow: {line}", file=sys.stderr)
    return 2
