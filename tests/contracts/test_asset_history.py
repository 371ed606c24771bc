"""What every history of asset prices promises."""

from contextlib import ExitStack, closing, contextmanager
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.adapters.storage.dynamodb import DynamoAssetHistory
from marketflow.adapters.storage.postgres_assets import PostgresAssetHistory
from marketflow.adapters.storage.postgres_server import PostgresServer
from marketflow.adapters.storage.sqlite_assets import SqliteAssetHistory
from marketflow.domain.asset import HistoryItem
from marketflow.domain.mode import Mode
from tests.dynamodb_server import credentials
from tests.fake_assets import MemoryAssetHistory

pytest_plugins = ("tests.server_fixtures", "tests.dynamodb_fixtures")

NOW_S = 1_746_446_400
FOREVER = (0, 2**62)
UNHURRIED = settings(deadline=None, max_examples=40)  # a server answers when it does
# what a price may be, and every store can hold
PRICES = st.floats(min_value=1e-129, max_value=9e124, allow_subnormal=False)


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("dynamodb", marks=pytest.mark.slow),
    ],
    scope="module",
)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def opener(kind, request, tmp_path_factory):
    """Return a function that opens the history of that number: of an earlier one, once more."""
    with ExitStack() as stack:
        if kind == "memory":
            yield _memory()
        elif kind == "sqlite":
            path = tmp_path_factory.mktemp("history")
            yield lambda number: SqliteAssetHistory(path / str(number) / "marketflow.db")
        elif kind == "postgres":
            yield _postgres(request.getfixturevalue("postgres_server"), stack)
        else:
            stack.enter_context(credentials())
            yield _dynamodb(request.getfixturevalue("dynamodb_server"))


def _memory():
    histories = {}
    return lambda number: histories.setdefault(number, MemoryAssetHistory())


def _postgres(server, stack):
    databases = {}

    def open_one(number):
        if number not in databases:
            databases[number] = stack.enter_context(server.new_database())
        address = databases[number].address()
        where = PostgresServer(
            **address, sslmode="prefer", connect_timeout_s=5, statement_timeout_s=5
        )
        return PostgresAssetHistory(where)

    return open_one


def _dynamodb(server):
    return lambda number: DynamoAssetHistory(
        region="us-west-2", endpoint_url=server.endpoint_url, table=f"prices_{number}"
    )


@pytest.fixture(scope="module")
def shared(opener):
    """A history for tests that use assets of their own, and those assets."""
    names = (f"asset{n}usdt" for n in count())
    with closing(opener(0)) as history:
        yield history, names


@pytest.fixture
def history(shared):
    return shared[0]


@pytest.fixture
def asset(shared):
    return next(shared[1])


@pytest.fixture(scope="module")
def alone(opener):
    """Lend a history that nobody else uses, as often as wanted."""
    numbers = count(1)

    @contextmanager
    def lend():
        number = next(numbers)
        with closing(opener(number)) as history:
            yield history, number

    return lend


def item(asset, timestamp_s=NOW_S, price=79_450.12, updated_s=NOW_S + 5):
    return HistoryItem(asset, timestamp_s, price, updated_s)


def all_of(history, asset, mode=Mode.LIVE, limit=10_000):
    return history.newest(mode, asset, *FOREVER, limit)


def test_a_history_names_its_backend(history, kind):
    assert history.backend == kind


def test_a_new_history_can_be_written_and_is_empty(history, asset):
    history.ping()
    history.append(Mode.LIVE, [])
    assert all_of(history, asset) == []


@UNHURRIED
@given(prices=st.lists(PRICES, min_size=1, max_size=25))
def test_prices_come_back_to_the_bit(shared, prices):
    history, names = shared
    asset = next(names)
    items = [item(asset, NOW_S - n, price) for n, price in enumerate(prices)]
    history.append(Mode.LIVE, items)
    assert all_of(history, asset) == items


def test_times_come_back_to_the_second(history, asset):
    items = [item(asset, at, updated_s=at + 2**31) for at in (4_102_444_800, NOW_S, 1, 0)]
    history.append(Mode.LIVE, items)
    found = all_of(history, asset)
    assert found == items
    assert {type(value) for one in found for value in (one.timestamp_s, one.updated_s)} == {int}


def test_items_are_sorted_newest_first(history, asset):
    items = [item(asset, NOW_S - n * 7, 1.0 + n) for n in range(60)]
    history.append(Mode.LIVE, Random(1).sample(items, len(items)))
    assert all_of(history, asset) == items
    assert all_of(history, asset, limit=7) == items[:7]


def test_from_is_inclusive_and_to_is_exclusive(history, asset):
    items = [item(asset, NOW_S + n) for n in range(5)]
    history.append(Mode.LIVE, items)
    found = history.newest(Mode.LIVE, asset, NOW_S + 1, NOW_S + 4, 10)
    assert found == [items[3], items[2], items[1]]
    assert history.newest(Mode.LIVE, asset, NOW_S, NOW_S + 5, 2) == [items[4], items[3]]


