"""Whose threads wait for whom, as the kernel sees it."""

import os
from collections import Counter
from collections.abc import Callable

import pytest

from tests.end_to_end.harness import Service

HTTP_THREADS = 2  # one accepts, one answers

pytestmark = pytest.mark.skipif(
    not hasattr(os, "SCHED_BATCH"), reason="the system has no such scheduling policy"
)


def policies_of(service: Service) -> Counter[int]:
    """Count the process's threads by scheduling policy."""
    threads = map(int, os.listdir(f"/proc/{service.pid}/task"))  # noqa: PTH208  it is no path
    return Counter(os.sched_getscheduler(thread) for thread in threads)


def test_answers_do_not_wait_for_ticks_in_the_next_mode_either(
    serve: Callable[..., Service],
) -> None:
    service = serve({"mode": "test", "sources_http": {"live": []}}).start()
    service.wait_for_ticks(3)
    before = policies_of(service)
    assert before[os.SCHED_OTHER] == HTTP_THREADS
    for mode in ("live", "test"):
        assert service.ask(f"/mode/{mode}", "POST").status == 200
    service.wait_for_ticks(3)
    after = policies_of(service)
    assert after[os.SCHED_OTHER] == HTTP_THREADS
    assert after[os.SCHED_BATCH] > before[os.SCHED_BATCH], "the pool's threads have come"


def test_with_several_processors_the_kernel_is_left_to_itself(
    serve: Callable[..., Service],
) -> None:
    service = serve({"mode": "test", "pipeline": {"one_cpu": False}}).start()
    assert set(policies_of(service)) == {os.SCHED_OTHER}
