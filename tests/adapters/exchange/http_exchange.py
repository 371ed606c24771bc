"""An HTTP exchange that answers, or fails, as the test says, and tickers that ask it."""

import queue
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from time import monotonic

from marketflow.adapters.exchange.http_client import HttpClient
from marketflow.adapters.exchange.http_ticker import HttpTicker
from marketflow.application.pipeline.loop import Loop
from tests.fakes import ManualClock

NOW_MS = 1_795_250_905_682
BODY = b'{"symbol":"btcusdt","price":100.5,"volume":2,"timestamp":1795250905}'


def response(body=BODY, status=200, headers=b"", version=b"1.1"):
    return b"HTTP/%b %d Some Reason\r\nContent-Length: %d\r\n%b\r\n%b" % (
        version,
        status,
        len(body),
        headers,
        body,
    )


def answering(data=None):
    """Answer every request with *data*, or the usual quote, and keep the connection."""

    def play(client, head):
        client.sendall(response() if data is None else data)
        return True

    return play


def closing_after(data):
    """Answer with *data*, then close the connection."""

    def play(client, head):
        client.sendall(data)
        return False

    return play


def hanging(client, head):
    """Say nothing until the other side closes."""
    with suppress(OSError):
        client.recv(1)
    return False


def resetting(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


class HttpExchange:
    """Serves each connection on a thread; *play* is called with its socket and each request's head.

    A connection is kept for as long as *play* says so. `accepted` counts connections, `targets` are
    what was asked for, `most_open` is how many connections there were at once.
    """

    def __init__(self, play, *, host="127.0.0.1", port=0, tls=None):
        self.play = play
        self.accepted = 0
        self.most_open = 0
        self.heads = []
        self.arrivals = []
        self.gone = threading.Semaphore(0)  # released for each connection that ended
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=128)
        self.port = self._listener.getsockname()[1]
        self._clients = set()
        self._threads = []

    @property
    def targets(self):
        return [head.split(b" ")[1].decode() for head in self.heads]

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self):
        """End every connection."""
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._clients.add(client)
            self.most_open = max(self.most_open, len(self._clients))
            self._start(self._serve, client)

    def _serve(self, client):
        plain = client
        try:
            with client, suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    client = self._tls.wrap_socket(client, server_side=True)
                with client:
                    self._converse(client)
        finally:
            self._clients.discard(plain)
            self.gone.release()

    def _converse(self, client):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = client.recv(4096)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            self.heads.append(head)
            self.arrivals.append(monotonic())
            if not self.play(client, head):
                return


@contextmanager
def running(*arguments, **settings):
    """Yield a client whose loop runs."""
    client = HttpClient(*arguments, **settings)
    loop = Loop("quotes", client.run)
    loop.start()
    try:
        yield client
    finally:
        client.close()
        assert loop.join(monotonic() + 5)


def ticker_of(
    client, port, path="/ticker/{symbol}", *, host="127.0.0.1", scheme="http", **settings
):
    shown = f"[{host}]" if ":" in host else host
    defaults = {"client": client, "clock": ManualClock(wall_ms=NOW_MS)}
    return HttpTicker("exchange1", f"{scheme}://{shown}:{port}{path}", **(defaults | settings))


class Answers:
    """Collects what is told, each with the moment."""

    def __init__(self):
        self._told = queue.SimpleQueue()

    def tell(self, answer):
        self._told.put((answer, monotonic()))

    def take(self, count=1):
        return [self._told.get(timeout=10)[0] for _ in range(count)]

    def take_timed(self, count=1):
        return [self._told.get(timeout=10) for _ in range(count)]

    def none_left(self):
        return self._told.empty()


def ask(ticker, asset="btcusdt", *, within=5.0):
    """Ask and return the answer."""
    answers = Answers()
    ticker.ask(asset, monotonic() + within, answers.tell)
    return answers.take()[0]
