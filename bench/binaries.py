"""`python -m bench.binaries`: wrk and nginx, found or installed, as `make servers` does."""

import os
import shutil
import subprocess
import sys

from tools.binaries import _no_services

_PACKAGES = {"wrk": "wrk", "nginx": "nginx-light"}


def complaint() -> str | None:
    """Return one sentence if something is missing: what to install."""
    missing = [name for name in _PACKAGES if shutil.which(name) is None]
    if not missing:
        return None
    packages = " ".join(_PACKAGES[name] for name in missing)
    return f"{' and '.join(missing)} must be installed: run `apt-get install {packages}`"


def main() -> int:
    """Look for the programs, and install them if root has apt-get; 1 if one is missing."""
    found = complaint()
    if found and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing wrk and nginx to measure with", file=sys.stderr)
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ("apt-get", "install", "-y", "--no-install-recommends", *_PACKAGES.values())
        with _no_services():
            for command in (("apt-get", "update"), install):
                subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False)
        found = complaint()
    if found:
        print(f"make bench: {found}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