@pytest.mark.parametrize(
    "span", [(NOW_S, NOW_S), (NOW_S + 1, NOW_S), (NOW_S + 1, 2**80), (-(2**80), NOW_S)]
)
def test_a_span_without_items_is_empty(history, asset, span):
    history.append(Mode.LIVE, [item(asset)])
    assert history.newest(Mode.LIVE, asset, *span, 10) == []


def test_modes_and_assets_never_mix(history, shared):
    one, other = next(shared[1]), next(shared[1])
    history.append(Mode.LIVE, [item(one, price=1.0), item(other, price=2.0)])
    history.append(Mode.TEST, [item(one, price=3.0)])
    history.ping()
    assert all_of(history, one) == [item(one, price=1.0)]
    assert all_of(history, other) == [item(other, price=2.0)]
    assert all_of(history, one, Mode.TEST) == [item(one, price=3.0)]
    assert all_of(history, other, Mode.TEST) == []


@pytest.mark.parametrize("name", ["1INCH-USD", "né-ß東", 'a"b\\c,{}', "'; DROP TABLE asset_prices"])
def test_a_name_may_be_written_with_any_letters(history, name):
    history.append(Mode.LIVE, [item(name)])
    assert all_of(history, name) == [item(name)]


def test_written_twice_is_harmless(history, asset):
    items = [item(asset, NOW_S - n) for n in range(30)]
    history.append(Mode.LIVE, items)
    history.append(Mode.LIVE, items)
    assert all_of(history, asset) == items


@UNHURRIED
@given(updates=st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_of_one_call_the_newest_of_a_second_stays_and_of_equals_the_last(shared, updates):
    history, names = shared
    asset = next(names)
    versions = [item(asset, NOW_S, 1.0 + n, NOW_S + at) for n, at in enumerate(updates)]
    history.append(Mode.LIVE, versions)
    newest = max(range(len(updates)), key=lambda n: (updates[n], n))
    assert all_of(history, asset) == [versions[newest]]


def test_of_equals_in_two_calls_the_later_stays(history, asset):
    history.append(Mode.LIVE, [item(asset, price=1.0)])
    history.append(Mode.LIVE, [item(asset, price=2.0)])
    assert all_of(history, asset) == [item(asset, price=2.0)]


def test_an_older_version_that_comes_later_changes_nothing(history, asset, kind):
    newer = item(asset, price=1.0, updated_s=NOW_S + 9)
    older = item(asset, price=2.0, updated_s=NOW_S + 8)
    history.append(Mode.LIVE, [newer])
    history.append(Mode.LIVE, [older])
    # DynamoDB's batches know no conditions: what is written later stays
    assert all_of(history, asset) == [older if kind == "dynamodb" else newer]


def test_items_survive_the_process(alone, opener):
    with alone() as (history, number):
        history.append(Mode.LIVE, [item("btcusdt")])
        history.append(Mode.TEST, [item("ethusdt")])
    with closing(opener(number)) as again:
        assert all_of(again, "btcusdt") == [item("btcusdt")]
        assert all_of(again, "ethusdt", Mode.TEST) == [item("ethusdt")]


def test_a_large_batch_is_written_whole(history, asset, shared):
    names = [next(shared[1]) for _ in range(400)]
    many = [item(name, NOW_S, 1.0 + n) for n, name in enumerate(names)]
    long = [item(asset, NOW_S - n, 1.0 + n) for n in range(800)]
    history.append(Mode.LIVE, many + long)
    assert all_of(history, asset) == long
    assert [all_of(history, name) for name in names[::97]] == [[one] for one in many[::97]]


def test_the_old_is_trimmed_in_both_modes_and_the_rest_stays(alone, kind):
    if kind == "dynamodb":
        return  # keeps everything: a test of its own says so
    names = [f"asset{n}usdt" for n in range(700)]
    items = [item(name, at) for name in names for at in (NOW_S, NOW_S - 1, NOW_S - 2)]
    hot = [item("zrxusdt", NOW_S - n) for n in range(5_500)]
    with alone() as (history, _):
        for mode in Mode:
            history.append(mode, items + hot)
        for _ in range(30):
            history.trim(NOW_S)
        for mode in Mode:
            assert [all_of(history, name, mode) for name in names] == [[item(n)] for n in names]
            assert all_of(history, "zrxusdt", mode) == hot[:1]
        history.append(Mode.LIVE, items[1:2])
        for _ in range(30):
            history.trim(NOW_S)
        assert all_of(history, names[0]) == items[:1], "trimming begins anew"


def test_trimming_an_empty_history_is_no_error(alone):
    with alone() as (history, _):
        history.trim(NOW_S)
