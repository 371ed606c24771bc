"""The HTTP server: one thread accepts, one serves every connection."""

import errno
import logging
import resource
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any

from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.poller import Counts, Poller
from marketflow.adapters.web.responder import App, Observe, Refuse, Responder
from marketflow.adapters.web.subscribers import Stream

log = logging.getLogger(__name__)

_RESERVED_DESCRIPTORS = 256  # for everything that is not a client
_POLL_INTERVAL = 0.5  # how soon `serve_forever` notices `shutdown`
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Server(ThreadingHTTPServer):
    """Serves *app* on *address*, which is bound at construction.

    *app* answers a request at once, on the poll thread, or returns a future whose result is the
    answer; the connection then waits without a thread. *refuse(status, detail, request_id)* makes
    the answers to what is no request, and to failures. *observe(request, response, seconds)* is
    told of every answer; its request is None where none could be read. *stream* is what an answer
    may subscribe its client to.

    Raises:
        OSError: the address is taken or not ours.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def __init__(
        self,
        address: tuple[str, int],
        app: App,
        *,
        refuse: Refuse,
        observe: Observe,
        limits: Limits | None = None,
        reuse_port: bool = False,
        stream: Stream | None = None,
    ) -> None:
        limits = limits or Limits()
        self._address = address
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.allow_reuse_port = reuse_port
        super().__init__(address, BaseHTTPRequestHandler)
        capacity = _raise_descriptor_limit(limits.max_connections)
        self._poller = Poller(
            Responder(app, refuse=refuse, observe=observe),
            limits,
            capacity=capacity,
            stream=stream,
        )
        self._stopping = threading.Event()
        self._stop_once = threading.Lock()
        self.threads = (
            threading.Thread(target=self._accept, name="http-accept", daemon=True),
            threading.Thread(target=self._poller.run, name="http-poll", daemon=True),
        )

    @property
    def counts(self) -> Counts:
        """What happened to connections so far."""
        return self._poller.counts

    def connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._poller)

    def subscribers(self) -> int:
        """Return how many of them listen to the stream."""
        return self._poller.subscribers()

    def start(self) -> None:
        """Start answering."""
        for thread in self.threads:
            thread.start()

    def stop(self, deadline_s: float = 10.0) -> bool:
        """Accept nothing more, answer what has arrived, close; tell whether that was in time.

        May be called twice, and without `start`.
        """
        deadline = monotonic() + deadline_s
        with self._stop_once:
            if not self._stopping.is_set():
                self._stopping.set()
                self._end(deadline)
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - monotonic()) + 0.5)
        return not any(thread.is_alive() for thread in self.threads)

    def server_bind(self) -> None:
        """Bind without the look-up of our own name that the standard library does."""
        # accepted sockets inherit it, which saves a call for each
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self._address[0], self.socket.getsockname()[1]

    def server_activate(self) -> None:
        super().server_activate()
        self.socket.setblocking(False)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                log.warning("connection not accepted", extra={"error": error})
                self._stopping.wait(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  inherited
        """Hand the connection, and those that wait behind it, to the poll thread."""
        self._poller.adopt(request, self.socket)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  inherited
        log.error("connection not taken over", exc_info=sys.exc_info())

    def _accept(self) -> None:
        self.serve_forever(_POLL_INTERVAL)

    def _end(self, deadline: float) -> None:
        self._poller.adopt_no_more()
        if self.threads[0].ident is not None:
            self.shutdown()
            self._poller.finish(deadline)
        else:
            self._poller.close()
        self.server_close()


def _raise_descriptor_limit(connections: int) -> int:
    """Make room for *connections* and our own descriptors; return how many fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    fitting = max(1, soft - _RESERVED_DESCRIPTORS)
    log.warning("connection cap lowered", extra={"cap": fitting, "wanted": connections})
    return fitting
