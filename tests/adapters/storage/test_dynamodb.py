import logging
from itertools import count

import boto3
import pytest
from botocore.config import Config

from marketflow.adapters.storage import dynamodb, dynamodb_client
from marketflow.domain.mode import Mode
from tests.adapters.storage.dynamodb_rig import (
    ACTIVE,
    ITEMS,
    NOW_S,
    all_of,
    answering,
    complaint,
    fault,
    uses,
)
from tests.dynamodb_server import silent_server, stand_in
from tests.proxy import Proxy

pytest_plugins = ("tests.dynamodb_fixtures",)
pytestmark = pytest.mark.slow

_numbers = count()


@pytest.fixture
def table():
    return f"prices.{next(_numbers)}"


@pytest.fixture
def history(dynamodb_server, opened, table):
    return opened(dynamodb_server.endpoint_url, table)


@pytest.fixture
def aws(dynamodb_server, opened):
    """boto3's own client, for looking from outside."""
    client = boto3.client("dynamodb", "us-west-2", endpoint_url=dynamodb_server.endpoint_url)
    yield client
    client.close()


def test_ping_creates_the_table_that_the_brief_describes(history, aws, table):
    history.ping()
    description = aws.describe_table(TableName=table)["Table"]
    assert description["KeySchema"] == ACTIVE["KeySchema"]
    assert description["AttributeDefinitions"] == ACTIVE["AttributeDefinitions"]
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert aws.scan(TableName=table)["Items"] == []
    assert table + "_test" not in aws.list_tables()["TableNames"]


def test_an_item_reads_like_its_documentation(history, aws, table):
    history.append(Mode.TEST, ITEMS[:1])
    assert aws.scan(TableName=table + "_test")["Items"] == [
        {
            "asset": {"S": "btcusdt"},
            "timestamp": {"N": "1746446400"},
            "price": {"N": "79450.12"},
            "updated_at": {"N": "1746446405"},
        }
    ]


@pytest.mark.parametrize(
    ("names", "types", "found"),
    [
        (["asset"], "S", r"asset \(S, HASH\)"),
        (["asset", "timestamp"], "SS", r"asset \(S, HASH\), timestamp \(S, RANGE\)"),
        (["timestamp", "asset"], "NS", r"timestamp \(N, HASH\), asset \(S, RANGE\)"),
    ],
)
def test_a_table_with_another_key_is_refused(history, aws, table, names, types, found):
    roles = zip(names, ("HASH", "RANGE"), strict=False)
    aws.create_table(
        TableName=table,
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind}
            for name, kind in zip(names, types, strict=True)
        ],
        KeySchema=[{"AttributeName": name, "KeyType": role} for name, role in roles],
        BillingMode="PAY_PER_REQUEST",
    )
    for use in uses(history).values():
        fault(
            use,
            rf"table {table} must have the key asset .S, HASH., timestamp .N, RANGE., was {found}",
        )


def test_a_table_dropped_while_running_is_created_again(history, aws, table):
    history.append(Mode.LIVE, ITEMS)
    aws.delete_table(TableName=table)
    fault(lambda: history.append(Mode.LIVE, ITEMS), r".*\(ResourceNotFoundException\)")
    history.append(Mode.LIVE, ITEMS)
    assert all_of(history) == ITEMS


def test_nothing_is_trimmed(history):
    history.append(Mode.LIVE, ITEMS)
    history.trim(2 * NOW_S)
    assert all_of(history) == ITEMS


def test_an_item_of_somebody_else_is_reported(history, aws, table):
    history.ping()
    item = {"asset": {"S": "btcusdt"}, "timestamp": {"N": "1.5"}, "price": {"S": "high"}}
    aws.put_item(TableName=table, Item=item)
    fault(lambda: all_of(history), "an item of btcusdt must have whole times and a price, was .*")


def test_a_price_that_dynamodb_cannot_hold_keeps_no_other_out(history, caplog):
    prices = (1.0, 1e-300, 9.99e125, 1e200, float("nan"), 1e-130)
    items = [ITEMS[n]._replace(price=price) for n, price in enumerate(prices)]
    history.append(Mode.LIVE, items)
    assert all_of(history) == [items[0], items[2], items[5]]
    (record,) = [one for one in caplog.records if one.name == dynamodb.__name__]
    assert (record.levelname, record.count) == ("ERROR", 3)


def test_a_killed_server_is_used_again_when_it_is_back(dynamodb_server, history):
    history.append(Mode.LIVE, ITEMS)
    dynamodb_server.kill()
    try:
        for use in uses(history).values():
            fault(use, "connection refused")
    finally:
        dynamodb_server.start()
    history.ping()
    history.append(Mode.LIVE, ITEMS)
    assert all_of(history) == ITEMS


def test_connections_that_were_cut_unseen_cost_nothing(dynamodb_server, opened, table):
    with Proxy("127.0.0.1", dynamodb_server.port) as proxy:
        history = opened(f"http://127.0.0.1:{proxy.port}", table)
        history.append(Mode.LIVE, ITEMS[:30])
        proxy.cut()
        history.append(Mode.LIVE, ITEMS[30:])
        proxy.cut()
        assert all_of(history) == ITEMS


