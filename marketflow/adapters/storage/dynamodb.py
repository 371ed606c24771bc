"""The history of asset prices in DynamoDB: a table for each mode, one item per asset and second."""

import logging
import random
from collections.abc import Sequence
from time import monotonic
from typing import Any

from marketflow.adapters.storage.asset_items import ones_that_stay, storable_s
from marketflow.adapters.storage.dynamodb_client import DynamoClient, Refused
from marketflow.domain.asset import HistoryItem
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

Item = dict[str, dict[str, str]]
Request = dict[str, Any]

_KEY = "asset (S, HASH), timestamp (N, RANGE)"
_SCHEMA: dict[str, Any] = {
    "AttributeDefinitions": [
        {"AttributeName": "asset", "AttributeType": "S"},
        {"AttributeName": "timestamp", "AttributeType": "N"},
    ],
    "KeySchema": [
        {"AttributeName": "asset", "KeyType": "HASH"},
        {"AttributeName": "timestamp", "KeyType": "RANGE"},
    ],
    "BillingMode": "PAY_PER_REQUEST",
}
_OF_ASSET: dict[str, Any] = {
    "KeyConditionExpression": "asset = :asset AND #timestamp BETWEEN :first AND :last",
    "ExpressionAttributeNames": {"#timestamp": "timestamp"},  # a reserved word
    "ScanIndexForward": False,
    "ConsistentRead": True,  # what was appended is seen
}
# deletes what is never there: refused wherever a write would be
_WRITE_OF_NOTHING: Request = {
    "DeleteRequest": {"Key": {"asset": {"S": "marketflow:ping"}, "timestamp": {"N": "0"}}}
}
_NO_TABLE = "ResourceNotFoundException"
_IN_USE = "ResourceInUseException"
_USABLE = ("ACTIVE", "UPDATING")
_THROTTLED = (
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
)
_ITEMS_AT_ONCE = 25  # DynamoDB's limit
# after so long nothing more is asked; a pause and the last request may take 4 s more
_APPEND_S = 6.0
_READ_S = 2.0
_CREATE_S = 2.0
_LOOK_AGAIN_S = 0.1
_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 1.0
_SMALLEST, _LARGEST = 1e-130, 9.99e125  # numbers that DynamoDB can hold


