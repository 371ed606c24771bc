"""One client's connection: reading, answering in order, ending."""

import select
import socket
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from marketflow.adapters.web.http1 import Reader, Request
from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.refusal import Refusal
from marketflow.adapters.web.responder import Responder
from marketflow.adapters.web.response import CONTINUE, Response, Subscription

_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT
_HELD_BYTES = 16 * 1024  # shorter answers may wait for the end of the turn
_RECEIVE_BYTES = 16 * 1024
_PROGRESS_BYTES = 64 * 1024  # what a client must take within the write deadline
_UNREAD_BYTES = 64 * 1024  # read ahead of an answer that is being made
_NOTHING = memoryview(b"")
# what follows is the end of the connection: both go in one packet, which saves 5 us
_NEARLY_LAST = getattr(socket, "MSG_MORE", 0)


class Loop(Protocol):
    """What a connection needs of the loop it lives in."""

    responder: Responder
    limits: Limits
    # whose answers wait for the end of this turn: the loop calls their `send_held`; None: nobody's
    held: "list[Connection] | None"

    def watch(self, connection: "Connection", events: int) -> None:
        """Call `read` or `write` on this event alone; 0 for none."""
        ...

    def drop(self, connection: "Connection", why: str = "") -> None:
        """Close and forget, counting *why*."""
        ...

    def hand_over(self, connection: "Connection", step: Callable[[float], None]) -> None:
        """Have the poll thread call *step* for *connection* soon; from any thread."""
        ...

    def subscribe(self, connection: "Connection", subscription: Subscription, now: float) -> None:
        """Take the socket over and send what is unsent, then what *subscription* tells."""
        ...


