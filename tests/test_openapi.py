"""`openapi.json` describes the routes there are, and fits itself."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs

from marketflow import __version__
from tests.route_table import handlers

DOCUMENT = Path(__file__).resolve().parents[1] / "openapi.json"
OPENAPI = json.loads(DOCUMENT.read_text(encoding="utf-8"))


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        found = OPENAPI
        for key in value["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        value = found
    return value


def operations() -> dict[str, dict[str, Any]]:
    """Return the operations of `openapi.json` by `METHOD template`, with all their parameters."""
    return {
        f"{method.upper()} {path}": {
            **operation,
            "parameters": [
                resolved(one) for one in (*item["parameters"], *operation.get("parameters", []))
            ],
        }
        for path, item in OPENAPI["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def parameter_names(operation: dict[str, Any], place: str) -> set[str]:
    return {one["name"] for one in operation["parameters"] if one["in"] == place}


def json_examples() -> Iterator[tuple[str, Any, Any]]:
    """Yield where each example of a JSON answer stands, its schema, and the example."""
    for line, operation in operations().items():
        for status, response in operation["responses"].items():
            for kind, media in resolved(response).get("content", {}).items():
                if kind.endswith("json") and "example" in media:
                    yield f"{line} {status}", media["schema"], media["example"]


def test_it_describes_exactly_the_routes_there_are():
    assert set(operations()) == set(handlers())


def test_it_describes_exactly_the_parameters_there_are():
    for line, handler in handlers().items():
        told = inspect.getdoc(handler) or ""
        described = operations()[line]
        assert parameter_names(described, "path") == set(re.findall(r"\{(\w+)\}", line)), line
        assert parameter_names(described, "query") == set(re.findall(r"[?&](\w+)=", told)), line


def test_it_names_every_operation_once_and_says_what_it_does():
    described = operations().values()
    assert len({one["operationId"] for one in described}) == len(described)
    known = {tag["name"] for tag in OPENAPI["tags"]}
    assert [one["summary"] for one in described if not known.issuperset(one["tags"])] == []


def test_it_has_an_example_of_each_answer_and_each_fits_its_schema():
    examples = list(json_examples())
    assert {where for where, _, _ in examples} >= {
        f"{line} {status}"
        for line, operation in operations().items()
        for status, response in operation["responses"].items()
        if "application/json" in resolved(response).get("content", {})
    }
    for where, schema, example in examples:
        whole = {"components": OPENAPI["components"], **schema}
        validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        assert [error.message for error in validator.iter_errors(example)] == [], where


def test_it_demands_the_token_for_every_post_and_nothing_else():
    guarded = {line for line, operation in operations().items() if "security" in operation}
    assert guarded == {line for line in handlers() if line.startswith("POST ")}


def test_it_tells_the_version_there_is():
    assert OPENAPI["info"]["version"] == __version__
