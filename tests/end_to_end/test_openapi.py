"""The running service does what its `openapi.json` says, and says what it does."""

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.end_to_end.harness import Answer, Service, until

pytestmark = pytest.mark.slow

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
TOKEN = "a-token-of-the-operator"
MOST_S = 180  # on a busy machine; a third of that otherwise
SETTINGS = """
seed = 6
workers = 2
request-timeout = 10
continue-on-failure = true
headers = { Authorization = "Bearer %s" }
[generation]
max-examples = 15
database = "none"
# TRACE and QUERY are unknown to the service: 501, as for every method it does not know
[phases.coverage]
unexpected-methods = ["get", "post", "put", "patch", "delete", "options"]
# most names would be unknown, and most answers 404
[dictionaries]
symbols = { values = ["BTCUSDT", "ethusdt"] }
exchanges = { values = ["exchange1", "Exchange2"] }
assets = { values = ["btcusdt", "ETHUSDT"] }
[parameters]
"path.symbol" = { dictionary = "symbols", probability = 0.8 }
"path.exchange" = { dictionary = "exchanges", probability = 0.8 }
"path.asset" = { dictionary = "assets", probability = 0.8 }
"query.exchange" = { dictionary = "exchanges", probability = 0.8 }
"""
NAMES = ("exchange1", "exchange2", "exchange3")


