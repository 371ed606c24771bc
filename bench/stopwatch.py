"""One client's questions, timed one by one."""

import socket
from statistics import median
from time import perf_counter

_QUESTIONS = 500


def median_answer_us(port: int, target: str) -> float:
    """Return how long an answer takes at the median, asked for on one connection that is kept.

    Raises:
        RuntimeError: an answer was not 200.
    """
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    took = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(_QUESTIONS):
            began = perf_counter()
            connection.sendall(request)
            answer = connection.recv(65536)  # small: it comes in one piece
            took.append(perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the answer must be 200, was {answer[:200]!r}")
    return median(took) * 1e6