class DynamoAssetHistory:
    """Prices of assets in *table*, those of mode test in *table* with `_test` behind it.

    Tables are created when missing. Batches know no conditions, so of two items with the same
    asset and second in two calls of `append` the later written stays; within one call the newest.
    A server that falls silent is given up after 2 s, one that is slow, or takes none of the items,
    within 10 s.
    """

    backend = "dynamodb"

    def __init__(self, *, region: str, endpoint_url: str | None, table: str) -> None:
        self._client = DynamoClient(region, endpoint_url)
        self._tables = {Mode.LIVE: table, Mode.TEST: f"{table}_test"}
        self._used = {Mode.LIVE}
        self._found: set[Mode] = set()

    def append(self, mode: Mode, items: Sequence[HistoryItem]) -> None:
        give_up_at = monotonic() + _APPEND_S
        table = self._table(mode)
        waiting = [_put(item) for item in self._storable(ones_that_stay(items))]
        delay_s = _FIRST_DELAY_S
        while waiting:
            unprocessed = self._write(mode, waiting[:_ITEMS_AT_ONCE])
            waiting = waiting[_ITEMS_AT_ONCE:] + unprocessed
            if waiting and monotonic() >= give_up_at:
                raise self._client.unavailable(
                    f"table {table} left {len(waiting)} items unwritten for {_APPEND_S:.1f} s"
                )
            if unprocessed:
                self._client.wait(delay_s * random.uniform(0.5, 1.0))
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            else:
                delay_s = _FIRST_DELAY_S

    def newest(
        self, mode: Mode, asset: str, from_s: int, to_s: int, limit: int
    ) -> list[HistoryItem]:
        if from_s >= to_s:
            return []  # DynamoDB calls that an error
        give_up_at = monotonic() + _READ_S
        values = {
            ":asset": {"S": asset},
            ":first": {"N": str(storable_s(from_s))},
            ":last": {"N": str(storable_s(to_s - 1))},
        }
        query = {"TableName": self._table(mode), "ExpressionAttributeValues": values, **_OF_ASSET}
        found: list[HistoryItem] = []
        while True:
            page = self._ask(mode, "query", "Items", Limit=limit - len(found), **query)
            found += [self._item(asset, item) for item in page["Items"]]
            if len(found) >= limit or "LastEvaluatedKey" not in page:
                return found
            if monotonic() >= give_up_at:
                raise self._client.unavailable(f"no whole answer within {_READ_S:.1f} s")
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def trim(self, before_s: int) -> None:
        """Do nothing: to find what is old, all of a table would have to be read, and paid for."""

    def ping(self) -> None:
        self._found.clear()
        for mode in sorted(self._used):
            self._table(mode)
            if self._write(mode, [_WRITE_OF_NOTHING]):
                raise self._client.unavailable("it takes no more at the moment")

    def close(self) -> None:
        self._client.close()

    def _storable(self, items: Sequence[HistoryItem]) -> list[HistoryItem]:
        """Leave out what DynamoDB will never take: it would refuse the whole batch, for ever."""
        storable = [item for item in items if _SMALLEST <= item.price <= _LARGEST]
        if len(storable) < len(items):
            log.error(
                "asset prices left out, DynamoDB cannot hold them",
                extra={"count": len(items) - len(storable)},
            )
        return storable

    def _write(self, mode: Mode, requests: Sequence[Request]) -> list[Request]:
        """Write a batch and return what of it was not written, for lack of capacity."""
        table = self._tables[mode]
        try:
            answer = self._ask(
                mode, "batch_write_item", "UnprocessedItems", RequestItems={table: requests}
            )
        except Refused as error:
            if error.code in _THROTTLED:
                return list(requests)
            raise
        unprocessed: list[Request] = answer["UnprocessedItems"].get(table, [])
        return unprocessed

    def _ask(self, mode: Mode, operation: str, wanted: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._client.call(operation, wanted, **arguments)
        except Refused as error:
            if error.code == _NO_TABLE:
                self._found.discard(mode)
            raise

    def _table(self, mode: Mode) -> str:
        """Return the name of the table of *mode*, which is there; the first time it is looked."""
        name = self._tables[mode]
        if mode not in self._found:
            self._used.add(mode)
            self._find(name)
            self._found.add(mode)
        return name

    def _find(self, name: str) -> None:
        give_up_at = monotonic() + _CREATE_S
        while True:
            table = self._description(name)
            status = "CREATING" if table is None else table.get("TableStatus")
            if status in _USABLE:
                return
            if status != "CREATING":
                raise self._client.unavailable(f"table {name} must be active, was {status}")
            if table is None:
                self._create(name)
            if monotonic() >= give_up_at:
                raise self._client.unavailable(f"table {name} is being created")
            self._client.wait(_LOOK_AGAIN_S)

    def _description(self, name: str) -> dict[str, Any] | None:
        try:
            answer = self._client.call("describe_table", "Table", TableName=name)
        except Refused as error:
            if error.code == _NO_TABLE:
                return None
            raise
        table: dict[str, Any] = answer["Table"]
        key = _key_of(table)
        if key != _KEY:
            raise self._client.unavailable(f"table {name} must have the key {_KEY}, was {key}")
        return table

    def _create(self, name: str) -> None:
        try:
            self._client.call("create_table", "TableDescription", TableName=name, **_SCHEMA)
        except Refused as error:
            if error.code != _IN_USE:  # another instance was quicker
                raise
        else:
            log.info("table created", extra={"table": name})

    def _item(self, asset: str, item: Item) -> HistoryItem:
        try:
            return HistoryItem(
                asset,
                int(item["timestamp"]["N"]),
                float(item["price"]["N"]),
                int(item["updated_at"]["N"]),
            )
        except (KeyError, ValueError):
            reason = f"an item of {asset} must have whole times and a price, was {item}"[:300]
            raise self._client.unavailable(reason) from None


def _key_of(table: dict[str, Any]) -> str:
    definitions = table.get("AttributeDefinitions", [])
    types = {one.get("AttributeName"): one.get("AttributeType") for one in definitions}
    parts = [(one.get("AttributeName"), one.get("KeyType")) for one in table.get("KeySchema", [])]
    return ", ".join(f"{name} ({types.get(name)}, {role})" for name, role in parts)


def _put(item: HistoryItem) -> Request:
    return {
        "PutRequest": {
            "Item": {
                "asset": {"S": item.asset},
                "timestamp": {"N": str(item.timestamp_s)},
                "price": {"N": repr(item.price)},  # 17 digits at most: read back equal to the bit
                "updated_at": {"N": str(item.updated_s)},
            }
        }
    }
