"""Short plays in which a fault strikes; each ends with the checks of the suite."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from marketflow.adapters.exchange.tcp import TcpSource
from marketflow.adapters.storage.outbox import SqliteOutbox
from marketflow.application.pipeline.publisher import Publisher
from marketflow.domain.errors import FeedLost
from tests.end_to_end.feeder import Feeder
from tests.end_to_end.ledger import Sent
from tests.fake_sources import line, wire_decoder
from tests.fakes import ManualClock, MemoryMirror, MemoryOutbox
from tests.faults.invariants import check_streams
from tests.faults.play import PRICES, TIMEOUT_S, Play, store_in
from tests.proxy import Proxy
from tests.servers import Database
from tests.tick_ledger import Feed

FOLLOWS_S = 5 * TIMEOUT_S


def an_outage_of_the_store(_: Database) -> None:
    play = Play()
    play.send(*PRICES)
    play.end_minute()
    play.store.down = "away"
    play.send(*PRICES)
    play.end_minute()
    play.flush()
    play.store.down = None
    play.flush()
    play.check()


def a_crash_while_the_store_is_away(_: Database) -> None:
    play = Play()
    play.store.down = "away"
    play.send(*PRICES)
    play.end_minute()
    play.new_process()
    play.store.down = None
    play.flush()
    play.check()


def a_crash_while_outbox_and_store_are_away(_: Database) -> None:
    play = Play()
    play.outbox.down = play.store.down = "away"
    play.send(*PRICES)
    play.end_minute()
    play.clock.advance(100_000)  # longer than the journal is needed for rows that are safe
    play.flush()
    play.outbox.down = play.store.down = None
    play.new_process(journal=play.rig.journal.reopened())
    play.rig.restorer.run()
    play.end_minute()
    play.check()


def a_late_tick(database: Database) -> None:
    with store_in(database) as store:
        play = Play(store=store)
        play.send(*PRICES)
        play.end_minute()
        play.send(0.05, age_ms=1_500)
        play.end_minute()
        play.check()


def a_late_tick_during_a_write(_: Database) -> None:
    with TemporaryDirectory() as home:
        outbox = SqliteOutbox(
            Path(home) / "outbox.db", max_age_ms=10**12, max_bytes=10**9, clock=ManualClock()
        )
        play = Play(outbox=outbox)
        play.send(*PRICES)
        upsert = play.store.upsert

        def slow_upsert(rows):
            refused = upsert(rows)
            if play.store.upserts == 1:
                play.send(9.5, age_ms=1_500)
                play.clock.advance(100)
                play.rig.collector.close_minutes(play.clock.now())
                (closing,) = play.rig.closings.take(64, 0)
                outbox.put(closing.rows)
            return refused

        play.store.upsert = slow_upsert
        play.end_minute()
        play.flush()
        outbox.close()
        play.check()


def a_second_instance_that_knows_less(database: Database) -> None:
    with store_in(database) as store:
        play = Play(store=store)
        play.send(*PRICES)
        first = play.rig
        second = play.new_process(outbox=MemoryOutbox())
        play.send(100.0)
        both_hear = b"".join(line(*tick[3:]) for tick in play.sent[-2:])
        first.receive(first.feeds[0].hear(both_hear))
        play.reach_end()
        play.clock.advance(500)
        first.flush(0.0)
        second.flush(0.0)
        play.check()


def sessions_in_another_time_zone(database: Database) -> None:
    database.sql(f"ALTER DATABASE {database.name} SET timezone = 'Asia/Kathmandu'")
    with store_in(database) as store:
        play = Play(store=store)
        play.send(*PRICES)
        play.end_minute()
        play.check()


def silence_of_postgresql(database: Database) -> None:
    server = database.server
    with (
        Proxy(server.host, server.port) as proxy,
        store_in(database, port=proxy.port) as store,
    ):
        play = Play(store=store)
        play.send(*PRICES)
        play.end_minute()
        proxy.swallow()
        play.send(*PRICES)
        flush = Thread(target=play.end_minute)
        flush.start()
        flush.join(FOLLOWS_S)
        in_time = not flush.is_alive()
        told = play.rig.flusher.problems()
        proxy.heal()
        proxy.cut()
        flush.join()
        assert in_time, "a flush must end by its deadline"
        assert told, "an outage must be told"
        play.flush()
        play.check()


def many_chunks_in_a_minute(_: Database) -> None:
    play = Play()
    play.send(*PRICES)
    play.end_minute()
    play.check()


def ticks_about_the_end_of_a_minute(_: Database) -> None:
    play = Play()
    play.send(*PRICES)
    play.reach_end(before_ms=4)
    play.send(5.0, 6.0, 7.0, 8.0, 9.0)  # the fourth is on the boundary
    play.send(2.0, age_ms=500)  # received a minute after it was sent
    play.end_minute()
    play.end_minute()
    play.check()


def a_stop_in_the_middle_of_a_minute(_: Database) -> None:
    play = Play()
    play.send(*PRICES)
    play.rig.finish()
    play.check()


def lines_that_are_no_ticks(_: Database) -> None:
    play = Play()
    play.send(*PRICES)
    at_ms = play.clock.now().wall_ms
    for price in ("NaN", "Infinity", "-1.5", "true", '"7"'):
        play.hear(f'{{"symbol":"BTCUSDT","price":{price},"timestamp":{at_ms}}}\n'.encode())
    play.end_minute()
    play.check()


def a_line_that_is_cut_in_two(_: Database) -> None:
    play = Play()
    at_ms = play.clock.now().wall_ms
    broken, heard = line("BTCUSDT", 1234.5, at_ms), []
    with _listening() as (feeder, source):
        # with the beginning of the line its end would make sense, and another price
        for data in (broken[:28], b"9" + broken[28:]):
            chunks = source.chunks()
            next(chunks)
            feeder.wait_for_connection()
            whole = line("BTCUSDT", 5.0, at_ms)
            feeder.send_raw(whole + data if data in broken else data + whole)
            heard.append(next(chunks))
            feeder.hang_up()
            with suppress(FeedLost):
                heard += chunks
    for chunk in heard:
        play.hear(chunk)
    play.sent = [Sent("exchange1", 0.0, 0.0, "BTCUSDT", 5.0, at_ms)] * 2
    play.end_minute()
    play.check()


def an_exchange_that_falls_silent(_: Database) -> None:
    lost: list[str] = []

    def listen() -> None:
        try:
            list(source.chunks())
        except FeedLost as error:
            lost.append(str(error))

    with _listening() as (_feeder, source):
        thread = Thread(target=listen)
        thread.start()
        thread.join(FOLLOWS_S)
        source.close()
        thread.join()
    assert lost, "a silent exchange must be given up"


def a_mirror_whose_answer_is_lost(_: Database) -> None:
    with _mirroring() as (mirror, feed, flush):
        feed.offer(1_000)
        flush()
        feed.offer(2_000)
        mirror.answer_lost = True
        flush()


def a_mirror_that_comes_back_empty(_: Database) -> None:
    with _mirroring() as (mirror, feed, flush):
        feed.offer(1_000)
        flush()
        mirror.down = "away"
        feed.offer(2_000)
        flush()
        mirror.forget()
        mirror.down = None


@contextmanager
def _mirroring() -> Iterator[tuple]:
    clock, mirror = ManualClock(), MemoryMirror()
    publisher = Publisher(
        mirror, clock=clock, flush_interval_ms=100, retention_ms=60_000, max_bytes=10**7
    )
    feed = Feed(publisher)
    yield mirror, feed, lambda: publisher.flush(clock.advance(5_000))
    publisher.flush(clock.advance(5_000))
    sent = [
        Sent(series.exchange, 0.0, 0.0, series.symbol, price, timestamp_ms)
        for series, ticks in feed.ledger.items()
        for timestamp_ms, price in ticks
    ]
    found = {(series.exchange, series.symbol): mirror.ticks(series) for series in feed.ledger}
    check_streams(found, sent, from_ms=0)


@contextmanager
def _listening() -> Iterator[tuple[Feeder, TcpSource]]:
    feeder = Feeder("exchange1").start()
    source = TcpSource(
        "exchange1",
        "127.0.0.1",
        feeder.port,
        decode=wire_decoder().decode,
        connect_timeout_s=1.0,
        stale_after_s=TIMEOUT_S,
        coalesce_s=0.0,
        max_line=65_536,
    )
    try:
        yield feeder, source
    finally:
        source.close()
        feeder.stop()