class Connection:
    """A client's socket, what it asked and is not answered, what it has not yet taken.

    It is in one state at a time: parked (its answer is being made elsewhere), writing (*unsent*),
    lingering (answered for the last time, but still sending), reading (*started* a request), idle.
    The poll thread alone touches it; others reach it by `Loop.hand_over`.
    """

    __slots__ = (
        "closing",
        "ended",
        "events",
        "held",
        "lingering",
        "loop",
        "parked",
        "reader",
        "since",
        "socket",
        "started",
        "unsent",
        "untaken",
    )

    def __init__(self, client: socket.socket, reader: Reader, loop: Loop, now: float) -> None:
        self.socket = client
        self.reader = reader
        self.loop = loop
        self.events = 0  # what the loop watches for
        self.since = now  # of the last answer, or of progress in sending one
        self.started = 0.0  # when the unfinished request's first byte came; 0 without one
        self.held = b""  # an answer that the loop has sent at the end of its turn
        self.unsent = _NOTHING
        self.untaken = 0  # how much was unsent at *since*
        self.parked = False
        self.closing = False  # the last answer was given, or the socket is closed
        self.lingering = False
        self.ended = False  # the client sends nothing more, but may still listen

    def idle(self) -> bool:
        """Tell whether the client waits for nothing and has begun nothing."""
        return not (self.parked or self.unsent or self.started or self.closing)

    def begin(self, now: float) -> None:
        """Answer what came with the connection, then wait for more."""
        # most requests are here already: reading at once saves a turn of the loop
        self.read(now)
        self._settle()

    def read(self, now: float) -> None:
        """Take what has arrived and answer it."""
        try:
            data = self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.loop.drop(self, "resets")
            return
        if not data:
            self.ended = True
            self._settle()
        elif not self.lingering:
            self.reader.feed(data)
            if self.parked:
                self._watch()
            else:
                while self._answer(now):
                    pass

    def write(self, now: float) -> None:
        """Send more of what is unsent, then go on with what has arrived."""
        try:
            sent = self.socket.send(self.unsent)
        except BlockingIOError:
            return
        except OSError:
            self.loop.drop(self, "resets")
            return
        self.unsent = self.unsent[sent:]
        if self.unsent:
            if self.untaken - len(self.unsent) >= _PROGRESS_BYTES:
                self.since, self.untaken = now, len(self.unsent)
            return
        self.since, self.unsent = now, _NOTHING
        if self.closing:
            self._finish(now)
        else:
            while self._free() and self._answer(now):
                pass
            self._settle()

    def check(self, now: float) -> None:
        """End what lasts too long."""
        limits, waited = self.loop.limits, now - self.since
        if self.parked:
            return
        if self.unsent:
            if waited > limits.write_timeout:
                self.loop.drop(self, "timeouts")
        elif self.lingering:
            if waited > limits.linger_timeout:
                self.loop.drop(self)
        elif self.started:
            if now - self.started > limits.request_timeout:
                self._refuse(
                    Refusal(408, f"request must arrive within {limits.request_timeout:g} s"), now
                )
        elif waited > limits.idle_timeout:
            self.loop.drop(self)

    def drain(self, now: float) -> None:
        """Answer what has arrived; close unless an answer is still on its way."""
        if not (self.parked or self.unsent or self.closing):
            self.read(now)
        if not (self.parked or self.unsent or self.closing):
            self.loop.drop(self)

    def _answer(self, now: float) -> bool:
        """Answer what has arrived, up to a bound; tell whether to go on after it."""
        # one send for a burst: the system call takes longer (5 us) than making an answer (3 us)
        reader, loop = self.reader, self.loop
        respond, room, more = loop.responder.respond, loop.limits.max_unsent, True
        answers: list[bytes] = []
        opened = None
        try:
            while more and room > 0 and (request := reader.next()) is not None:
                more = reader.waiting()
                said = respond(request, now)
                if not isinstance(said, tuple):
                    if isinstance(said, Future):
                        self._park(request, said, now)
                    else:
                        opened = said
                        answers.append(said.data)
                    break
                data, keep = said
                answers.append(data)
                room -= len(data)
                if not keep:
                    self.closing = True
                    break
        except Refusal as refusal:
            answers.append(loop.responder.refuse(refusal, now))
            self.closing = True
        if answers:
            self.started = now if more else 0.0
            data = b"".join(answers)
            if loop.held is not None and opened is None and len(data) < _HELD_BYTES:
                loop.held.append(self)
                self.held = data
            else:
                self._send(data, now)
            if opened is not None:
                loop.subscribe(self, opened.subscription, now)
        elif not self.started and reader.waiting():
            self.started = now
        if reader.continue_due and self._free():
            reader.continue_due = False
            self._send(CONTINUE, now)
        return room <= 0 and self._free()

    def send_held(self, now: float) -> None:
        """Send the answer that was held back."""
        if self.held:
            self._send(b"", now)
        if self.ended:
            self._settle()

    def _free(self) -> bool:
        return not (self.parked or self.unsent or self.closing)

    def _refuse(self, refusal: Refusal, now: float) -> None:
        self.closing = True
        self._send(self.loop.responder.refuse(refusal, now), now)

    def _park(self, request: Request, answer: Future[Response], started: float) -> None:
        self.parked = True
        resume = partial(self._resume, request, answer, started)
        answer.add_done_callback(lambda _: self.loop.hand_over(self, resume))

    def _resume(
        self, request: Request, answer: Future[Response], started: float, now: float
    ) -> None:
        self.parked = False
        data, keep = self.loop.responder.resolve(request, answer, started)
        if self.closing:
            return  # the client left meanwhile
        self.closing = not keep
        self.started = now if self.reader.waiting() else 0.0
        self._send(data, now)
        while self._free() and self._answer(now):
            pass
        self._settle()

    def _send(self, data: bytes, now: float) -> None:
        if self.held:
            self.held, data = b"", self.held + data
        if self.unsent:  # what was parked is done before the client took what came before it
            self.unsent = memoryview(b"".join((self.unsent, data)))
            self.untaken += len(data)
            return
        try:
            sent = self.socket.send(data, _NEARLY_LAST if self.closing else 0)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.loop.drop(self, "resets")
            return
        self.since = now
        if sent < len(data):
            self.unsent = memoryview(data)[sent:]
            self.untaken = len(self.unsent)
            self._watch()
        elif self.closing:
            self._finish(now)

    def _finish(self, now: float) -> None:
        if self.ended or not self.reader.waiting():
            self.loop.drop(self)
            return
        # closing with unread input would reset the connection, and the answer with it
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.loop.drop(self, "resets")
            return
        self.since, self.lingering = now, True
        self._watch()

    def _settle(self) -> None:
        over = self.ended or (self.loop.responder.draining and not self.lingering)
        if over and not (self.parked or self.unsent or self.held):
            self.loop.drop(self)
        else:
            self._watch()

    def _watch(self) -> None:
        if self.socket.fileno() < 0:
            return  # dropped meanwhile
        if self.unsent:
            events = _WRITE
        elif self.ended or (self.parked and self.reader.pending() > _UNREAD_BYTES):
            events = 0
        else:
            events = _READ
        if events != self.events:
            self.loop.watch(self, events)
