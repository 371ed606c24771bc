"""`make servers`: the programs of PostgreSQL and Redis, found or installed."""

# ruff: noqa: T201  it talks to a terminal

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"  # Debian keeps them out of PATH
_OLDEST = {"postgres": (15,), "redis-server": (6, 2)}
_PACKAGES = {"postgres": "postgresql", "initdb": "postgresql", "redis-server": "redis-server"}
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "postgresql", "redis-server")
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
        f"install it with `apt-get install {_PACKAGES.get(name, name)}`"
    )


def complaint() -> str | None:
    """Return one sentence if PostgreSQL or Redis is missing or too old: what to install."""
    missing = [name for name in _OLDEST if not _is_there(name)]
    if not missing:
        return None
    return (
        "PostgreSQL 15 and Redis 6.2 or newer must be installed, "
        f"there was no such {' and no '.join(missing)}: "
        "run `apt-get install postgresql redis-server`"
    )


def main() -> int:
    """Look for the programs, and install what is missing if root has apt-get; 1 if it is."""
    parser = argparse.ArgumentParser(prog="make servers", description=__doc__)
    parser.parse_args()
    found = complaint()
    if found and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = complaint()
    if found:
        print(f"marketflow: {found}", file=sys.stderr)
        return 1
    return 0


def _candidates(name: str) -> Iterator[str]:
    if in_path := shutil.which(name):
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
    found = re.search(r"(?:\) |v=)(\d+(?:\.\d+)*)", asked.stdout)
    return tuple(map(int, found[1].split("."))) if found else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "unusable"


def _is_there(name: str) -> bool:
    try:
        find_binary(name)
    except FileNotFoundError:
        return False
    return True


def _install() -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("installing PostgreSQL and Redis for the tests", file=sys.stderr)
    with _no_services():
        for command in (("apt-get", "update"), _INSTALL):
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
