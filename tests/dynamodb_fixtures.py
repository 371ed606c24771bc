"""An emulated DynamoDB and histories in it: `pytest_plugins` names this module."""

from contextlib import ExitStack

import pytest

from marketflow.adapters.storage.dynamodb import DynamoAssetHistory
from tests.dynamodb_server import DynamoServer, credentials


@pytest.fixture(scope="session")
def dynamodb_server():
    """An emulated DynamoDB; leave it running."""
    with DynamoServer() as server:
        yield server


@pytest.fixture
def opened():
    """Open a `DynamoAssetHistory`; credentials are found as long as nothing else is said."""
    with ExitStack() as stack:
        stack.enter_context(credentials())

        def open_one(endpoint_url, table="prices"):
            history = DynamoAssetHistory(region="us-west-2", endpoint_url=endpoint_url, table=table)
            stack.callback(history.close)
            return history

        yield open_one
