"""Connections are few, kept and used again; asks beyond that wait, within bounds and rates."""

import socket
import threading
from contextlib import closing, suppress
from time import monotonic

import pytest

from marketflow.adapters.exchange import http_resolver
from marketflow.adapters.exchange.http_client import HttpClient
from marketflow.adapters.exchange.http_pace import Pace
from marketflow.adapters.exchange.http_pool import PoolLimits
from marketflow.application.pipeline.loop import Loop
from marketflow.domain.asset import Quote
from marketflow.domain.errors import NotAsked, QuoteFailed
from tests.adapters.exchange.feeder import closed_port
from tests.adapters.exchange.http_exchange import (
    NOW_MS,
    Answers,
    HttpExchange,
    answering,
    ask,
    hanging,
    resetting,
    response,
    running,
    ticker_of,
)

QUOTE = Quote("exchange1", 100.5, 2.0, 1_795_250_905_000)


class Gate:
    """Holds every answer back until it is opened."""

    def __init__(self):
        self._open = threading.Event()
        self.asked = threading.Semaphore(0)

    def open(self):
        self._open.set()

    def play(self, sock, head):
        self.asked.release()
        self._open.wait(10)
        with suppress(OSError):
            sock.sendall(response())
        return True


def ask_many(ticker, count, within=5.0):
    answers = Answers()
    deadline = monotonic() + within
    for _ in range(count):
        ticker.ask("btcusdt", deadline, answers.tell)
    return answers


def test_one_connection_serves_one_ask_after_the_other():
    with HttpExchange(answering()) as exchange, running() as client:
        ticker = ticker_of(client, exchange.port)
        assert [ask(ticker) for _ in range(50)] == [QUOTE] * 50
        assert exchange.accepted == 1


def test_a_thousand_asks_at_once_share_the_connections():
    with HttpExchange(answering()) as exchange, running() as client:
        answers = ask_many(ticker_of(client, exchange.port), 1_000, within=20)
        assert answers.take(1_000) == [QUOTE] * 1_000
        assert exchange.accepted <= 16
        assert len(exchange.heads) == 1_000


def test_a_connection_carries_one_request_at_a_time_and_the_rest_wait_in_order():
    gate = Gate()
    with HttpExchange(gate.play) as exchange, running(PoolLimits(connections=2)) as client:
        ticker, answers = ticker_of(client, exchange.port), Answers()
        for number in range(6):
            ticker.ask(f"asset{number}", monotonic() + 5, answers.tell)
        for _ in range(2):
            assert gate.asked.acquire(timeout=5)
        assert len(exchange.heads) == 2
        gate.open()
        assert answers.take(6) == [QUOTE] * 6
        assert exchange.accepted == 2
        numbers = [int(target[-1]) for target in exchange.targets]
        assert sorted(numbers) == list(range(6))
        assert set(numbers[:2]) == {0, 1}


def test_more_than_may_wait_are_told_not_asked_at_once():
    gate = Gate()
    limits = PoolLimits(connections=1, waiting=3)
    with HttpExchange(gate.play) as exchange, running(limits) as client:
        ticker = ticker_of(client, exchange.port)
        first = ask_many(ticker, 1)
        assert gate.asked.acquire(timeout=5)
        waiting = ask_many(ticker, 3)
        assert isinstance(ask(ticker), NotAsked)
        gate.open()
        assert first.take() + waiting.take(3) == [QUOTE] * 4


@pytest.mark.parametrize("end", ["closed", "reset"])
def test_a_connection_that_ended_while_idle_is_replaced(end):
    clients = []

    def play(sock, head):
        clients.append(sock)
        sock.sendall(response())
        return True

    with HttpExchange(play) as exchange, running() as client:
        ticker = ticker_of(client, exchange.port)
        for accepted in (1, 2, 3):
            assert ask(ticker) == QUOTE
            assert exchange.accepted == accepted
            if end == "reset":
                resetting(clients[-1])
            exchange.cut()
            assert exchange.gone.acquire(timeout=5)


def test_an_ask_that_met_a_dying_connection_is_asked_once_more():
    """The exchange drops its kept-alive connections on their second request, unanswered."""
    seen = {}

    def play(sock, head):
        seen[sock] = seen.get(sock, 0) + 1
        if seen[sock] == 2:
            return False
        sock.sendall(response())
        return True

    with HttpExchange(play) as exchange, running() as client:
        ticker = ticker_of(client, exchange.port)
        assert [ask(ticker) for _ in range(4)] == [QUOTE] * 4
        assert exchange.accepted == 4
        assert len(exchange.heads) == 7


def test_an_ask_that_is_repeated_counts_twice_for_the_rate():
    turns = iter([True, False, True, True])

    def play(sock, head):
        if answers := next(turns):
            sock.sendall(response())
        return answers

    with HttpExchange(play) as exchange, running() as client:
        ticker = ticker_of(client, exchange.port, max_rps=10)
        assert [ask(ticker) for _ in range(3)] == [QUOTE] * 3
        assert len(exchange.arrivals) == 4
        assert exchange.arrivals[3] - exchange.arrivals[0] > 0.25


