"""An emulated DynamoDB, as a process that can be killed, and stand-ins that misbehave."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.servers import free_port

SECRET = "wJalrXUtnFEMI"
TOKEN = "FwoGZXIvYXdzEBYa"

_HOST = "127.0.0.1"
_PATIENCE_S = 30.0
_LOOK_S = 0.01


class DynamoServer:
    """moto's server; it keeps its tables in memory."""

    def __init__(self):
        self.port = free_port()
        self.endpoint_url = f"http://{_HOST}:{self.port}"
        self._process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Start it, empty, and wait until it answers."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", _HOST, "-p", str(self.port)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
                start_new_session=True,
            )
            self._wait_until_ready()
        return self

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait(_PATIENCE_S)
            self._process = None

    def reset(self):
        """Drop every table."""
        request = urllib.request.Request(f"{self.endpoint_url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=_PATIENCE_S).close()

    def _wait_until_ready(self):
        waited = threading.Event()
        for _ in range(int(_PATIENCE_S / _LOOK_S)):
            if self._process.poll() is not None:
                raise RuntimeError("moto's server did not start")
            try:
                socket.create_connection((_HOST, self.port), timeout=1).close()
            except OSError:
                waited.wait(_LOOK_S)
            else:
                return
        self.kill()
        raise RuntimeError(f"moto's server was not ready in {_PATIENCE_S} s")


@contextmanager
def silent_server():
    """Lend the URL of a server that accepts connections and never answers."""
    with socket.create_server((_HOST, 0), backlog=64) as listener:
        yield f"http://{_HOST}:{listener.getsockname()[1]}"


@contextmanager
def stand_in(answer):
    """Lend the URL of a server that answers an operation with what *answer* makes of it.

    *answer* takes the operation's name and arguments; it returns a status and what the body holds:
    bytes, or what is to be JSON. None: the connection is closed.
    """

    connections = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            connections.append(self.connection)

        def do_POST(self):
            length = int(self.headers["Content-Length"])
            arguments = json.loads(self.rfile.read(length))
            operation = self.headers["X-Amz-Target"].split(".")[1]
            told = answer(operation, arguments)
            if told is None:
                self.close_connection = True
                return
            status, body = told
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((_HOST, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://{_HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def credentials(**changes):
    """Let boto3 find credentials in the environment and only there; None: not set."""
    variables = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in (variables | changes).items():
            if value is not None:
                patch.setenv(name, value)
        yield
