"""The whole part, with its threads."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from marketflow.adapters.clock import SystemClock
from marketflow.domain.mode import Mode
from tests.application.assets.rig import NAMES, Rig
from tests.fake_assets import MemoryAssetCache


@pytest.fixture
def rig():
    clock = SystemClock(max_step_ms=60_000)
    rig = Rig(clock=clock, cache=MemoryAssetCache(clock))
    rig.assets.start()
    yield rig
    end(rig)


def end(rig):
    rig.assets.close()
    deadline = monotonic() + 5
    assert [loop.name for loop in rig.assets.loops if not loop.join(deadline)] == []


def test_its_threads_have_names_and_end(rig):
    assert [loop.name for loop in rig.assets.loops] == ["historian", "asset-cache", "refresher"]
    assert all(loop.alive() for loop in rig.assets.loops)


def test_without_a_shared_cache_it_has_no_thread_for_one():
    assert [loop.name for loop in Rig().assets.loops] == ["historian", "refresher"]


def test_many_clients_refreshing_many_assets_all_get_their_answer(rig):
    def refresh(n):
        return rig.refreshes.refresh(NAMES[n % len(NAMES)]).result(timeout=5)

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(refresh, range(500)))
    assert {(result.price.price, result.shared, result.history) for result in done} == {
        (200.0, True, True)
    }


def test_stopped_it_has_stored_everything_closed_everything_and_left_nobody_waiting():
    clock = SystemClock(max_step_ms=60_000)
    rig = Rig(clock=clock, cache=MemoryAssetCache(clock))
    rig.assets.start()
    price = rig.refreshes.refresh("btcusdt").result(timeout=5).price
    rig.silence()
    left = rig.refreshes.refresh("ethusdt")
    end(rig)
    assert left.exception(timeout=1) is not None
    stored = {item.asset: item for item in rig.history.all(Mode.LIVE)}
    assert stored["btcusdt"].updated_s >= price.updated_ms // 1000
    assert (rig.history.closed, rig.cache.closed) == (True, True)
    assert all(exchange.closed for mode in Mode for exchange in rig.exchanges[mode])
