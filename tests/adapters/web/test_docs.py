import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from marketflow import serving
from marketflow.adapters.web.docs import DocsApi, static_files
from marketflow.adapters.web.failures import Refused
from marketflow.settings import ConfigError

FILES = {name: content.decode() for name, content in static_files().items()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}
PAGES = {name: text for name, text in FILES.items() if name.endswith(".html")}
# what would read text as markup, or as a program
PARSERS = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function"


class Tags(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def docs():
    return DocsApi(b'{"openapi":"3.1.0"}', static_files())


def header(response, name):
    return dict(response.headers).get(name)


def test_the_document_is_served_as_it_is_and_may_be_asked_about_again(docs):
    response = docs.openapi(None)
    assert json.loads(response.body) == {"openapi": "3.1.0"}
    assert response.content_type == "application/json"
    assert header(response, "Cache-Control") == "no-cache"
    assert re.fullmatch(r'"[0-9a-f]+"', header(response, "ETag"))


def test_a_page_and_its_files_may_use_nothing_from_elsewhere(docs):
    for response in (docs.page(None), docs.file(None, "docs.js"), docs.file(None, "icon.svg")):
        assert header(response, "Content-Security-Policy") == "default-src 'self'"
        assert header(response, "X-Content-Type-Options") == "nosniff"
        assert header(response, "ETag")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("docs.css", "text/css; charset=utf-8"),
        ("docs.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_a_file_has_its_type(docs, name, content_type):
    response = docs.file(None, name)
    assert response.content_type == content_type
    assert response.body == static_files()[name]


@pytest.mark.parametrize("name", ["nosuch.js", "docs.html", "../docs.py", "", "docs.js\0"])
def test_what_is_no_file_of_a_page_is_not_found(docs, name):
    with pytest.raises(Refused, match="no such file") as refused:
        docs.file(None, name)
    assert refused.value.status == 404


def test_a_page_refers_to_files_there_are():
    referred = {
        address
        for page in PAGES.values()
        for _, attributes in Tags(page).found
        for address in (attributes.get("src"), attributes.get("href"))
        if address and not address.startswith("#")
    }
    referred |= {found for text in SCRIPTS.values() for found in re.findall(r'from "(.+)"', text)}
    files = {f"/static/{name}" for name in FILES}
    assert referred - files == {"/openapi.json"}


def test_a_page_holds_no_script_and_no_style_of_its_own():
    for page in PAGES.values():
        for tag, attributes in Tags(page).found:
            assert tag != "style"
            assert tag != "script" or "src" in attributes
            assert not {name for name in attributes if name == "style" or name.startswith("on")}


def test_scripts_never_read_text_as_markup_or_program():
    assert len(SCRIPTS) > 1
    assert [name for name, text in SCRIPTS.items() if re.search(PARSERS, text)] == []


def test_pages_name_no_other_host():
    for name, text in FILES.items():
        hosts = set(re.findall(r"https?://([\w.]+)", text)) - {"www.w3.org"}
        assert not hosts, name


def test_a_service_without_its_document_does_not_start(monkeypatch):
    monkeypatch.setattr(serving, "_OPENAPI", Path("/nowhere/openapi.json"))
    with pytest.raises(ConfigError, match=r"/nowhere/openapi\.json must be there: No such file"):
        serving._docs_api()
