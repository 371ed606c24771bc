"""The addresses of host names, looked up beside the loop that needs them."""

import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

_KEPT_S = 60.0
_FAILURE_KEPT_S = 1.0  # asks come by the thousand, and each would look it up again

Address = tuple[socket.AddressFamily, tuple[Any, ...]]  # as sockets take it, with port 0
Resolved = list[Address] | OSError
Then = Callable[[Resolved, float], None]


class Resolver:
    """Looks host names up, each on a short-lived thread, one at a time per name, and remembers.

    Used on the loop's thread; *hand_over* brings what was found back to it.
    """

    def __init__(self, hand_over: Callable[[Callable[[float], None]], None]) -> None:
        self._hand_over = hand_over
        self._known: dict[str, tuple[float, Resolved]] = {}  # until when, what
        self._waiting: dict[str, list[Then]] = {}

    def resolve(self, host: str, then: Then, now: float) -> None:
        """Call *then* with the addresses of *host*, or why there are none, now or later."""
        until, known = self._known.get(host) or (0.0, [])
        if now < until:
            then(known, now)
        elif host in self._waiting:
            self._waiting[host].append(then)
        elif not isinstance(numeric := _look_up(host, socket.AI_NUMERICHOST), OSError):
            then(numeric, now)
        else:
            finder = threading.Thread(
                target=self._find, args=(host,), name="quotes-lookup", daemon=True
            )
            finder.start()
            self._waiting[host] = [then]

    def _find(self, host: str) -> None:
        found = _look_up(host)
        self._hand_over(partial(self._found, host, found))

    def _found(self, host: str, found: Resolved, now: float) -> None:
        kept_s = _FAILURE_KEPT_S if isinstance(found, OSError) else _KEPT_S
        self._known[host] = (now + kept_s, found)
        for then in self._waiting.pop(host):
            then(found, now)


def _look_up(host: str, flags: int = 0) -> Resolved:
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=flags)
    except OSError as error:
        return error
    except UnicodeError:
        return OSError("not a host name")
    return [(family, address) for family, _, _, _, address in found]