def generated() -> list[dict]:
    return [{"name": name, "kind": "generated", "seed": at} for at, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Has prices in both modes, stored minutes, and a token."""
    config = {
        "mode": "live",
        "sources": {"live": generated(), "test": generated()},
        "sources_http": {"live": generated(), "test": generated()},
        "aggregation": {"interval": "2s", "grace": "200ms"},
        "http": {"admin_token": TOKEN},
    }
    service = Service(tmp_path_factory.mktemp("openapi"), config)
    try:
        service.start()
        until(lambda: service.json("/history/BTCUSDT")["rows"], 15, "stored minute")
        until(lambda: service.ask("/prices/btcusdt").status == 200, 15, "asset price")
        yield service
        assert not service.tracebacks()
    finally:
        service.clean_up()


def resolved(document: dict, value: dict) -> dict:
    while "$ref" in value:
        found = document
        for key in value["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        value = found
    return value


def undocumented(document: dict, operation: dict, answer: Answer) -> list[str]:
    """Return what an error answer should have and has not."""
    found = operation["responses"].get(str(answer.status))
    if found is None:
        return [f"status {answer.status}"]
    response = resolved(document, found)
    wrong = [kind for kind in response["content"] if kind != answer.headers["content-type"]]
    wrong += [
        name
        for name, header in response["headers"].items()
        if resolved(document, header).get("required") and name.lower() not in answer.headers
    ]
    problem = document["components"]["schemas"]["Problem"]
    wrong += [name for name in problem["required"] if name not in answer.json]
    return wrong


def ask_raw(service: Service, request: bytes) -> Answer:
    with closing(socket.create_connection(("127.0.0.1", service.port), timeout=10)) as client:
        client.sendall(request)
        with closing(HTTPResponse(client)) as response:
            response.begin()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())


def test_every_operation_passes_all_checks_of_schemathesis(service, tmp_path):
    # the served document, in a file: schemathesis leaves the address of a document out
    document, report = tmp_path / "openapi.json", tmp_path / "report.json"
    document.write_bytes(service.ask("/openapi.json").body)
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS % TOKEN)
    finished = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "--config-file", str(settings), "run"),
            *(str(document), "--url", f"http://127.0.0.1:{service.port}", "--checks", "all"),
            *("--no-color", "--report", "json", "--report-json-path", str(report)),
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    told = json.loads(report.read_text())
    paths = json.loads(document.read_bytes())["paths"]
    routes = {
        (path, method.upper())
        for path, item in paths.items()
        for method in item
        if method in {"get", "post"}
    }
    assert told["operations"]["tested"] == len(routes) > 30
    assert told["errors"] == told["failures"] == []
    assert [name for name, found in told["warnings"].items() if found] == []
    # the service's own count: each was answered, not only asked and refused
    answered = re.findall(
        r'http_requests_total{route="([^"]+)",method="([A-Z]+)",code="200"}',
        "\n".join(service.metrics()),
    )
    assert routes <= set(answered)


@pytest.mark.parametrize(
    ("route", "path", "status", "headers"),
    [
        ("GET /prices/average/{symbol}", "/prices/average/BTCUSDT?period=soon", 400, {}),
        ("GET /prices/{asset}", "/prices/nosuchasset", 400, {}),
        ("POST /mode/test", "/mode/test", 401, {}),
        ("POST /refresh/{asset}", "/refresh/btcusdt", 401, {"authorization": "Bearer guessed"}),
        ("POST /mode/live", "/mode/live", 403, {"origin": "http://elsewhere.example"}),
        ("POST /mode/live", "/mode/live", 403, {"sec_fetch_site": "cross-site"}),
        ("GET /prices/latest/{symbol}", "/prices/latest/NOSUCH", 404, {}),
        ("GET /static/{file}", "/static/..%2Fdocs.py", 404, {}),
        ("GET /symbols", "/symbols", 413, {"content_length": "65537"}),
        ("GET /symbols", f"/symbols?{'x' * 4096}", 414, {}),
        ("GET /symbols", "/symbols", 417, {"expect": "miracles"}),
        ("GET /symbols", "/symbols", 421, {"host": "elsewhere.example"}),
        ("GET /symbols", "/symbols", 431, {"x": "y" * 9000}),
        ("GET /symbols", "/symbols", 501, {"transfer_encoding": "gzip"}),
    ],
)
def test_a_refusal_is_documented(service, route, path, status, headers):
    method, template = route.split(" ")
    document = service.json("/openapi.json")
    answer = service.ask(path, method, **headers)
    assert answer.status == answer.json["status"] == status
    assert undocumented(document, document["paths"][template][method.lower()], answer) == []


def test_every_documented_parameter_is_known_to_the_service(service):
    document = service.json("/openapi.json")
    asked = 0
    for template, item in document["paths"].items():
        path = template
        for one in (resolved(document, parameter) for parameter in item["parameters"]):
            path = path.replace(f"{{{one['name']}}}", str(one.get("example")))
        for one in item.get("get", {}).get("parameters", []):
            name = resolved(document, one)["name"]
            if resolved(document, one)["in"] == "query":
                # who ignores a parameter does not mind that it is repeated
                answer = service.ask(f"{path}?{name}=1&{name}=1").json
                assert answer.get("detail", answer.get("errmsg")).startswith(
                    f"{name} must be given once"
                ), (path, name)
                asked += 1
    assert asked > 30


def test_a_method_that_the_route_does_not_know_is_documented(service):
    document = service.json("/openapi.json")
    answer = service.ask("/mode/test", "DELETE", authorization=f"Bearer {TOKEN}")
    assert answer.status == 405
    assert undocumented(document, document["paths"]["/mode/test"]["post"], answer) == []


def test_a_version_of_http_that_we_do_not_speak_is_documented(service):
    document = service.json("/openapi.json")
    answer = ask_raw(service, b"GET /mode HTTP/2.0\r\nHost: localhost\r\n\r\n")
    assert answer.status == 505
    assert undocumented(document, document["paths"]["/mode"]["get"], answer) == []


def test_a_stream_begins_as_documented_without_a_body_for_head(service):
    document = service.json("/openapi.json")
    answer = service.ask("/stream", "HEAD")
    response = document["paths"]["/stream"]["get"]["responses"]["200"]
    assert answer.status == 200
    assert answer.headers["content-type"] in response["content"]
    assert [name for name in response["headers"] if name.lower() not in answer.headers] == []


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/static/docs.js", "/static/docs.css"])
def test_a_client_that_has_a_document_is_told_so(service, path):
    for encoding in ("identity", "gzip"):
        first = service.ask(path, accept_encoding=encoding)
        again = service.ask(path, accept_encoding=encoding, if_none_match=first.headers["etag"])
        assert (first.status, again.status, again.body) == (200, 304, b"")
        assert again.headers["etag"] == first.headers["etag"]
