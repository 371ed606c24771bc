"""What holds for every test: it ends the threads it starts."""

import threading
from time import monotonic

import pytest

_ALLOWANCE_S = 1.0  # for a thread that was told to end and is about to


@pytest.fixture(autouse=True)
def no_leaked_threads():
    """Fail if a thread that the test started is alive a second after it."""
    before = set(threading.enumerate())
    yield
    deadline = monotonic() + _ALLOWANCE_S
    leaked = []
    for thread in threading.enumerate():
        if thread not in before and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                leaked.append(thread.name)
    assert not leaked, f"threads must end with the test that started them, were alive: {leaked}"
