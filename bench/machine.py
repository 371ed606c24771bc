"""What the figures were measured on, and with what."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tools.binaries import find_binary

_PACKAGES = ("uvicorn", "uvloop", "httptools", "redis", "psycopg2-binary")
_PROGRAMS = (("nginx", "-v"), ("wrk", "-v"), ("redis-server", "--version"), ("postgres", "-V"))


def facts() -> dict[str, str]:
    """Return machine and versions, by what they are of."""
    found = {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGESIZE') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    return found | dict(_programs()) | dict(_packages())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _programs() -> Iterable[tuple[str, str]]:
    for name, option in _PROGRAMS:
        try:
            asked = [find_binary(name), option]
        except FileNotFoundError:
            continue
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        yield name, lines[0].strip() if lines else "unknown"


def _packages() -> Iterable[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
