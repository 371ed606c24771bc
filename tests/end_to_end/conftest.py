"""Services and exchanges that are gone when the test is."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.feeder import Feeder
from tests.end_to_end.harness import Service


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(tmp_path: Path, cleanup: ExitStack) -> Callable[..., Service]:
    """Prepare a service; the test starts it."""
    homes = iter(range(1000))

    def prepare(config: dict[str, Any], **options: Any) -> Service:
        home = tmp_path / f"service{next(homes)}"
        home.mkdir()
        service = Service(home, config, **options)
        cleanup.callback(service.clean_up)
        return service

    return prepare


@pytest.fixture(scope="session")
def service_with_built_in_prices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Start a service that many tests only ask."""
    service = Service(tmp_path_factory.mktemp("shared"), {})
    try:
        service.start().wait_for_ticks(30)
        yield service
        assert not service.tracebacks()
    finally:
        service.clean_up()


@pytest.fixture
def feed(cleanup: ExitStack) -> Callable[..., Feeder]:
    """Start an exchange; takes `pulse_s` and the options of `Feeder`."""

    def start(name: str = "exchange1", *, pulse_s: float | None = None, **options: Any) -> Feeder:
        feeder = Feeder(name, **options)
        cleanup.callback(feeder.stop)
        return feeder.start(pulse_s)

    return start
