"""What one HTTP client may send, and how long it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    max_connections: int = 4096  # and never more than the descriptor limit leaves room for
    request_timeout: float = 10.0  # from a request's first byte to its last
    idle_timeout: float = 30.0  # between requests
    write_timeout: float = 10.0  # for a client to take what was sent, or 64 KiB of it
    linger_timeout: float = 1.0  # for a refused client to stop sending
    max_target: int = 4 * 1024
    max_line: int = 8 * 1024
    max_header_bytes: int = 32 * 1024
    max_headers: int = 100
    max_body: int = 64 * 1024
    max_unsent: int = 64 * 1024  # answers built ahead for a client that pipelines
