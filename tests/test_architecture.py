"""Who may import whom: a table of the layers, checked on every module."""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("marketflow", "fakeexchange")
EVERYTHING = frozenset(sys.stdlib_module_names)
PURE = frozenset(
    [
        *("dataclasses", "enum", "math", "re", "array", "bisect", "typing", "functools"),
        *("collections", "fractions", "itertools"),
    ]
)
IO = frozenset(
    [
        *("socket", "http", "urllib", "os", "sqlite3", "io", "pathlib", "shutil", "tempfile"),
        *("select", "selectors", "socketserver", "ssl", "subprocess", "asyncio"),
        "multiprocessing",
    ]
)
INNER = (
    "marketflow.domain",
    "marketflow.application.ports",
    "marketflow.application.asset_ports",
)


@dataclass(frozen=True)
class Layer:
    """What the modules under a name may import: ours by prefix, the library's by first name."""

    ours: tuple[str, ...]
    stdlib: frozenset[str] = EVERYTHING
    third_party: frozenset[str] = frozenset()


LAYERS = {
    "marketflow.domain": Layer(("marketflow.domain",), PURE),
    "marketflow.application": Layer(
        ("marketflow.domain", "marketflow.application"), EVERYTHING - IO
    ),
    "marketflow.adapters": Layer(INNER),
    "marketflow.adapters.web": Layer(
        ("marketflow.domain", "marketflow.application", "marketflow.adapters.web")
    ),
    "marketflow.adapters.exchange": Layer((*INNER, "marketflow.adapters.exchange")),
    "marketflow.adapters.exchange.generated": Layer(
        (*INNER, "marketflow.adapters.exchange", "fakeexchange.prices")
    ),
    "marketflow.adapters.exchange.generated_quotes": Layer(
        (*INNER, "marketflow.adapters.exchange", "fakeexchange.quotes")
    ),
    "marketflow.adapters.storage": Layer(
        (*INNER, "marketflow.adapters.storage"),
        third_party=frozenset(("psycopg2", "boto3", "botocore")),
    ),
    "marketflow.adapters.cache": Layer(
        (*INNER, "marketflow.adapters.cache"), third_party=frozenset(("redis",))
    ),
    "marketflow": Layer(("marketflow",)),
    "fakeexchange": Layer(("fakeexchange",)),
}
ONLY_BY = {"marketflow.app": ("marketflow.cli",), "marketflow.cli": ("marketflow.__main__",)}


def layer_of(module):
    """Return the layer with the longest name that *module* is under."""
    return LAYERS[max((name for name in LAYERS if is_under(module, (name,))), key=len)]


def is_under(module, names):
    return any(module == name or module.startswith(name + ".") for name in names)


def imports_of(source):
    """Yield the names that *source* imports, wherever it does; relative ones begin with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            # `from package import module` imports the module
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            yield f"dynamic {ast.unparse(node)}"


def violations(module, source):
    """Return what *module* imports and may not."""
    layer = layer_of(module)
    return [
        f"{module} must not import {name}"
        for name in imports_of(source)
        if not is_allowed(name, module, layer)
    ]


def is_allowed(name, module, layer):
    if is_under(name, OURS):
        owners = [ONLY_BY[one] for one in ONLY_BY if is_under(name, (one,))]
        return is_under(name, layer.ours) and all(module in by for by in owners)
    first = name.split(".")[0]
    return first in layer.stdlib or first in layer.third_party


def modules():
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def test_every_module_imports_only_what_its_layer_may():
    found = list(modules())
    assert len(found) > 50
    assert [bad for module, path in found for bad in violations(module, path.read_text())] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("marketflow.domain.stat", "import time"),
        ("marketflow.domain.stat", "import threading"),
        ("marketflow.domain.stat", "from logging import getLogger"),
        ("marketflow.domain.stat", "import json.decoder"),
        ("marketflow.domain.stat", "from marketflow.application import ports"),
        ("marketflow.domain.stat", "def later():\n    from os import path"),
        ("marketflow.domain.stat", "from . import tick"),
        ("marketflow.domain.stat", "from .tick import Ticks"),
        ("marketflow.domain.stat", "import numpy"),
        ("marketflow.application.queries", "import socket"),
        ("marketflow.application.queries", "from urllib.request import urlopen"),
        ("marketflow.application.queries", "import http.client"),
        ("marketflow.application.queries", "import sqlite3"),
        ("marketflow.application.queries", "from os import environ"),
        ("marketflow.application.queries", "from marketflow.adapters.clock import SystemClock"),
        ("marketflow.application.queries", "from marketflow.config import Config"),
        ("marketflow.application.pipeline.loop", "import importlib\nimportlib.import_module('os')"),
        ("marketflow.application.pipeline.loop", "__import__('os')"),
        ("marketflow.adapters.clock", "from marketflow.application.state import Market"),
        ("marketflow.adapters.storage.sqlite", "from marketflow.application import telemetry"),
        ("marketflow.adapters.storage.sqlite", "from marketflow.adapters.web import server"),
        ("marketflow.adapters.storage.sqlite", "from marketflow.adapters import clock"),
        ("marketflow.adapters.storage.sqlite", "import redis"),
        ("marketflow.adapters.web.api", "import psycopg2"),
        ("marketflow.adapters.web.api", "from marketflow.adapters.storage.sqlite import Store"),
        ("marketflow.adapters.web.api", "from marketflow.app import Service"),
        ("marketflow.adapters.exchange.tcp", "from fakeexchange.prices import bursts"),
        ("marketflow.adapters.exchange.generated", "from fakeexchange import tcp_server"),
        ("marketflow.adapters.exchange.generated_quotes", "from fakeexchange import tickers"),
        ("marketflow.config", "from marketflow.app import Service"),
        ("marketflow.config", "import marketflow.app"),
        ("marketflow.process", "from marketflow import app"),
        ("fakeexchange.prices", "from marketflow.domain.mode import Mode"),
        ("fakeexchange.prices", "import redis"),
    ],
)
def test_a_forbidden_import_is_found(module, source):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("marketflow.domain.period", "from fractions import Fraction\nimport re"),
        ("marketflow.domain.period", "from marketflow.domain.errors import BadPeriod"),
        ("marketflow.application.queries", "import threading, queue, logging, concurrent.futures"),
        ("marketflow.application.queries", "from marketflow.domain import mode"),
        ("marketflow.adapters.storage.sqlite", "from marketflow.application import ports"),
        ("marketflow.adapters.storage.sqlite", "import sqlite3, os"),
        ("marketflow.adapters.web.api", "from marketflow.application.queries import Prices"),
        ("marketflow.adapters.exchange.generated", "from fakeexchange.prices import bursts"),
        ("marketflow.adapters.exchange.generated_quotes", "from fakeexchange.quotes import quote"),
        ("marketflow.cli", "from marketflow import app"),
        ("marketflow.app", "from marketflow.adapters.web.server import Server"),
    ],
)
def test_an_allowed_import_is_left_alone(module, source):
    assert violations(module, source) == []
