import contextlib
import socket
import subprocess
import threading
from time import monotonic

import pytest

from marketflow.adapters.cache.redis_ticks import RedisTickMirror
from marketflow.application.ports import EncodedTicks, MirrorEntry
from marketflow.domain.errors import CacheUnavailable
from tests.adapters.cache.redis_reader import RedisReader
from tests.proxy import Proxy
from tests.servers import RedisServer, find_binary, free_port
from tests.tick_ledger import BTC

NOON_MS = 1_746_446_400_000
SECRET = "hunter2-Wq"
STREAM = "marketflow:live:ticks:exchange1:BTCUSDT"
LATEST = "marketflow:live:latest:BTCUSDT"


@pytest.fixture(scope="module")
def shared():
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared):
    with RedisReader(shared) as reader:
        reader.client.flushall()
        yield shared
        reader.client.config_set("maxmemory", 0)
        reader.client.replicaof("NO", "ONE")


@pytest.fixture
def open_mirror():
    mirrors = []

    def open_mirror(place, **options):
        mirror = RedisTickMirror(place.host, place.port, **({"retention_ms": 300_000} | options))
        mirrors.append(mirror)
        return mirror

    yield open_mirror
    for mirror in mirrors:
        mirror.close()


@pytest.fixture
def mirror(server, open_mirror):
    return open_mirror(server)


@pytest.fixture
def reader(server):
    with RedisReader(server) as reader:
        yield reader


def entry(id_ms, series=BTC, text=b"99704.5"):
    return MirrorEntry(id_ms, EncodedTicks(series, b"1746446399995", text, id_ms - 5, 99_704.5))


def refusal(use, *arguments):
    with pytest.raises(CacheUnavailable) as caught:
        use(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


class Impostor:
    """Listens like a Redis and answers everything with *answer*."""

    def __init__(self, answer):
        self.host = "127.0.0.1"
        self._listener = socket.create_server((self.host, 0))
        self.port = self._listener.getsockname()[1]
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(5)
                client.recv(65_536)
                client.sendall(self._answer)


def test_an_entry_reads_as_documented(mirror, reader):
    mirror.send([entry(NOON_MS)], 0)
    assert reader.client.xrange(STREAM) == [
        (b"%d-0" % NOON_MS, {b"t": b"1746446399995", b"p": b"99704.5"})
    ]
    assert reader.client.hgetall(LATEST) == {
        b"exchange1": b'{"symbol":"BTCUSDT","exchange":"exchange1","price":99704.5,'
        b'"timestamp":1746446399995}'
    }


def test_dead_series_vanish(server, open_mirror, reader):
    mirror = open_mirror(server, retention_ms=60_000)
    mirror.send([entry(NOON_MS), entry(NOON_MS, BTC._replace(exchange="exchange2"))], 0)
    keys = [STREAM, LATEST, STREAM.replace("exchange1", "exchange2")]
    assert sorted(map(bytes.decode, reader.client.keys())) == sorted(keys)
    assert all(59_000 < reader.client.pttl(key) <= 60_000 for key in keys)
    reader.client.pexpire(STREAM, 30_000)
    mirror.send([entry(NOON_MS + 1)], 0)
    assert reader.client.pttl(STREAM) > 59_000


def test_a_flush_is_one_exchange_of_bytes(server, open_mirror, reader):
    mirror = open_mirror(server)
    mirror.ping()
    before = reader.client.info("commandstats")
    with Proxy(server.host, server.port) as proxy:
        through = open_mirror(proxy)
        through.send([entry(NOON_MS + n, BTC._replace(exchange=f"e{n}")) for n in range(15)], 0)
        assert proxy.connections == 1
    after = reader.client.info("commandstats")

    def calls(name):
        return sum(
            sign * stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]
            for sign, stats in ((1, after), (-1, before))
        )

    assert (calls("xadd"), calls("hset"), calls("exec")) == (15, 1, 1)


def test_nothing_listening_is_told_in_one_sentence(open_mirror):
    class Nowhere:
        host, port = "127.0.0.1", free_port()

    mirror = open_mirror(Nowhere)
    assert refusal(mirror.ping) == f"redis at 127.0.0.1:{Nowhere.port}: Connection refused"


def test_a_hanging_server_costs_one_timeout(server, mirror):
    mirror.ping()
    server.pause()
    try:
        for use in (mirror.ping, lambda: mirror.last_ids([BTC]), mirror.ping):
            started = monotonic()
            assert refusal(use).endswith(": no answer within 0.5 s")
            assert 0.4 < monotonic() - started < 0.8
    finally:
        server.resume()
    mirror.ping()


def test_a_server_that_does_not_even_accept_costs_one_timeout(open_mirror):
    class Full:
        host = "127.0.0.1"

    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server((Full.host, 0), backlog=0))
        Full.port = listener.getsockname()[1]
        for _ in range(4):  # more than its queue holds: the next one is not answered
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((Full.host, Full.port))
        started = monotonic()
        assert refusal(open_mirror(Full).ping).endswith(": no answer within 0.5 s")
        assert 0.4 < monotonic() - started < 0.8


@pytest.mark.parametrize("password", ["", None, SECRET, SECRET + "x"])
def test_a_server_with_a_password_wants_that_password(open_mirror, password):
    with RedisServer(password=SECRET) as server:
        mirror = open_mirror(server, password=password)
        if password == SECRET:
            mirror.ping()
            return
        message = refusal(mirror.ping)
    assert "Authentication required" in message or "invalid username-password pair" in message
    assert SECRET not in message


