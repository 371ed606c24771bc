"""The composition root: builds every object, starts them sink first, stops them source first."""

import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from marketflow import __version__
from marketflow.adapters.clock import SystemClock
from marketflow.adapters.storage.data_dir import DataDirInUse, DataDirLock
from marketflow.application.pipeline.loop import Loop
from marketflow.application.supervisor import Supervisor
from marketflow.config import Config
from marketflow.domain.errors import StorageUnavailable
from marketflow.pipeline import Pipeline
from marketflow.process import serve_until_signalled, stay_on_one_cpu
from marketflow.quoting import quoting_of
from marketflow.serving import LOOPBACK, server_of
from marketflow.settings import ConfigError

log = logging.getLogger(__name__)

_OTHER_REQUIREMENTS = {"boto3": "requirements-dynamodb.txt"}


class Service:
    """Every object of one running service. The port is bound at construction, `start` serves.

    Raises:
        ConfigError: a file or an address that the configuration names cannot be used.
        OSError: the address is taken or not ours.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = threading.Event()
        self.deadline = 0.0  # of the stop, monotonic; may be brought forward while stopping
        clock = SystemClock(max_step_ms=config.feed.max_clock_skew_ms)
        self._pipeline = Pipeline(config, clock, self._stopping)
        market = self._pipeline.market
        self._quoting = None
        if config.assets.enabled:
            self._quoting = quoting_of(config, clock=clock, mode=lambda: market.state.mode)
        supervisor = Supervisor(
            modes=self._pipeline.modes,
            loops=lambda: self._loops,
            clock=clock,
            telemetry=self._pipeline.telemetry,
            stopping=self._stopping,
        )
        self._loops = [*self._pipeline.loops, Loop("supervisor", supervisor.run)]
        if self._quoting is not None:
            self._loops += self._quoting.loops
        self._pool = ThreadPoolExecutor(config.http.workers, thread_name_prefix="http-worker")
        self._server = server_of(
            config,
            self._pipeline,
            None if self._quoting is None else self._quoting.assets,
            clock=clock,
            pool=self._pool,
            threads=self.threads,
        )

    def start(self) -> None:
        """Start the threads, sink first."""
        modes = self._pipeline.modes
        self._pipeline.market.restoring = True
        for loop in self._loops:
            loop.start()
        self._server.start()
        modes.start()
        http = self._config.http
        host = f"[{http.host}]" if ":" in http.host else http.host
        context = {
            "url": f"http://{host}:{http.port}/",
            "mode": modes.mode,
            "data_dir": self._config.data_dir,
        }
        log.info("marketflow started", extra={"version": __version__, **context})
        if not http.admin_token and http.host not in LOOPBACK:
            log.warning("anyone who reaches this address may switch modes: set http.admin_token")

    def stop(self) -> list[str]:
        """Stop the threads, source first; the names of what was alive at the deadline."""
        self._stopping.set()
        stuck = self._pipeline.modes.stop(self.deadline)
        if not self._server.stop(max(0.1, min(2.0, self.deadline - monotonic()))):
            stuck.append("http-poll")
        self._pool.shutdown(wait=False)
        if self._quoting is not None:
            # its threads are joined below: a slow history must not take the pipeline's time
            self._quoting.close()
        stuck += self._pipeline.stop(self.deadline)
        stuck += [loop.name for loop in self._loops if not loop.join(self.deadline)]
        self._pipeline.stores.close()
        return list(dict.fromkeys(stuck))

    def threads(self) -> tuple[int, int]:
        """Return how many threads there should be, and how many are alive."""
        expected, alive = self._pipeline.modes.threads()
        own = [loop.alive() for loop in self._loops]
        own += [thread.is_alive() for thread in self._server.threads]
        return expected + len(own), alive + sum(own)


def run(config: Config, warnings: list[str]) -> int:
    """Serve until a signal ends it; the exit status: 0 fine, 1 could not start or not stop."""
    sys.setswitchinterval(0.0005)  # the poll thread must get its turn between busy workers
    if config.pipeline.one_cpu:
        stay_on_one_cpu()
    for warning in warnings:
        log.warning(warning)
    lock = DataDirLock(config.data_dir)
    try:
        lock.acquire()
    except DataDirInUse as error:
        return _complain(str(error))
    except StorageUnavailable as error:  # prices can be served all the same; /health says so
        log.error("data directory cannot be used", extra={"reason": str(error)})
    try:
        service = Service(config)
    except ConfigError as error:
        return _complain(str(error), status=2)
    except ImportError as error:
        wanted = _OTHER_REQUIREMENTS.get(error.name or "", "requirements.txt")
        return _complain(f"{error.name} is not installed: pip install -r {wanted}")
    except OSError as error:
        return _complain(
            f"cannot listen on {config.http.host}:{config.http.port}: {error.strerror or error}"
        )
    service.start()
    return serve_until_signalled(service)


def _complain(sentence: str, status: int = 1) -> int:
    print(f"marketflow: {sentence}", file=sys.stderr)  # noqa: T201  a start error is for people
    return status
