"""The process's life: signals, the orderly stop, the exit status."""

import gc
import logging
import os
import signal
import threading
from time import monotonic
from typing import Protocol

log = logging.getLogger(__name__)

_STOP_S = 9.0
_HURRY_S = 2.0
_GARBAGE = (20_000, 20, 50)  # objects of the youngest generation, then collections of a generation
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stoppable(Protocol):
    """What can be stopped by a monotonic `deadline` that may be brought forward meanwhile."""

    deadline: float

    def stop(self) -> list[str]:
        """Stop, and return the names of what was alive at the deadline."""
        ...


def block_signals() -> None:
    """Keep signals for `serve_until_signalled`; before the first thread, so that all inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def stay_on_one_cpu() -> None:
    """Keep all threads on one processor, where the system can.

    The interpreter runs one thread at a time anyway. Handing on to a thread that waits on another
    processor wakes that first: at 150 ticks a second 1.8 % of a core instead of 1.25, while a
    flood and 64 busy HTTP clients are served as fast either way.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        # instances side by side should not all choose the same one
        os.sched_setaffinity(0, {allowed[os.getpid() % len(allowed)]})


def collect_garbage_rarely() -> None:
    """Spare what is there by now from being looked through again, and look less often for more.

    Ticks make no cycles, so that there is hardly anything to find; with hundreds of pairs the
    looking took more than half of the time.
    """
    gc.freeze()  # nothing of it is garbage, and to make sure would take 12 ms
    gc.set_threshold(*_GARBAGE)


def serve_until_signalled(service: Stoppable) -> int:
    """Wait for SIGINT or SIGTERM, stop *service*, and return the exit status."""
    collect_garbage_rarely()
    received = signal.sigwait(_SIGNALS)
    log.info("marketflow stops", extra={"signal": signal.Signals(received).name})
    service.deadline = monotonic() + _STOP_S
    stuck: list[str] = []
    stopper = threading.Thread(target=lambda: stuck.extend(service.stop()), name="stopper")
    stopper.daemon = True
    stopper.start()
    while stopper.is_alive() and monotonic() < service.deadline + 0.5:
        if signal.sigtimedwait(_SIGNALS, 0.02) is not None:  # a second one hurries
            service.deadline = min(service.deadline, monotonic() + _HURRY_S)
    if stopper.is_alive() or stuck:
        alive = stuck or [thread.name for thread in threading.enumerate() if thread.daemon]
        log.error("stopped without waiting for what is stuck", extra={"alive": alive})
        logging.shutdown()
        os._exit(1)  # the interpreter would wait for the pool's threads
    log.info("marketflow stopped")
    return 0
