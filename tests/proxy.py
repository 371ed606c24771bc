"""A TCP proxy that can cut, refuse, swallow, delay, and strike when it sees certain bytes."""

import contextlib
import socket
import struct
import threading

from tests.servers import free_port

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Stands between a client and the server at *host*:*port*, on a port of its own.

    The methods named for a fault change what happens from now on; `heal` ends all of them.
    A connection that has lost bytes never works again, as after a real black hole.
    """

    def __init__(self, host, port):
        self.host = "127.0.0.1"
        self._target = (host, port)
        self._lock = threading.Lock()
        self._changed = threading.Event()  # ends delays early
        self._links = set()
        self._threads = []
        self._listener = None
        self._swallowing = False
        self._delay_s = 0.0
        self._trap = None
        self.connections = 0  # accepted so far
        self._listen(free_port())

    @property
    def port(self):
        return self._port

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def cut(self):
        """Reset every connection of now; new ones are welcome."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def refuse(self):
        """Reset every connection and refuse new ones."""
        self._stop_listening()
        self.cut()

    def swallow(self):
        """Accept everything, hand nothing on, answer nothing."""
        self._swallowing = True

    def delay(self, seconds):
        """Hand every chunk on *seconds* late, in both directions."""
        self._delay_s = seconds

    def when_seen(self, pattern, *, then="cut", delivered=False):
        """Strike once, when a client sends *pattern*: "cut" that connection, or "swallow".

        With *delivered* the server receives and answers it, and the answer is what is lost;
        otherwise the server never sees it. The returned event is set when it has happened.
        """
        self._trap = _Trap(pattern, then, delivered=delivered)
        return self._trap.struck

    def heal(self):
        """End every fault."""
        self._swallowing = False
        self._delay_s = 0.0
        self._trap = None
        self._changed.set()
        self._changed = threading.Event()
        if self._listener is None:
            self._listen(self._port)

    def close(self):
        """Refuse, cut, and wait for every thread."""
        self._changed.set()
        self.refuse()
        for thread in self._threads:
            thread.join()

    def _listen(self, port):
        self._listener = socket.create_server((self.host, port), backlog=128)
        self._port = self._listener.getsockname()[1]
        self._acceptor = self._start(self._accept, self._listener)

    def _stop_listening(self):
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
            self._acceptor.join()  # or it would let one more in
            listener.close()

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, name="proxy", daemon=True)
        self._threads = [known for known in self._threads if known.is_alive()] + [thread]
        thread.start()
        return thread

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            server.settimeout(None)
            link = _Link(client, server)
            with self._lock:
                self._links.add(link)
            self._start(self._pump, link, client, server)
            self._start(self._pump, link, server, client)

    def _pump(self, link, source, sink):
        seen = b""
        while True:
            try:
                chunk = source.recv(_CHUNK)
            except OSError:
                break
            if not chunk:
                break
            if self._delay_s:
                self._changed.wait(self._delay_s)
            if source is link.client:
                seen = self._spring(link, seen + chunk)
            elif link.answer_is_fatal is not None:
                self._strike(link, link.answer_is_fatal)
            if self._swallowing:
                link.swallowed = True
            if link.swallowed:
                continue
            try:
                sink.sendall(chunk)
            except OSError:
                break
        link.cut()
        with self._lock:
            self._links.discard(link)

    def _spring(self, link, seen):
        trap = self._trap
        if trap is None:
            return b""
        if trap.pattern not in seen:
            return seen[1 - len(trap.pattern) :]
        self._trap = None
        if trap.delivered:
            link.answer_is_fatal = trap
        else:
            self._strike(link, trap)
        return b""

    def _strike(self, link, trap):
        link.answer_is_fatal = None
        link.swallowed = True
        if trap.then == "cut":
            link.cut()
        else:
            self._swallowing = True
        trap.struck.set()


class _Trap:
    def __init__(self, pattern, then, *, delivered):
        if then not in ("cut", "swallow"):
            raise ValueError(f"then must be cut or swallow, was {then!r}")
        self.pattern = pattern
        self.then = then
        self.delivered = delivered
        self.struck = threading.Event()


class _Link:
    """A client's connection and the one made to the server for it."""

    def __init__(self, client, server):
        self.client = client
        self.server = server
        self.swallowed = False
        self.answer_is_fatal = None
        self._lock = threading.Lock()

    def cut(self):
        """Reset both; wakes who reads from them."""
        with self._lock:
            for end in (self.client, self.server):
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    end.shutdown(socket.SHUT_RD)
                with contextlib.suppress(OSError):
                    end.close()
