"""Ports for the servers of tests, never given twice: not to another test, nor by the system.

A service that a test leaves to look for its exchange again and again must not find another test's.
"""

import os
import socket
from itertools import cycle

_EACH = 3_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 7
_FIRST = 10_000 + _WORKER * _EACH  # below those that the system gives to whoever connects
_ports = cycle(range(_FIRST, _FIRST + _EACH))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the ports go round")
