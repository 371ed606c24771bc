"""What every mirror of ticks promises."""

import contextlib

import pytest

from marketflow.adapters.cache.redis_ticks import RedisTickMirror
from marketflow.application.ports import EncodedTicks, MirrorEntry
from marketflow.domain.errors import CacheUnavailable
from marketflow.domain.mode import Mode
from tests.adapters.cache.redis_reader import RedisReader
from tests.fakes import MemoryMirror
from tests.servers import RedisServer
from tests.tick_ledger import BTC

NOON_MS = 1_746_446_400_000
OTHERS = (
    BTC._replace(mode=Mode.TEST),
    BTC._replace(exchange="exchange2"),
    BTC._replace(symbol="ETHUSDT"),
)


class InMemory:
    """A `MemoryMirror`, which is its own reader."""

    def __init__(self):
        self.mirror = self.reader = MemoryMirror()

    def latest(self):
        return self.mirror.latest

    @contextlib.contextmanager
    def outage(self):
        self.mirror.down = "away"
        yield
        self.mirror.down = None

    def close(self):
        self.mirror.close()


class InRedis:
    """A `RedisTickMirror` and a server, emptied."""

    def __init__(self, server):
        self._server = server
        self.mirror = RedisTickMirror(server.host, server.port, retention_ms=300_000)
        self.reader = RedisReader(server)
        self.reader.client.flushall()

    def latest(self):
        return self.reader.latest()

    @contextlib.contextmanager
    def outage(self):
        self._server.kill()
        yield
        self._server.start()

    def close(self):
        self.mirror.close()
        self.reader.client.close()


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def place(request):
    if request.param == "memory":
        place = InMemory()
    else:
        place = InRedis(request.getfixturevalue("server"))
    yield place
    place.close()


def entry(id_ms, *ticks, series=BTC):
    ticks = ticks or ((id_ms - 5, 99_704.5),)
    times, prices = zip(*ticks, strict=True)
    return MirrorEntry(
        id_ms,
        EncodedTicks(
            series,
            ",".join(map(str, times)).encode(),
            ",".join(map(repr, prices)).encode(),
            times[-1],
            prices[-1],
        ),
    )


def test_an_empty_mirror_holds_nothing_of_any_series(place):
    assert place.mirror.last_ids({BTC, *OTHERS}) == dict.fromkeys((BTC, *OTHERS), 0)
    assert place.reader.ticks(BTC) == []


def test_ticks_come_back_to_the_bit_and_in_order(place):
    first = [(NOON_MS, 0.1 + 0.2), (NOON_MS - 3, 5e-324), (NOON_MS, 1e30), (1, 99_704.0)]
    place.mirror.send([entry(NOON_MS, *first)], 0)
    place.mirror.send([entry(NOON_MS + 100, (2, 1e-07)), entry(NOON_MS + 200, (3, 7.25))], 0)
    assert place.reader.ticks(BTC) == [*first, (2, 1e-07), (3, 7.25)]
    assert place.reader.ids(BTC) == [NOON_MS, NOON_MS + 100, NOON_MS + 200]


def test_the_last_ids_are_those_of_the_newest_entries(place):
    place.mirror.send([entry(NOON_MS), entry(NOON_MS + 7, series=OTHERS[0])], 0)
    place.mirror.send([entry(NOON_MS + 1)], 0)
    assert place.mirror.last_ids([BTC, *OTHERS]) == {
        BTC: NOON_MS + 1,
        OTHERS[0]: NOON_MS + 7,
        OTHERS[1]: 0,
        OTHERS[2]: 0,
    }


def test_an_entry_sent_again_is_there_once(place):
    entries = [entry(NOON_MS), entry(NOON_MS + 100), entry(NOON_MS, series=OTHERS[1])]
    place.mirror.send(entries[:2], 0)
    place.mirror.send(entries, 0)
    assert place.reader.ids(BTC) == [NOON_MS, NOON_MS + 100]
    assert place.reader.ids(OTHERS[1]) == [NOON_MS]


def test_what_is_older_than_the_newest_is_left_out_and_the_rest_taken(place):
    place.mirror.send([entry(NOON_MS)], 0)
    place.mirror.send([entry(NOON_MS - 1), entry(NOON_MS + 1), entry(9, series=OTHERS[2])], 0)
    assert place.reader.ids(BTC) == [NOON_MS, NOON_MS + 1]
    assert place.reader.ids(OTHERS[2]) == [9]


def test_ids_below_the_wanted_ones_are_forgotten(place):
    times = range(NOON_MS, NOON_MS + 1_000, 10)
    place.mirror.send([entry(at) for at in times], 0)
    place.mirror.send([entry(NOON_MS, series=OTHERS[0])], NOON_MS)
    assert len(place.reader.ids(BTC)) == 100
    place.mirror.send([entry(NOON_MS + 1_000)], NOON_MS + 905)
    assert place.reader.ids(BTC) == list(range(NOON_MS + 910, NOON_MS + 1_001, 10))
    assert place.reader.ids(OTHERS[0]) == [NOON_MS]


def test_modes_exchanges_and_pairs_never_mix(place):
    everyone = (BTC, *OTHERS)
    place.mirror.send([entry(NOON_MS, (n, n + 0.5), series=s) for n, s in enumerate(everyone)], 0)
    assert [place.reader.ticks(one) for one in everyone] == [[(n, n + 0.5)] for n in range(4)]
    assert place.latest() == {
        (Mode.LIVE, "BTCUSDT"): {"exchange1": (0, 0.5), "exchange2": (2, 2.5)},
        (Mode.TEST, "BTCUSDT"): {"exchange1": (1, 1.5)},
        (Mode.LIVE, "ETHUSDT"): {"exchange1": (3, 3.5)},
    }


def test_the_latest_price_is_the_last_one_of_the_last_entry(place):
    place.mirror.send([entry(NOON_MS, (5, 5.5), (4, 4.5)), entry(NOON_MS + 1, (2, 2.5))], 0)
    assert place.latest() == {(Mode.LIVE, "BTCUSDT"): {"exchange1": (2, 2.5)}}


def test_a_ping_leaves_nothing_behind(place):
    place.mirror.ping()
    assert place.latest() == {}
    assert place.mirror.last_ids([BTC]) == {BTC: 0}


def test_a_mirror_that_is_away_says_so_and_works_again_afterwards(place):
    place.mirror.ping()
    with place.outage():
        for use in (
            place.mirror.ping,
            lambda: place.mirror.last_ids([BTC]),
            lambda: place.mirror.send([entry(NOON_MS)], 0),
        ):
            with pytest.raises(CacheUnavailable):
                use()
    place.mirror.send([entry(NOON_MS)], 0)
    assert place.reader.ids(BTC) == [NOON_MS]


def test_closing_twice_is_as_good_as_once(place):
    place.mirror.ping()
    place.mirror.close()
    place.mirror.close()
