"""`make servers`: PostgreSQL, Redis, and what else the tests need, found or installed."""

# ruff: noqa: T201  it talks to a terminal

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"  # Debian keeps them out of PATH
_OLDEST = {"postgres": (15,), "redis-server": (6, 2), "chromium": (100,), "prometheus": (2,)}
SERVERS = ("postgres", "redis-server")
_FOR_TESTS = (*SERVERS, "chromium", "prometheus")
_NAMES = {
    "postgres": "PostgreSQL",
    "redis-server": "Redis",
    "chromium": "Chromium",
    "prometheus": "Prometheus",
}
_PACKAGES = {"postgres": "postgresql", "initdb": "postgresql"}
_OTHER_NAMES = {"chromium": ("chromium-browser", "google-chrome")}
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")
# asked before a service is started by its package: 101 is no
_POLICY = Path("/usr/sbin/policy-rc.d")
_START_NOTHING = "#!/bin/sh\nexit 101\n"


def find_binary(name: str) -> str:
    """Return the path of a program that is new enough; of PATH, or else the newest PostgreSQL's.

    Raises:
        FileNotFoundError: there is none; says what to install.
    """
    too_old = ""
    for path in _candidates(name):
        version = _version(path) if name in _OLDEST else ()
        if version >= _OLDEST.get(name, ()):
            return path
        too_old = f", was {_dotted(version)}"
    wanted = f" and {_dotted(_OLDEST[name])} or newer" if too_old else ""
    raise FileNotFoundError(
        f"{name} must be in PATH or {POSTGRES_FOLDERS}{wanted}{too_old}: "
        f"install it with `apt-get install {_package(name)}`"
    )


def complaint(programs: Sequence[str] = SERVERS) -> str | None:
    """Return one sentence if one of *programs* is missing or too old: what to install."""
    missing = _missing(programs)
    if not missing:
        return None
    *others, last = (f"{_NAMES[name]} {_dotted(_OLDEST[name])}" for name in programs)
    return (
        f"{', '.join(others)} and {last} or newer must be installed, "
        f"there was no such {' and no '.join(missing)}: "
        f"run `apt-get install {' '.join(map(_package, missing))}`"
    )


def main() -> int:
    """Look for the programs, and install what is missing if root has apt-get; 1 if it is."""
    parser = argparse.ArgumentParser(prog="make servers", description=__doc__)
    parser.parse_args()
    found = complaint(_FOR_TESTS)
    if found and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(map(_package, _missing(_FOR_TESTS)))
        found = complaint(_FOR_TESTS)
    if found:
        print(f"marketflow: {found}", file=sys.stderr)
        return 1
    return 0


def _candidates(name: str) -> Iterator[str]:
    for spelling in (name, *_OTHER_NAMES.get(name, ())):
        if in_path := shutil.which(spelling):
            yield in_path
    base, _, pattern = POSTGRES_FOLDERS.partition("*")
    folders = [path for path in Path(base).glob(f"*{pattern}") if path.parent.name.isdigit()]
    for folder in sorted(folders, key=lambda path: int(path.parent.name), reverse=True):
        if beside := shutil.which(name, path=str(folder)):
            yield beside


def _version(path: str) -> tuple[int, ...]:
    try:
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603  a program of the system's
    except OSError:
        return ()
    found = re.search(r"(?:\) |v=|Chrom\w+ |version )(\d+(?:\.\d+)*)", asked.stdout)
    return tuple(map(int, found[1].split("."))) if found else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "unusable"


def _package(name: str) -> str:
    return _PACKAGES.get(name, name)


def _missing(programs: Iterable[str]) -> list[str]:
    return [name for name in programs if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        find_binary(name)
    except FileNotFoundError:
        return False
    return True


def _install(packages: Iterable[str]) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # one at a time: a package that this system does not have must not keep the others away
    commands = [("apt-get", "update"), *((*_INSTALL, package) for package in packages)]
    with _no_services():
        for command in commands:
            print(f"for the tests: {' '.join(command)}", file=sys.stderr)
            # what goes wrong is told by apt-get, and seen when we look again
            subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False)  # noqa: S603  a constant


@contextmanager
def _no_services() -> Iterator[None]:
    """Let packages start no service meanwhile: only their programs are wanted."""
    if _POLICY.exists():  # the administrator's: it stays
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the file must not be left behind
    try:
        _POLICY.write_text(_START_NOTHING, encoding="ascii")
        _POLICY.chmod(0o755)
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