def test_an_ask_is_repeated_no_more_than_once_and_not_on_a_new_connection():
    with HttpExchange(lambda sock, head: False) as exchange, running() as client:
        assert isinstance(ask(ticker_of(client, exchange.port)), QuoteFailed)
        assert exchange.accepted == 1


def test_an_ask_that_was_half_answered_is_not_repeated():
    turns = iter([response(), response()[:40]])

    def play(sock, head):
        sock.sendall(data := next(turns))
        return len(data) > 40

    with HttpExchange(play) as exchange, running() as client:
        ticker = ticker_of(client, exchange.port)
        assert ask(ticker) == QUOTE
        assert isinstance(ask(ticker), QuoteFailed)
        assert len(exchange.heads) == 2


def test_a_connection_that_says_something_unasked_is_not_used_again():
    with HttpExchange(answering(response() + b"HTTP/1.1 200 OK")) as exchange, running() as client:
        ticker = ticker_of(client, exchange.port)
        assert [ask(ticker), ask(ticker)] == [QUOTE, QUOTE]
        assert exchange.accepted == 2


def test_connections_that_nobody_uses_are_closed():
    with HttpExchange(answering()) as exchange, running(PoolLimits(idle_s=0.1)) as client:
        ticker = ticker_of(client, exchange.port)
        assert ask(ticker) == QUOTE
        assert exchange.gone.acquire(timeout=5)
        assert ask(ticker) == QUOTE
        assert exchange.accepted == 2


def test_the_rate_is_kept_and_spaced_evenly():
    with HttpExchange(answering()) as exchange, running() as client:
        answers = ask_many(ticker_of(client, exchange.port, max_rps=200), 60)
        assert answers.take(60) == [QUOTE] * 60
        arrivals = sorted(exchange.arrivals)
        assert arrivals[-1] - arrivals[0] >= 59 / 200 - 0.02
        in_a_tenth = [sum(0 <= other - one < 0.1 for other in arrivals) for one in arrivals]
        assert max(in_a_tenth) <= 20 + 5  # the exchange's own threads are not that punctual


def test_the_pace_lets_no_more_through_than_the_rate():
    pace, now, sent = Pace(800), 100.0, []
    while now < 101:
        if pace.wait(now):
            now += 0.001 * (1 + len(sent) % 3)  # late timers cost nothing of the rate
        else:
            pace.spend(now)
            sent.append(now)
    assert 780 <= len(sent) <= 810


def test_asks_that_only_the_rate_holds_back_are_not_asked():
    with HttpExchange(answering()) as exchange, running() as client:
        answers = ask_many(ticker_of(client, exchange.port, max_rps=1), 5, within=0.2)
        assert [type(answer) for answer in answers.take(5)] == [Quote, *[NotAsked] * 4]
        assert len(exchange.heads) == 1


def test_asks_that_wait_behind_others_that_are_answered_are_not_asked():
    stop = threading.Event()

    def slow(sock, head):
        stop.wait(0.15)
        with suppress(OSError):
            sock.sendall(response())
        return True

    with HttpExchange(slow) as exchange, running(PoolLimits(connections=1)) as client:
        answers = ask_many(ticker_of(client, exchange.port), 10, within=0.2)
        told = [type(answer) for answer in answers.take(10)]
        stop.set()
    assert told.count(Quote) == 1
    assert told.count(QuoteFailed) == 1  # the one on its way
    assert told.count(NotAsked) == 8


def test_asks_that_wait_behind_others_that_are_not_answered_failed():
    with HttpExchange(hanging) as exchange, running(PoolLimits(connections=1)) as client:
        answers = ask_many(ticker_of(client, exchange.port), 10, within=0.2)
        assert {type(answer) for answer in answers.take(10)} == {QuoteFailed}
        assert exchange.accepted == 1


def test_the_next_address_is_tried_when_one_refuses_or_is_silent(monkeypatch):
    with (
        HttpExchange(answering()) as exchange,
        socket.create_server(("127.0.0.2", exchange.port), backlog=0),
        closing(socket.socket()) as filler,
        closing(socket.socket()) as another,
        running() as client,
    ):
        for one in (filler, another):  # the queue is full: further ones hear nothing
            one.setblocking(False)
            one.connect_ex(("127.0.0.2", exchange.port))
        addresses = [("127.0.0.3", 0), ("127.0.0.2", 0), ("127.0.0.1", 0)]
        found = [(socket.AF_INET, address) for address in addresses]
        monkeypatch.setattr(http_resolver, "_look_up", lambda host, flags=0: found)
        assert ask(ticker_of(client, exchange.port, host="exchange.test"), within=0.6) == QUOTE


