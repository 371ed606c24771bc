"""What the tests of DynamoDB ask of a history, and what they expect of a fault."""

import re
import time

import pytest

from marketflow.domain.asset import HistoryItem
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.dynamodb_server import SECRET, TOKEN

NOW_S = 1_746_446_400
ITEMS = [HistoryItem("btcusdt", NOW_S - n, 79_450.12 + n, NOW_S + 5) for n in range(60)]
ACTIVE = {
    "TableStatus": "ACTIVE",
    "AttributeDefinitions": [
        {"AttributeName": "asset", "AttributeType": "S"},
        {"AttributeName": "timestamp", "AttributeType": "N"},
    ],
    "KeySchema": [
        {"AttributeName": "asset", "KeyType": "HASH"},
        {"AttributeName": "timestamp", "KeyType": "RANGE"},
    ],
}


def all_of(history, asset="btcusdt"):
    return history.newest(Mode.LIVE, asset, 0, 2**62, 100_000)


def uses(history):
    return {
        "ping": history.ping,
        "append": lambda: history.append(Mode.LIVE, ITEMS),
        "newest": lambda: all_of(history),
    }


def fault(use, reason, within_s=3.5):
    """Expect *use* to fail with *reason*, in one sentence without a secret, soon."""
    began = time.monotonic()
    with pytest.raises(StorageUnavailable) as failure:
        use()
    assert time.monotonic() - began < within_s
    sentence = str(failure.value)
    assert re.fullmatch(rf"dynamodb at [\w.:-]+: {reason}", sentence), sentence
    assert SECRET not in sentence
    assert TOKEN not in sentence
    assert failure.value.__cause__ is None


def answering(**answers):
    """Return what a stand-in answers: a table that is there, and *answers*."""

    def answer(operation, arguments):
        told = answers.get(operation, {"Table": ACTIVE})
        told = told(arguments) if callable(told) else told
        return told if isinstance(told, tuple) else (200, told)

    return answer


def complaint(code, message="why"):
    return 400, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
