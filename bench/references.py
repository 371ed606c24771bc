"""What our HTTP is measured against: the standard library's server, uvicorn, nginx.

All answer with the same small JSON bytes, made once: whatever they save over us by that is theirs.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.command import Command, started
from tools.binaries import find_binary
from tools.processes import Processes
from tools.servers import free_port

ANSWER = (
    b'{"symbol":"BTCUSDT","exchange":"exchange2","price":99704.89123456789,'
    b'"timestamp":1746448612345,"datetime":"2026-05-05T12:36:52.345Z","age_ms":41,"stale":false}'
)
_NGINX = """
worker_processes 1;
daemon off;
error_log stderr warn;
pid {home}/pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        default_type application/json;
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


class Handler(BaseHTTPRequestHandler):
    """As the documentation of `http.server` shows it; only the log lines are left out."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Write nothing: a line to a file for each request would flatter us."""


async def raw(scope: Mapping[str, Any], _: object, send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer as an ASGI application without a framework."""
    if scope["type"] != "http":
        return
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(ANSWER)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


def start_stock(processes: Processes) -> str:
    """Start `ThreadingHTTPServer`; return its address."""
    port = free_port()
    arguments = [sys.executable, "-m", "bench.references", str(port)]
    return _start(processes, "stock", arguments, port)


def start_uvicorn(processes: Processes, *, as_it_comes: bool = False) -> str:
    """Start uvicorn with uvloop and httptools; return its address.

    Unless *as_it_comes* it writes no access log, which about doubles its rate.
    """
    port = free_port()
    arguments = [sys.executable, "-m", "uvicorn", "bench.references:raw", "--port", str(port)]
    arguments += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
    arguments += ["--backlog", "1024"]
    if not as_it_comes:
        arguments += ["--no-access-log", "--log-level", "warning"]
    return _start(processes, "uvicorn", arguments, port)


def start_nginx(processes: Processes) -> str:
    """Start nginx with one worker process; return its address."""
    port, home = free_port(), processes.new_directory()
    home.chmod(0o755)  # its worker is another user when we are root
    configuration = home / "nginx.conf"
    configuration.write_text(
        _NGINX.format(home=home, port=port, answer=ANSWER.decode()), encoding="utf-8"
    )
    arguments = [find_binary("nginx"), "-c", str(configuration), "-e", "stderr"]
    return _start(processes, "nginx", arguments, port, home)


def _start(
    processes: Processes, name: str, arguments: list[str], port: int, home: Path | None = None
) -> str:
    log = (home or processes.new_directory()) / "log"
    started(processes, name, Command(arguments, log=log, port=port))
    return f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
