import pytest

from marketflow.domain.errors import StorageUnavailable
from tests.adapters.storage.dynamodb_rig import answering, complaint, fault, uses
from tests.dynamodb_server import TOKEN, credentials, silent_server, stand_in
from tests.servers import free_port

pytest_plugins = ("tests.dynamodb_fixtures",)
pytestmark = pytest.mark.slow

NO_CREDENTIALS = dict.fromkeys(
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), None
)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1, 2]", b"null", {"Table": 7}, {"Table": {"KeySchema": [{"a": 1}]}}]
)
def test_what_is_no_dynamodb_is_said_to_be_none(opened, body):
    with stand_in(lambda *_: (200, body)) as url:
        history = opened(url)
        fault(
            history.ping, "(what answers there is not DynamoDB|table prices must have the key .*)"
        )


def test_a_write_that_somebody_else_answered_counts_as_not_written(opened):
    with stand_in(answering(BatchWriteItem=b"<html>Please log in</html>")) as url:
        history = opened(url)
        fault(uses(history)["append"], "what answers there is not DynamoDB")


def test_a_complaint_is_told_in_its_first_line(opened):
    told = complaint("InvalidSignatureException", f"Wrong key.\n\nThe Canonical String: {TOKEN}")
    with stand_in(lambda *_: told) as url:
        history = opened(url)
        fault(history.ping, r"Wrong key \(InvalidSignatureException\)")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (NO_CREDENTIALS, "no AWS credentials were found: set AWS_ACCESS_KEY_ID and .*"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "Partial credentials found in env, missing: .*"),
        ({"AWS_PROFILE": "nobody"}, r"The config profile \(nobody\) could not be found"),
        ({"AWS_SESSION_TOKEN": f"{TOKEN}\n{TOKEN}"}, "the credentials cannot be sent: .*"),
    ],
)
def test_credentials_that_are_missing_or_wrong_are_told_without_them(opened, changes, reason):
    with credentials(**changes):
        fault(opened(f"http://127.0.0.1:{free_port()}").ping, reason)


def test_a_machine_without_a_role_is_not_asked_for_one_for_long(opened):
    with silent_server() as metadata:
        changes = {
            "AWS_EC2_METADATA_DISABLED": None,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata,
        }
        with credentials(**NO_CREDENTIALS, **changes):
            history = opened(f"http://127.0.0.1:{free_port()}")
            fault(history.ping, "no AWS credentials were found: .*")


def test_credentials_that_appear_later_are_found(dynamodb_server, opened):
    history = opened(dynamodb_server.endpoint_url)
    with credentials(**NO_CREDENTIALS):
        fault(history.ping, "no AWS credentials were found: .*")
    history.ping()


@pytest.mark.parametrize("url", ["nonsense", "http://somebody:geheim@", "http://a b"])
def test_an_endpoint_that_is_no_url_is_told(opened, url):
    with pytest.raises(StorageUnavailable) as failure:
        opened(url).ping()
    assert "region and endpoint_url make no URL" in str(failure.value)
    assert "geheim" not in str(failure.value)
