"""A service among exchanges, a PostgreSQL and a Redis, and what it must do through a fault."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Self

from tests.end_to_end.feeder import now_ms
from tests.end_to_end.harness import Service, config_of, until
from tests.end_to_end.ledger import INTERVAL_MS, SYMBOLS, StoredRow
from tests.faults.backends import SECRETS, Backends
from tests.faults.exchanges import Exchanges
from tests.faults.invariants import check_conservation, check_silence, check_stored, check_streams
from tests.servers import PostgresServer

TELLS_S = 6.0
RECOVERS_S = 5.0
GRACE_S = 0.2
MIRRORS_S = 2.0
MINUTE_MS = 60_000
ANSWERS_S = 0.05
_LATE_INTERVALS = 20  # on a busy machine a chunk may be delayed: it must count all the same


class Market:
    """Everything, started; ends with a look for passwords in all that the services said."""

    def __init__(
        self,
        home: Path,
        postgres: PostgresServer,
        *,
        exchanges: Exchanges | None = None,
        interval_ms: int = INTERVAL_MS,
    ) -> None:
        self.interval_ms = interval_ms
        self.backends = Backends(postgres)
        self.exchanges = exchanges or Exchanges("exchange1", "exchange2")
        self.services: list[Service] = []
        self.said: list[str] = []
        self._home = home
        self._started_at = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.backends)
        self._stack.callback(self.exchanges.stop)
        self.exchanges.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            for service in self.services:
                service.clean_up()
            said = [*self.said, *("\n".join(service.log) for service in self.services)]
            check_silence(said, SECRETS)
            assert not [line for service in self.services for line in service.tracebacks()]

    @property
    def service(self) -> Service:
        """The one there is, or the first."""
        return self.services[0]

    def add_service(self, *, line: int = 0, **sections: dict[str, Any]) -> Service:
        """Prepare a service that reads *line* of the exchanges, on a data directory of its own."""
        home = self._home / f"service{len(self.services)}"
        home.mkdir()
        config = config_of(self.exchanges.addresses(line), **self.backends.config())
        config["aggregation"] |= {
            "interval": f"{self.interval_ms}ms",
            "late_intervals": _LATE_INTERVALS,
        }
        for name, settings in sections.items():
            config[name] = config.get(name, {}) | settings
        service = Service(home, config)
        self.services.append(service)
        return service

    def run(self) -> Service:
        """Start the one service, and wait until all is well and rows come in."""
        service = self.add_service().start()
        self.exchanges.wait_until_heard()
        self.is_well()
        until(self.rows, 10, "rows")
        return service

    def rows(self) -> list[StoredRow]:
        """Return the stored minutes."""
        return self.backends.rows()

    def health(self) -> Any:
        """Return what /health says, and remember it for the look for passwords."""
        answer = self.service.ask("/health")
        self.said.append(answer.body.decode())
        return answer.json

    def tells(self, part: str, reason: str = "") -> Any:
        """Return /health once a problem with *part*, for that *reason*, degrades it."""
        found = until(lambda: self._told(part, reason), TELLS_S, f"{part} {reason} in /health")
        assert self.service.ask("/health").status == 200
        return found

    def is_well(self, within_s: float = TELLS_S) -> None:
        """Wait until /health is without a problem."""
        until(lambda: self.health()["status"] == "ok", within_s, f"end of {self.health()}")

    def keeps_answering(self) -> None:
        """Check that answers come at once, and that they are of now."""
        sent = len(self.exchanges.lines[0][0].ledger)
        until(lambda: len(self.exchanges.lines[0][0].ledger) > sent + 5, 5, "more ticks")
        newest = self.exchanges.lines[0][0].ledger[sent].timestamp_ms
        until(
            lambda: self.service.json("/prices/latest/BTCUSDT")["timestamp"] >= newest,
            2,
            "a price from after the fault",
        )
        took = []
        for _ in range(20):
            started = monotonic()
            self.service.json("/prices/latest/BTCUSDT")
            took.append(monotonic() - started)
        # one in twenty is the machine's: with a fault in their way all would wait
        assert sorted(took)[-2] < ANSWERS_S, took
        assert self.service.json("/prices/average/BTCUSDT?period=5m")["count"] > 0

    def a_minute_waits(self) -> None:
        """Wait until a row has nowhere to go."""
        until(
            lambda: self.health()["storage"]["outbox_rows"] >= len(SYMBOLS),
            self.interval_ms / 1000 + 2,
            "row that waits",
        )

    def a_minute_is_stored(self) -> None:
        """Wait until a minute that is open now is in PostgreSQL."""
        end_ms = now_ms() // self.interval_ms * self.interval_ms + self.interval_ms
        until(
            lambda: any(row.end_ms == end_ms for row in self.rows()),
            self.interval_ms / 1000 + RECOVERS_S,
            "row of this minute",
        )

    def stop(self, end: Callable[[Service], object] = Service.terminate) -> None:
        """End the service by *end* when it has noted all that was sent."""
        with self.exchanges.quiet():
            self._accounts_for_all()
            end(self.service)
            self.exchanges.hang_up()
            self._started_at = monotonic()

    def restart(self, end: Callable[[Service], object] = Service.terminate) -> None:
        """Stop the service, and start it again."""
        self.stop(end)
        self.service.start()
        self.exchanges.wait_until_heard()

    def recovers(
        self, healed_at: float | None = None, rows: Callable[[], list[StoredRow]] | None = None
    ) -> None:
        """Check all that must hold soon after *healed_at*, now if it is not given.

        *rows* says where the stored minutes are, if not in the table.
        """
        healed_at = healed_at or monotonic()
        find, until_ms = rows or self.rows, now_ms()

        def all_is_stored() -> None:
            sent = self.exchanges.ledger()
            check_stored(find(), sent, until_ms=until_ms, interval_ms=self.interval_ms)

        eventually(all_is_stored, healed_at + RECOVERS_S + GRACE_S)
        self.is_well(healed_at + TELLS_S - monotonic())
        with self.exchanges.quiet():
            self._accounts_for_all()

    def check_silence(self) -> None:
        """Check that --check-config tells no password."""
        command = self.service.command("--check-config")
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        assert self.backends.name in done.stdout
        check_silence([done.stdout, done.stderr], SECRETS)

    def _told(self, part: str, reason: str) -> Any:
        health = self.health()
        told = [text for text in health["problems"] if part in text and reason in text]
        return health if told and health["status"] == "degraded" else None

    def _accounts_for_all(self) -> None:
        sent = self.exchanges.ledger()
        counts = Counter(tick.exchange for tick in sent if tick.connected_at > self._started_at)
        self.service.wait_for_ticks(counts.total())
        check_conservation(self.service.metrics(), counts)
        newest = {(tick.exchange, tick.symbol): (tick.timestamp_ms, tick.price) for tick in sent}

        def all_is_mirrored() -> None:
            assert self.backends.latest() == newest
            check_streams(self.backends.streams(), sent, from_ms=now_ms() - MINUTE_MS)

        eventually(all_is_mirrored, monotonic() + MIRRORS_S)
        self.said.append(json.dumps(self.service.metrics()))


def eventually(check: Callable[[], None], deadline: float) -> None:
    """Return when *check* passes; what it says at the monotonic *deadline* is raised."""
    pause = Event()
    while True:
        try:
            check()
        except AssertionError:
            if monotonic() > deadline:
                raise
            pause.wait(0.05)
        else:
            return
