"""The API page in a real browser."""

import html
import re
import subprocess

import pytest

from tests.end_to_end.harness import Service
from tools.binaries import find_binary

pytestmark = pytest.mark.slow

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--enable-logging=stderr", "--virtual-time-budget=10000"),
)
START_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("docs"), {})
    try:
        yield service.start()
        assert not service.tracebacks()
    finally:
        service.clean_up()


@pytest.fixture
def page(service, tmp_path):
    """Return what a browser makes of an address, as HTML, and what its console says."""

    def look(path):
        finished = subprocess.run(
            [
                *(find_binary("chromium"), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"),
                *("--dump-dom", f"http://127.0.0.1:{service.port}{path}"),
            ],
            capture_output=True,
            text=True,
            timeout=START_S,
            check=True,
        )
        console = [line for line in finished.stderr.splitlines() if ":CONSOLE" in line]
        return finished.stdout, console

    return look


def texts(dom):
    """Return the words of a page without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", "", dom))


def test_the_page_shows_every_route_and_the_browser_has_no_complaint(service, page):
    dom, console = page("/docs")
    assert console == []
    paths = service.json("/openapi.json")["paths"]
    shown = re.findall(r'<details class="operation" id="(\w+)"', dom)
    described = [
        operation["operationId"]
        for item in paths.values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert sorted(shown) == sorted(described)
    assert all(path in texts(dom) for path in paths)


def test_a_link_to_a_route_opens_it_with_parameters_a_form_and_answers(page):
    dom, console = page("/docs#getCandles")
    assert console == []
    opened = dom.partition('id="getCandles"')[2].partition('<details class="operation"')[0]
    words = texts(opened)
    assert "[object" not in words
    for wanted in ("symbol string required path", "Try it", "include_open", "200", "304", "404"):
        assert wanted in words
    example = html.unescape(
        re.search(r'aria-label="example application/json"[^>]*>([^<]*)', opened)[1]
    )
    assert '"interval": "1m"' in example
    assert re.search(r'<input id="getCandles-symbol" value="BTCUSDT"', opened)


def test_what_is_not_opened_is_not_built(page):
    dom, _ = page("/docs")
    assert dom.count("<form") == 0
