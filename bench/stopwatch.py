"""Questions to the service, timed."""

import socket
from statistics import median
from time import perf_counter

_BURSTS = 100
_AT_ONCE = 32  # a lone question times how long the system takes to wake us, with 28 to 90 us


def median_answer_us(port: int, target: str) -> float:
    """Return how long an answer takes at the median, asked for in bursts on one connection.

    Raises:
        RuntimeError: an answer was not 200.
    """
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    took = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(_BURSTS):
            began = perf_counter()
            connection.sendall(request * _AT_ONCE)
            _receive(connection)
            took.append((perf_counter() - began) / _AT_ONCE)
    return median(took) * 1e6


def _receive(connection: socket.socket) -> None:
    answers = b""
    while answers.count(b"HTTP/1.1 ") < _AT_ONCE or not answers.endswith(b"}"):
        data = connection.recv(65536)
        if not data:
            raise RuntimeError("the service closed the connection")
        answers += data
    if answers.count(b"HTTP/1.1 200") < _AT_ONCE:
        raise RuntimeError(f"the answers must be 200, were {answers[:200]!r}")
