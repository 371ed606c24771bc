import socket
import threading
from contextlib import closing

import pytest

from tests.proxy import Proxy


class Echo:
    """Sends back what it receives, and remembers it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.received = b""
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self._echo, args=(connection,)))
            self.threads[-1].start()

    def _echo(self, connection):
        with closing(connection):
            try:
                while chunk := connection.recv(65_536):
                    self.received += chunk
                    connection.sendall(chunk)
            except OSError:
                return

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def echo():
    with closing(Echo()) as echo:
        yield echo


@pytest.fixture
def proxy(echo):
    with Proxy(*echo.listener.getsockname()) as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
        yield client


def ask(client, question):
    client.sendall(question)
    return client.recv(65_536)


def is_silent(client, question):
    client.settimeout(0.2)
    try:
        ask(client, question)
    except TimeoutError:
        return True
    return False


def is_cut(client, question=b"?"):
    try:
        return ask(client, question) == b""
    except ConnectionError:
        return True


def test_without_a_fault_everything_passes(client):
    assert ask(client, b"hello") == b"hello"


def test_a_cut_resets_what_is_there_and_welcomes_what_comes(proxy, client):
    assert ask(client, b"hello") == b"hello"
    proxy.cut()
    assert is_cut(client)
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as another:
        assert ask(another, b"hello") == b"hello"


def test_refusing_lasts_until_it_heals(proxy, client):
    proxy.refuse()
    assert is_cut(client)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port))
    proxy.heal()
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as another:
        assert ask(another, b"hello") == b"hello"


def test_what_was_swallowed_never_comes_back(proxy, client, echo):
    proxy.swallow()
    assert is_silent(client, b"hello")
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as another:
        assert is_silent(another, b"hello")
        proxy.heal()
        assert is_silent(another, b"again")
    assert echo.received == b""
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as third:
        assert ask(third, b"hello") == b"hello"


def test_a_delay_delays_both_ways(proxy, client):
    proxy.delay(0.15)
    assert is_silent(client, b"hello")
    client.settimeout(5)
    assert client.recv(100) == b"hello"


@pytest.mark.parametrize("delivered", [False, True])
def test_it_cuts_once_where_the_bytes_are_seen_even_in_two_pieces(proxy, client, echo, delivered):
    struck = proxy.when_seen(b"COMMIT", delivered=delivered)
    assert ask(client, b"INSERT; COM") == b"INSERT; COM"
    assert is_cut(client, b"MIT;")
    assert struck.wait(5)
    assert echo.received == (b"INSERT; COMMIT;" if delivered else b"INSERT; COM")
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as another:
        assert ask(another, b"COMMIT") == b"COMMIT"


@pytest.mark.parametrize("delivered", [False, True])
def test_it_falls_silent_where_the_bytes_are_seen(proxy, client, echo, delivered):
    proxy.when_seen(b"COMMIT", then="swallow", delivered=delivered)
    assert is_silent(client, b"COMMIT")
    assert echo.received == (b"COMMIT" if delivered else b"")
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as another:
        assert is_silent(another, b"hello")


def test_a_server_that_is_down_is_a_reset(proxy, echo):
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        address = gone.getsockname()
    with Proxy(*address) as lost:
        try:
            client = socket.create_connection((lost.host, lost.port), timeout=5)
        except ConnectionResetError:
            return
        with client:
            assert is_cut(client)
