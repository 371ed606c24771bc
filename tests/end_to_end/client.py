"""Looking at HTTP answers: problems, and the bare bytes of a connection."""

import socket
from typing import Any

from tests.end_to_end.harness import Answer, Service


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """Check that *answer* is a problem of that status with every member; returns it."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json
    assert found["type"] == "about:blank"
    assert found["status"] == status
    assert found["title"]
    assert found["detail"] == found["msg"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


def talk(service: Service, data: bytes) -> bytes:
    """Send *data* on one connection and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=12) as client:
        client.sendall(data)
        found = b""
        try:
            while piece := client.recv(65536):
                found += piece
        except ConnectionResetError:
            assert found
    return found
