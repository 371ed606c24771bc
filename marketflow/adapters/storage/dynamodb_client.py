"""DynamoDB's client: made when first used, bounded in time, its complaints in our words."""

import logging
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as NotConnected

from marketflow.domain.errors import StorageUnavailable

_CONNECT_S = 1.0
_ANSWER_S = 2.0
_REQUEST_S = _CONNECT_S + _ANSWER_S  # no request takes longer
# one attempt: the library's default goes on for minutes, and who asks knows better when to
# come again; as many connections as threads that may ask, since more would be opened and dropped
_CONFIG = Config(
    connect_timeout=_CONNECT_S,
    read_timeout=_ANSWER_S,
    retries={"mode": "standard", "total_max_attempts": 1},
    max_pool_connections=10,
)
# a machine without roles may leave the question for one unanswered
_VARIABLES = {"metadata_service_timeout": 1, "metadata_service_num_attempts": 1}
# at level debug they write signed requests, session token included
_TALKATIVE = ("boto3", "botocore", "urllib3")
_NO_CREDENTIALS = (
    "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a "
    "profile, or give the machine a role"
)
_MAX_REASON = 200


class Refused(StorageUnavailable):
    """DynamoDB answered with an error; *code* is its name for it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class DynamoClient:
    """Requests to DynamoDB, of any thread; credentials come from boto3's usual places.

    No message holds a secret, and what boto3 would log of requests is not logged.
    """

    def __init__(self, region: str, endpoint_url: str | None) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        # what stands before an @ is a secret
        self._address = urlsplit(endpoint_url or "").netloc.rpartition("@")[2] or region
        self._closed = threading.Event()
        self._making = threading.Lock()
        self._session: botocore.session.Session | None = None
        self._client: Any = None

    def call(self, operation: str, wanted: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to *operation*, which must have the member *wanted*.

        Raises:
            Refused: DynamoDB does not do it.
            StorageUnavailable: it is not known whether it was done.
        """
        try:
            ask = getattr(self._ready_client(), operation)
            try:
                answer = _answer(ask, arguments)
            except ConnectionClosedError:  # perhaps long ago, while nobody looked
                answer = _answer(ask, arguments)
        # the cause stays out: its text may hold what was sent
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            raise Refused(self._about(_complaint(error)), code) from None
        except BotoCoreError as error:
            raise self.unavailable(_reason(error)) from None
        if wanted not in answer:
            raise self.unavailable("what answers there is not DynamoDB")
        return answer

    def wait(self, delay_s: float) -> None:
        """Wait so long, less when it is closed."""
        self._closed.wait(delay_s)

    def unavailable(self, reason: str) -> StorageUnavailable:
        """Return the error that says so of this DynamoDB."""
        return StorageUnavailable(self._about(reason))

    def close(self) -> None:
        """Close every connection; a request under way ends by itself."""
        self._closed.set()
        with self._making:
            if self._client is not None:
                self._client.close()

    def _ready_client(self) -> Any:
        if self._client is not None and not self._closed.is_set():
            return self._client
        # the search for credentials may take a while, and nobody waits for those of others
        if not self._making.acquire(timeout=_REQUEST_S):
            raise self.unavailable("credentials are still being looked for")
        try:
            if self._closed.is_set():
                raise self.unavailable("it was closed")
            if self._client is None:
                self._client = self._new_client()
            return self._client
        finally:
            self._making.release()

    def _new_client(self) -> Any:
        if self._session is None:
            self._session = _new_session()
        if self._session.get_credentials() is None:
            raise self.unavailable(_NO_CREDENTIALS)
        session = boto3.session.Session(botocore_session=self._session, region_name=self._region)
        try:
            return session.client("dynamodb", endpoint_url=self._endpoint_url)
        except ValueError:
            raise self.unavailable("region and endpoint_url make no URL") from None

    def _about(self, reason: str) -> str:
        return f"dynamodb at {self._address}: {reason}"


def _answer(ask: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return ask(**arguments)
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}  # JSON of another form than DynamoDB's makes the library stumble


def _new_session() -> botocore.session.Session:
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    session = botocore.session.get_session()
    for name, value in _VARIABLES.items():
        session.set_config_variable(name, value)
    # for the clients too that the search for credentials may need
    session.set_default_client_config(_CONFIG)
    return session


def _reason(error: BotoCoreError) -> str:
    if isinstance(error, ConnectTimeoutError):
        return f"no connection within {_CONNECT_S:.1f} s"
    if isinstance(error, ReadTimeoutError):
        return f"no answer within {_ANSWER_S:.1f} s"
    if isinstance(error, ConnectionClosedError):
        return "the connection was closed"
    if isinstance(error, (NotConnected, HTTPClientError)):
        cause = error.kwargs.get("error")
        if isinstance(cause, ValueError):  # its text quotes them
            return "the credentials cannot be sent: they must not hold line breaks"
        return _system_reason(cause) or f"the request failed with {type(cause).__name__}"
    return _first_line(str(error))


def _system_reason(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror.lower()
        error = error.__cause__ or error.__context__
    return None


def _complaint(error: ClientError) -> str:
    told = error.response.get("Error", {})
    message = _first_line(str(told.get("Message") or told.get("message") or "no reason given"))
    return f"{message} ({told.get('Code', 'unknown')})"


def _first_line(text: str) -> str:
    lines = text.strip().splitlines() or ["no reason given"]
    return lines[0][:_MAX_REASON].rstrip(". ")