def test_a_user_of_the_access_list_can_write_with_rights_on_our_keys_alone(
    server, open_mirror, reader
):
    commands = ["xadd", "xrevrange", "hset", "pexpire", "multi", "exec"]
    rights = ["~marketflow:*", *(f"+{command}" for command in commands)]
    reader.client.execute_command("ACL", "SETUSER", "feeder", "on", f">{SECRET}", *rights)
    mirror = open_mirror(server, username="feeder", password=SECRET)
    mirror.ping()
    mirror.send([entry(NOON_MS)], 0)
    assert mirror.last_ids([BTC]) == {BTC: NOON_MS}
    reader.client.execute_command("ACL", "SETUSER", "feeder", "-xadd")
    assert "no permissions" in refusal(mirror.send, [entry(NOON_MS + 1)], 0)


def test_the_database_can_be_chosen(server, open_mirror):
    open_mirror(server, db=3).send([entry(NOON_MS)], 0)
    with RedisReader(server, db=3) as third, RedisReader(server) as first:
        assert third.ids(BTC) == [NOON_MS]
        assert first.ids(BTC) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "Redis is loading"),
        (b"-ERR unknown command 'AUTH', with args beginning with: 'hunter2-Wq'\r\n", "'***'"),
        (b"-ERR first\rsecond\r\n", "first"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol Error"),
        (b":hunter2-Wq\r\n", "***"),
        (b"*nonsense\r\n", "nonsense"),
        (b"$5\r\nab", ""),
        (b"", ""),
        (b"-" + b"x" * 5_000 + b"\r\n", "xxx"),
    ],
)
def test_whatever_answers_is_told_in_one_sentence_without_the_password(open_mirror, answer, reason):
    with Impostor(answer) as server:
        message = refusal(open_mirror(server, password=SECRET).ping)
    assert message.startswith(f"redis at 127.0.0.1:{server.port}: ")
    assert reason in message
    assert SECRET not in message
    assert len(message) < 250


def test_a_full_server_takes_all_or_nothing(mirror, reader):
    mirror.send([entry(NOON_MS)], 0)
    reader.client.config_set("maxmemory", 1)
    assert "maxmemory" in refusal(mirror.send, [entry(NOON_MS + 1), entry(NOON_MS + 2)], 0)
    assert "maxmemory" in refusal(mirror.ping)
    assert reader.ids(BTC) == [NOON_MS]
    reader.client.config_set("maxmemory", 0)
    mirror.send([entry(NOON_MS + 1), entry(NOON_MS + 2)], 0)
    assert reader.ids(BTC) == [NOON_MS, NOON_MS + 1, NOON_MS + 2]


def test_a_server_that_fills_up_within_a_flush_never_leaves_a_gap(mirror, reader):
    series = [BTC._replace(exchange=f"e{n}") for n in range(20)]
    entries = [entry(NOON_MS + n, one, b"1.5," * 5_000) for n in range(20) for one in series]
    reader.client.config_set("maxmemory", reader.client.info("memory")["used_memory"] + 3_000_000)
    refusal(lambda: [mirror.send(entries[at : at + 50], 0) for at in range(0, 400, 50)])
    reader.client.config_set("maxmemory", 0)
    for one in series:
        ids = reader.ids(one)
        assert ids == list(range(NOON_MS, NOON_MS + len(ids)))


def test_a_read_only_server_is_noticed_even_without_ticks(mirror, reader):
    reader.client.replicaof("127.0.0.1", free_port())
    assert "read only replica" in refusal(mirror.ping)
    assert "read only replica" in refusal(mirror.send, [entry(NOON_MS)], 0)


def test_a_key_of_another_kind_is_told_and_the_others_are_written(mirror, reader):
    reader.client.set(STREAM, "mine")
    other = BTC._replace(exchange="exchange2")
    assert "WRONGTYPE" in refusal(mirror.send, [entry(NOON_MS), entry(NOON_MS, other)], 0)
    assert reader.ids(other) == [NOON_MS]
    assert reader.client.get(STREAM) == b"mine"


@pytest.mark.parametrize("delivered", [True, False])
def test_a_lost_answer_leaves_all_or_nothing(server, open_mirror, reader, delivered):
    with Proxy(server.host, server.port) as proxy:
        mirror = open_mirror(proxy)
        mirror.ping()
        struck = proxy.when_seen(b"EXEC", then="cut", delivered=delivered)
        refusal(mirror.send, [entry(NOON_MS), entry(NOON_MS + 1)], 0)
        assert struck.wait(5)
        expected = [NOON_MS, NOON_MS + 1] if delivered else []
        assert reader.ids(BTC) == expected
        mirror.send([entry(NOON_MS), entry(NOON_MS + 1)], 0)
    assert reader.ids(BTC) == [NOON_MS, NOON_MS + 1]


def test_tls_is_spoken_and_certificates_are_checked(tmp_path, open_mirror, monkeypatch):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    files = ["-keyout", key, "-out", certificate]
    command = [find_binary("openssl"), *words.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    settings = {"tls-port": free_port(), "tls-auth-clients": "no", "tls-cert-file": certificate}
    with RedisServer(settings=settings | {"tls-key-file": key}) as server:
        plain_port, server.port = server.port, settings["tls-port"]
        try:
            refused = refusal(open_mirror(server, tls=True).ping)
            assert "certificate" in refused.lower()
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            open_mirror(server, tls=True).ping()
        finally:
            server.port = plain_port
        refusal(open_mirror(server, tls=True).ping)
