"""Switching: with the real collector and real intakes nothing of one mode shows in the other."""

import threading
from time import monotonic

import pytest

from marketflow.application.modes import Modes
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.distributor import Distributor
from marketflow.application.pipeline.intake import Intake, Plumbing
from marketflow.application.pipeline.loop import Loop
from marketflow.domain.errors import ChannelClosed, NoPrices, Restoring
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period
from tests.application.rig import Rig
from tests.fake_sources import ListSource, line

WAIT_S = 5.0
PRICES = {Mode.LIVE: 1.0, Mode.TEST: 2.0}
ANY = Period("5m", 300_000)


class Endless(ListSource):
    """Sends its mode's one price until it is closed."""

    def __init__(self, mode, rig):
        super().__init__("exchange1", decode=rig.decode)
        self._chunk = line("BTCUSDT", PRICES[mode], rig.clock.now().wall_ms) * 3

    def chunks(self):
        yield b""
        while not self._closed.wait(0.0005):
            yield self._chunk


class Bench:
    """Everything of the service that a switch touches."""

    def __init__(self):
        self.rig = rig = Rig()
        self.inbox = Channel("inbox", 64)
        self.plumbing = Plumbing(
            inbox=self.inbox,
            batches=rig.collector_channel,
            journal=rig.journal,
            clock=rig.clock,
            telemetry=rig.telemetry,
            rules=rig.rules,
            workers_per_source=2,
            backoff_max_s=0.01,
        )
        self.modes = Modes(
            Mode.LIVE,
            new_intake=self._new_intake,
            new_state=rig.new_state,
            batches=rig.collector_channel,
            market=rig.market,
        )
        self.loops = [
            Loop("distributor", Distributor(self.inbox).run),
            Loop("collector", rig.collector.run),
        ]

    def start(self):
        for loop in self.loops:
            loop.start()
        self.modes.start()

    def stop(self):
        assert self.modes.stop(monotonic() + WAIT_S) == []
        for loop, channel in zip(self.loops, (self.inbox, self.rig.collector_channel), strict=True):
            channel.close()
            assert loop.join(monotonic() + WAIT_S)
        self.rig.closings.close()
        self.rig.flusher.run()

    def _new_intake(self, mode, number):
        return Intake(mode, number, [Endless(mode, self.rig)], self.plumbing)


@pytest.fixture
def bench():
    bench = Bench()
    bench.start()
    yield bench
    bench.stop()


def await_price(bench):
    deadline = monotonic() + WAIT_S
    while monotonic() < deadline:
        try:
            return bench.rig.prices.latest("BTCUSDT").price
        except NoPrices:
            threading.Event().wait(0.001)
    raise AssertionError("no price came")


def test_twenty_switches_under_load_mix_nothing_and_lose_nothing(bench):
    threads = threading.active_count()
    for turn in range(20):
        mode = Mode.TEST if turn % 2 == 0 else Mode.LIVE
        await_price(bench)
        outcome = bench.modes.switch(mode)
        assert (outcome.mode, outcome.changed, bench.modes.mode) == (mode, True, mode)
        assert await_price(bench) == PRICES[mode]
        for highest in (True, False):
            answer = bench.rig.prices.extreme("BTCUSDT", None, ANY, highest=highest)
            assert answer.price == PRICES[mode]
        assert threading.active_count() == threads
        assert bench.modes.intake.number == bench.rig.market.state.intake == turn + 1
    bench.stop()
    rows = {row.mode: row for row in bench.rig.store.all()}
    ticks = dict.fromkeys(Mode, 0)
    for record in bench.rig.journal.appended:
        ticks[record.mode] += record.chunk.count(b"\n")
    for mode, row in rows.items():
        assert (row.min_price, row.max_price) == (PRICES[mode], PRICES[mode])
        assert row.tick_count == ticks[mode], "the minute book must survive a switch"


def test_switching_to_the_current_mode_changes_nothing(bench):
    price, intake = await_price(bench), bench.modes.intake
    outcome = bench.modes.switch(Mode.LIVE)
    assert (outcome.mode, outcome.previous, outcome.changed) == (Mode.LIVE, Mode.LIVE, False)
    assert bench.modes.intake is intake
    assert await_price(bench) == price


def test_switches_at_the_same_moment_take_turns(bench):
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(bench.modes.switch(Mode.TEST)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(outcome.changed for outcome in outcomes) == [False, False, False, True]


def test_no_switch_while_the_journal_is_replayed(bench):
    bench.rig.market.restoring = True
    with pytest.raises(Restoring):
        bench.modes.switch(Mode.TEST)
    bench.rig.market.restoring = False
    assert bench.modes.mode is Mode.LIVE


def test_after_the_stop_nothing_is_switched_nor_revived(bench):
    assert bench.modes.stop(monotonic() + WAIT_S) == []
    with pytest.raises(ChannelClosed):
        bench.modes.switch(Mode.TEST)
    assert bench.modes.revive() == 0


def test_nothing_is_revived_in_the_middle_of_a_switch(bench):
    with bench.modes._lock:
        assert bench.modes.revive() == 0
