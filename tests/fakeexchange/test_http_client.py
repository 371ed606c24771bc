"""A client of a ticker is read from only while there is nothing to send to it."""

import selectors
import socket
from http import HTTPStatus

import pytest

from fakeexchange.http_client import HttpClient
from fakeexchange.http_messages import Answer

GET = b"GET /mock/ticker/btcusdt HTTP/1.1\r\nHost: x\r\n\r\n"
MUCH = 30_000  # requests: more than the sockets hold


class Owner:
    """An exchange whose answers are all alike; late ones come when the test says so."""

    def __init__(self, selector, wait_ms=0.0):
        self.selector = selector
        self.calls = []
        self.clients = 1
        self._answer = Answer(HTTPStatus.OK, b"{}", wait_ms=wait_ms)

    def answer(self, request):
        return self._answer

    def at(self, mono_ms, call):
        self.calls.append(call)

    def forget(self, client):
        self.clients -= 1


@pytest.fixture
def selector():
    with selectors.DefaultSelector() as made:
        yield made


@pytest.fixture
def peer(selector):
    """Return what starts a client of an owner, and returns the other end of its connection."""
    opened = []

    def start(owner):
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        client = HttpClient(ours, owner)
        client.start()
        opened.extend((client, theirs))
        return theirs

    yield start
    for one in opened:
        one.close()


def serve(selector):
    """Do what can be done without waiting; return whether there was anything."""
    keys = selector.select(0)
    for key, _ in keys:
        key.data()
    return bool(keys)


def flood(selector, theirs):
    """Send until neither side does anything any more; return how many requests that were."""
    sent = 0
    while sent < MUCH * len(GET):
        try:
            sent += theirs.send(GET * 100)
        except BlockingIOError:
            if not serve(selector):
                break
    return sent // len(GET)


def drain(selector, theirs):
    """Return all that arrives until neither side does anything any more."""
    received = b""
    while True:
        try:
            received += theirs.recv(1 << 20)
        except BlockingIOError:
            if not serve(selector):
                return received


def test_a_flood_of_requests_whose_answers_are_not_read_is_not_taken_in(selector, peer):
    theirs = peer(Owner(selector))
    requests = flood(selector, theirs)
    assert requests < MUCH
    assert drain(selector, theirs).count(b"HTTP/1.1 200 OK") == requests


def test_nothing_is_read_while_an_answer_is_late(selector, peer):
    owner = Owner(selector, wait_ms=1000.0)
    theirs = peer(owner)
    assert flood(selector, theirs) < MUCH
    assert drain(selector, theirs) == b""
    assert len(owner.calls) == 1
    owner.calls.pop()()
    assert drain(selector, theirs).count(b"HTTP/1.1 200 OK") == 1
    assert len(owner.calls) == 1


def test_a_late_answer_to_a_client_that_was_closed_meanwhile_goes_nowhere(selector, peer):
    owner = Owner(selector, wait_ms=1000.0)
    theirs = peer(owner)
    theirs.send(GET)
    serve(selector)
    theirs.close()
    owner.calls.pop()()
    serve(selector)
    assert owner.clients == 0
    assert not selector.get_map()
