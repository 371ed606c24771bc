"""A disk that fails while prices come in: they go on, /health says so, and it heals."""

import resource
import shutil
from contextlib import contextmanager

import pytest

from tests.end_to_end.feeder import Feeder
from tests.end_to_end.harness import Service, config_of, until
from tests.end_to_end.ledger import by_minute, check_rows

pytestmark = pytest.mark.slow

TELLS_S = 6.0
INTERVAL_S = 2.0


@pytest.fixture
def feeder(feed) -> Feeder:
    return feed(pulse_s=0.05)


@pytest.fixture
def service(serve, feeder) -> Service:
    return serve(config_of([(feeder.name, feeder.port)]))


@contextmanager
def full_disk(service: Service):
    """Let the process write to no file, as a full disk would."""
    soft, hard = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (0, hard))
    yield
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (soft, hard))


def told(service: Service, status: str) -> None:
    until(lambda: service.health()["status"] == status, TELLS_S, f"/health that says {status}")


def prices_go_on(service: Service, feeder: Feeder) -> None:
    """The newest price is one sent after now."""
    before = len(feeder.ledger)
    until(lambda: len(feeder.ledger) > before + 10, 5, "more ticks")
    until(
        lambda: (
            service.json("/prices/latest/BTCUSDT")["timestamp"]
            >= feeder.ledger[before].timestamp_ms
        ),
        2,
        "a price from after the fault",
    )
    assert service.json("/prices/average/BTCUSDT?period=5m")["count"] > 0


def stop_and_compare(service: Service, feeder: Feeder) -> None:
    feeder.stop()
    service.wait_for_ticks(len(feeder.ledger))
    service.terminate()
    check_rows(service.rows(), feeder.ledger)


def test_a_full_disk_costs_no_price_and_no_row(service, feeder):
    service.start()
    until(service.rows, 5, "a row")
    with full_disk(service):
        told(service, "degraded")
        health = service.health()
        assert health["problems"]
        assert service.ask("/health").status == 200
        prices_go_on(service, feeder)
        minutes = len(by_minute(feeder.ledger))
        until(lambda: len(by_minute(feeder.ledger)) >= minutes + 10, 8, "two minutes")
        prices_go_on(service, feeder)
        assert service.health()["status"] == "degraded"
    told(service, "ok")
    stop_and_compare(service, feeder)


def test_a_journal_directory_that_is_no_directory(service, feeder):
    service.start()
    service.wait_for_ticks(20)
    journal = service.data_dir / "journal"
    shutil.rmtree(journal)
    journal.write_text("in the way")
    told(service, "degraded")
    assert any("journal" in problem for problem in service.health()["problems"])
    prices_go_on(service, feeder)
    journal.unlink()
    told(service, "ok")
    prices_go_on(service, feeder)
    assert any(journal.iterdir())
    stop_and_compare(service, feeder)


def test_a_data_directory_that_cannot_be_made(serve, feeder):
    service = serve(config_of([(feeder.name, feeder.port)]))
    service.data_dir.write_text("in the way")
    service.start()
    told(service, "degraded")
    prices_go_on(service, feeder)
    service.data_dir.unlink()
    told(service, "ok")
    stop_and_compare(service, feeder)


def test_a_corrupt_outbox_is_set_aside(service, feeder):
    service.data_dir.mkdir(mode=0o700)
    (service.data_dir / "outbox.db").write_bytes(b"no database" * 1000)
    service.start()
    prices_go_on(service, feeder)
    told(service, "ok")
    assert list(service.data_dir.glob("outbox.db.corrupt-*"))
    stop_and_compare(service, feeder)


def test_a_corrupt_store_waits_for_its_operator(service, feeder):
    store = service.data_dir / "marketflow.db"
    service.data_dir.mkdir(mode=0o700)
    store.write_bytes(b"no database" * 1000)
    service.start()
    told(service, "degraded")
    prices_go_on(service, feeder)
    until(lambda: service.health()["storage"]["outbox_rows"] > 0, 8, "rows in the outbox")
    assert store.read_bytes() == b"no database" * 1000
    longer = service.ask("/prices/highest/BTCUSDT?period=10m")
    assert longer.status == 503
    assert longer.headers["retry-after"]
    store.unlink()
    told(service, "ok")
    stop_and_compare(service, feeder)