def test_names_are_looked_up_beside_the_loop_once_for_all_that_wait(monkeypatch):
    look_up, looked, found = http_resolver._look_up, [], threading.Event()

    def slow(host, flags=0):
        if flags or host != "slow.test":
            return look_up(host, flags)
        looked.append(host)
        found.wait(5)
        return look_up("127.0.0.1")

    monkeypatch.setattr(http_resolver, "_look_up", slow)
    with HttpExchange(answering()) as exchange, running() as client:
        answers = ask_many(ticker_of(client, exchange.port, host="slow.test"), 5)
        late = ask_many(ticker_of(client, exchange.port, host="slow.test"), 5, within=0.1)
        assert ask(ticker_of(client, exchange.port)) == QUOTE
        assert {str(answer) for answer in late.take(5)} == {"no answer within 0.1 s"}
        found.set()
        assert answers.take(5) == [QUOTE] * 5
        assert looked == ["slow.test"]


def test_the_loop_survives_what_a_caller_raises(caplog):
    def raising(answer):
        raise RuntimeError("not our fault")

    with HttpExchange(answering()) as exchange, running() as client:
        ticker = ticker_of(client, exchange.port)
        ticker.ask("btcusdt", monotonic() + 5, raising)
        assert ask(ticker) == QUOTE
    assert [record.message for record in caplog.records] == ["connection to an exchange failed"]


class Fatal(BaseException):
    """Ends a thread without leaving a trace in the log."""


def test_a_loop_that_died_goes_on_when_it_is_revived(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def killing(answer):
        raise Fatal

    client = HttpClient()
    loop = Loop("quotes", client.run)
    loop.start()
    with HttpExchange(answering()) as exchange:
        ticker = ticker_of(client, exchange.port)
        ticker.ask("btcusdt", monotonic() + 5, killing)
        assert not loop.join(monotonic() + 5) or loop.dead()
        answers = ask_many(ticker, 3)
        assert loop.revive()
        assert answers.take(3) == [QUOTE] * 3
        client.close()
        assert loop.join(monotonic() + 5)
        assert not loop.dead()


def test_a_client_that_never_ran_tells_what_waits_when_it_closes():
    client = HttpClient()
    ticker = ticker_of(client, 80)
    answers = ask_many(ticker, 2)
    assert answers.none_left()
    client.close()
    client.run()
    ticker.ask("btcusdt", monotonic() + 1, answers.tell)
    assert {type(answer) for answer in answers.take(3)} == {NotAsked}


def test_asks_from_many_threads_while_the_client_closes_are_all_told():
    answers = Answers()
    with HttpExchange(answering()) as exchange:
        with running() as client:
            ticker = ticker_of(client, exchange.port)

            def asking():
                for _ in range(500):
                    ticker.ask("btcusdt", monotonic() + 5, answers.tell)

            threads = [threading.Thread(target=asking) for _ in range(4)]
            for thread in threads:
                thread.start()
            answers.take(100)
        for thread in threads:
            thread.join(10)
    assert {type(answer) for answer in answers.take(1_900)} <= {Quote, NotAsked}
    assert answers.none_left()


def test_a_caller_may_ask_again_as_soon_as_it_is_told():
    done = threading.Event()
    left = iter(range(500))

    def again(answer):
        if answer == QUOTE and next(left, None) is not None:
            ticker.ask("btcusdt", monotonic() + 5, again)
        else:
            done.set()

    with HttpExchange(answering()) as exchange, running() as client:
        ticker = ticker_of(client, exchange.port)
        ticker.ask("btcusdt", monotonic() + 5, again)
        assert done.wait(10)
        assert len(exchange.heads) == 501
        assert exchange.accepted == 1


def test_a_caller_that_is_told_not_asked_may_ask_again_without_delay():
    done = threading.Event()
    left = iter(range(20))

    def again(answer):
        if next(left, None) is None:
            done.set()
        else:
            ticker.ask("btcusdt", monotonic() + 5, again)

    with running(PoolLimits(waiting=0)) as client:
        ticker = ticker_of(client, 80)
        ticker.ask("btcusdt", monotonic() + 5, again)
        assert done.wait(10)  # a second for each if the loop slept upon what is handed to it


def test_exchanges_do_not_share_connections_and_one_that_is_down_harms_no_other():
    with HttpExchange(answering()) as one, HttpExchange(answering()) as two, running() as client:
        tickers = [ticker_of(client, port) for port in (one.port, closed_port(), two.port)]
        told = [ask(ticker) for ticker in tickers]
        assert (told[0], type(told[1]), told[2]) == (QUOTE, QuoteFailed, QUOTE)
        assert (one.accepted, two.accepted) == (1, 1)


def test_a_timestamp_that_is_absent_is_the_receipt_time():
    body = b'{"price":1,"volume":2}'
    with HttpExchange(answering(response(body))) as exchange, running() as client:
        assert ask(ticker_of(client, exchange.port)).timestamp_ms == NOW_MS
