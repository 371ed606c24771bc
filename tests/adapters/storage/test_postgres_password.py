import traceback

import pytest

from marketflow.domain.errors import StorageUnavailable
from tests.adapters.storage.postgres_rig import ROWS, all_of, eventually, fault, works
from tests.examples import minute_row
from tests.proxy import Proxy
from tests.servers import Database, PostgresServer, free_port

pytest_plugins = ("tests.server_fixtures",)
pytestmark = pytest.mark.slow

PASSWORD = r"o'Hara\s 5ecret"


@pytest.fixture(scope="module")
def guarded():
    """A database with a password, on a server with few connections."""
    few = {"max_connections": 4, "superuser_reserved_connections": 0, "max_wal_senders": 0}
    with PostgresServer(password=PASSWORD, settings=few) as server:
        yield Database(server, "postgres")


def test_a_password_with_special_characters_opens_the_door(guarded, open_store):
    store = open_store(guarded)
    store.upsert(ROWS)
    assert all_of(store) == ROWS


def test_a_wrong_password_is_told_without_it_and_heals(guarded, open_store):
    guarded.sql("CREATE ROLE reader LOGIN SUPERUSER PASSWORD 'first'")
    store = open_store(guarded, user="reader", password="second")
    fault(store.ping, 'password authentication failed for user "reader"')
    guarded.sql("ALTER ROLE reader PASSWORD 'second'")
    store.ping()


def test_a_full_server_is_told_and_heals(guarded, open_store):
    store = open_store(guarded)
    crowd = [guarded.session() for _ in range(4)]
    fault(store.ping, "sorry, too many clients already")
    for session in crowd:
        session.close()
    eventually(lambda: works(store.ping))


def test_no_message_of_any_fault_holds_the_password(guarded, open_store, caplog):
    told = []

    def listen(use):
        try:
            use()
        except StorageUnavailable as error:
            told.extend([repr(error), *traceback.format_exception(error)])

    with Proxy(guarded.server.host, guarded.server.port) as proxy:
        stores = [
            open_store(guarded, port=proxy.port),
            open_store(guarded, port=free_port()),
            open_store(guarded, host="no such host"),
            open_store(guarded, database="elsewhere"),
            open_store(guarded, user="nobody"),
            open_store(guarded, sslmode="require"),
            open_store(guarded, sslmode=f"'{PASSWORD}"),
            open_store(guarded, sslmode=PASSWORD),
            open_store(guarded, password=f"{PASSWORD}\0"),
        ]
        for happen in (proxy.heal, proxy.cut, proxy.swallow, proxy.heal, proxy.refuse):
            happen()
            for store in stores:
                listen(store.ping)
        listen(lambda: stores[0].upsert([minute_row(pair_name=PASSWORD, tick_count=0)]))
    assert len(told) > 30
    text = "\n".join(told) + caplog.text
    for secret in (PASSWORD, PASSWORD.replace("\\", "\\\\").replace("'", "\\'"), "5ecret"):
        assert secret not in text
    assert "***" in text