def test_a_connection_that_dies_with_a_request_is_replaced_once(opened):
    answers = iter([(200, {"Table": ACTIVE}), None, (200, {"UnprocessedItems": {}}), None, None])
    with stand_in(lambda *_: next(answers)) as url:
        history = opened(url)
        history.append(Mode.LIVE, ITEMS[:1])
        fault(lambda: history.append(Mode.LIVE, ITEMS[:1]), "the connection was closed")


def test_a_hung_server_is_given_up_in_time(opened):
    with silent_server() as url:
        fault(opened(url).ping, r"no answer within 2\.0 s")


def test_a_server_that_hangs_later_is_given_up_and_heals(
    dynamodb_server, opened, table, monkeypatch
):
    impatient = dynamodb_client._CONFIG.merge(Config(read_timeout=0.3))
    monkeypatch.setattr(dynamodb_client, "_CONFIG", impatient)
    with Proxy("127.0.0.1", dynamodb_server.port) as proxy:
        history = opened(f"http://127.0.0.1:{proxy.port}", table)
        history.ping()
        proxy.swallow()
        fault(uses(history)["append"], r"no answer within 2\.0 s")
        proxy.heal()
        history.append(Mode.LIVE, ITEMS)
        assert all_of(history) == ITEMS


def test_unprocessed_items_are_written_in_the_end(opened):
    written, batches = [], []

    def take_some(arguments):
        ((name, requests),) = arguments["RequestItems"].items()
        batches.append(len(requests))
        if len(batches) == 2:
            return complaint("ProvisionedThroughputExceededException")
        taken = requests[:10] if len(batches) < 5 else requests
        written.extend(int(one["PutRequest"]["Item"]["timestamp"]["N"]) for one in taken)
        rest = requests[len(taken) :]
        return {"UnprocessedItems": {name: rest} if rest else {}}

    with stand_in(answering(BatchWriteItem=take_some)) as url:
        history = opened(url)
        history.append(Mode.LIVE, ITEMS)
    assert sorted(written, reverse=True) == [item.timestamp_s for item in ITEMS]
    assert max(batches) == 25


def test_a_table_that_takes_nothing_is_given_up_in_time(opened, monkeypatch):
    monkeypatch.setattr(dynamodb, "_APPEND_S", 0.3)
    refuse = answering(BatchWriteItem=lambda it: {"UnprocessedItems": it["RequestItems"]})
    with stand_in(refuse) as url:
        history = opened(url)
        fault(uses(history)["append"], r"table prices left 60 items unwritten for 0\.3 s")
        fault(history.ping, "it takes no more at the moment")


def test_an_empty_span_is_no_question(opened):
    with stand_in(answering(Query=complaint("ValidationException"))) as url:
        history = opened(url)
        assert history.newest(Mode.LIVE, "btcusdt", NOW_S + 1, NOW_S, 10) == []


def test_an_answer_in_pages_is_read_to_the_limit(opened):
    asked = []

    def page(arguments):
        asked.append(arguments["Limit"])
        last = arguments.get("ExclusiveStartKey", {"timestamp": {"N": "100"}})
        at = [int(last["timestamp"]["N"]) - n for n in range(1, 4)][: arguments["Limit"]]
        numbers = [{"timestamp": {"N": str(n)}, "price": {"N": "1"}} for n in at]
        items = [one | {"updated_at": {"N": "5"}} for one in numbers]
        return {"Items": items, "LastEvaluatedKey": {"timestamp": {"N": str(at[-1])}}}

    with stand_in(answering(Query=page)) as url:
        history = opened(url)
        found = history.newest(Mode.LIVE, "btcusdt", 0, 200, 8)
    assert [item.timestamp_s for item in found] == list(range(99, 91, -1))
    assert asked == [8, 5, 2]


def test_a_table_is_waited_for_while_it_is_created(opened):
    states = iter(["CREATING", "CREATING", "ACTIVE"])
    created = []

    def describe(arguments):
        if not created:
            return complaint("ResourceNotFoundException")
        return {"Table": ACTIVE | {"TableStatus": next(states)}}

    def create(arguments):
        created.append(arguments["TableName"])
        return complaint("ResourceInUseException")  # another instance was quicker

    answers = answering(
        DescribeTable=describe, CreateTable=create, BatchWriteItem={"UnprocessedItems": {}}
    )
    with stand_in(answers) as url:
        history = opened(url)
        history.ping()
    assert created == ["prices"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("CREATING", "table prices is being created"),
        ("DELETING", ".* must be active, was DELETING"),
    ],
)
def test_a_table_that_does_not_become_active_is_not_waited_for_long(
    opened, monkeypatch, status, reason
):
    monkeypatch.setattr(dynamodb, "_CREATE_S", 0.3)
    with stand_in(answering(DescribeTable={"Table": ACTIVE | {"TableStatus": status}})) as url:
        history = opened(url)
        fault(history.ping, reason)


def test_nothing_of_a_request_is_logged(history, caplog):
    with caplog.at_level(logging.DEBUG):
        history.append(Mode.LIVE, ITEMS)
    assert {record.name for record in caplog.records} == {dynamodb.__name__}


def test_a_closed_history_is_unavailable(history):
    history.ping()
    history.close()
    history.close()
    for use in uses(history).values():
        fault(use, "it was closed")
