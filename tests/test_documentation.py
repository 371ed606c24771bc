import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from marketflow.adapters.cache import redis_assets, redis_ticks
from marketflow.adapters.storage import postgres_schema
from marketflow.adapters.web.metrics import HttpMetrics, MetricsPage
from marketflow.application.assets.service import AssetRules, Assets
from marketflow.application.health import Health
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.publisher import Publisher
from marketflow.application.telemetry import Telemetry
from marketflow.config import Config
from marketflow.domain.asset import AssetCatalog, Tier
from marketflow.domain.mode import Mode
from marketflow.sections import leaves
from tests.application.rig import Rig
from tests.fake_assets import MemoryAssetHistory
from tests.fakes import (
    ManualClock,
    MemoryJournal,
    MemoryMinuteStore,
    MemoryMirror,
    MemoryOutbox,
)
from tests.route_table import handlers

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
README = (ROOT / "README.md").read_text(encoding="utf-8")
HELP_OF_THE_BRIEF = """\
Usage:
  marketflow [--port <N>]
  marketflow --help

Options:
  --port N     Port number
"""
CODE_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CURL = re.compile(r'curl (?:-X (?P<method>[A-Z]+) )?"?http://localhost:8080(?P<path>[^\s"?]*)')
FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|json|sql|toml|txt|md)|(?:[\w-]+/)+)`")
OF_THE_USER = ("var/", "outbox.db")


def route_table() -> list[str]:
    return list(handlers())


def table_rows(text: str) -> dict[str, str]:
    """Return what stands in the second column of each row, by the code in the first."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", text, re.MULTILINE)
    return {key: value.strip() for key, value in rows}


def flat(section: dict, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in section.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return found


def metric_names() -> set[str]:
    clock, journal, telemetry = (
        ManualClock(),
        MemoryJournal(),
        Telemetry({Mode.LIVE: ["exchange1"]}),
    )
    flusher = Flusher(
        Channel("closings", 1),
        outbox=MemoryOutbox(),
        store=MemoryMinuteStore(),
        journal=journal,
        retention_ms=0,
        clock=clock,
        telemetry=telemetry,
    )
    page = MetricsPage(
        telemetry=telemetry,
        flusher=flusher,
        journal=journal,
        clock=clock,
        http=HttpMetrics(),
        connections=lambda: 0,
        subscribers=lambda: 0,
        assets=Assets(
            AssetCatalog(["btcusdt"], [Tier("hot", None, 1)]),
            sources={mode: [] for mode in Mode},
            history=MemoryAssetHistory(),
            cache=None,
            rules=AssetRules(),
            clock=clock,
            mode=lambda: Mode.TEST,
        ),
        channels=list,
        version="1",
    )
    return set(re.findall(r"^# TYPE (\S+)", page(None).body.decode(), re.MULTILINE))


def exists(name: str) -> bool:
    """Whether *name* is a path of ours, or the end of one, as `pipeline/lane.py` is."""
    if (ROOT / name).exists():
        return True
    folders = ("marketflow", "fakeexchange", "tests", "tools", "bench")
    return any(
        path.as_posix().endswith(f"/{name.rstrip('/')}")
        for folder in folders
        for path in (ROOT / folder).rglob("*")
    )


def curls() -> list[tuple[str, str]]:
    blocks = "\n".join(CODE_BLOCK.findall(README))
    return [(found["method"] or "GET", found["path"]) for found in CURL.finditer(blocks)]


def test_the_readme_lists_exactly_the_routes_there_are():
    documented = {row for row in table_rows(README) if re.match(r"(GET|POST) /", row)}
    assert set(route_table()) == documented


def test_the_readme_lists_exactly_the_settings_there_are():
    section = README.partition("## Configuration")[2].partition("### Sources")[0]
    assert set(leaves(Config)) == set(table_rows(section))


def test_the_readme_tells_the_defaults_there_are():
    rows = table_rows(README)
    told_in_words = {
        *("symbols", "sources.live", "sources.test"),
        *("assets.tiers", "sources_http.live", "sources_http.test"),
    }
    for key, value in flat(Config().shown()).items():
        if key not in told_in_words:
            text = json.dumps(value).strip('"')
            assert rows[key] == ("empty" if value in ("", []) else f"`{text}`"), key


def test_the_readme_lists_exactly_the_metrics_there_are():
    documented = set(re.findall(r"`((?:marketflow|process)_[a-z_]+)`", README))
    assert metric_names() == documented


def test_the_readme_tells_every_key_in_redis():
    section = README.partition("## The keys in Redis")[2].partition("\n## ")[0]
    keys = {
        redis_ticks._LATEST.format("{mode}", "{symbol}"),
        redis_ticks._STREAM.format("{mode}", "{exchange}", "{symbol}"),
        redis_assets._KEY.format("{mode}", "{asset}"),
    }
    assert set(table_rows(section)) == keys


def test_the_readme_tells_every_column_and_its_type():
    section = README.partition("## The stored table")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \| `([^|`]+)` \|", section, re.MULTILINE)
    told = {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}
    short = {"timestamp with time zone": "timestamptz"}
    columns = postgres_schema.COLUMNS.items()
    assert told == {name: short.get(kind, kind) for name, kind in columns}


def test_the_readme_shows_health_as_it_is():
    rig = Rig()
    mirror = Publisher(
        MemoryMirror(), clock=rig.clock, flush_interval_ms=100, retention_ms=1, max_bytes=1
    )
    health = Health(
        market=rig.market,
        telemetry=rig.telemetry,
        flusher=rig.flusher,
        journal=rig.journal,
        clock=rig.clock,
        channels=list,
        threads=lambda: (0, 0),
        stale_after_ms=1,
        backend="postgres",
        version="",
        publisher=mirror,
    )
    section = README.partition("## Health")[2].partition("\n## ")[0]
    shown = json.loads("{%s}" % CODE_BLOCK.findall(section)[1])
    report = health.report()
    assert {part: list(report[part]) for part in shown} == {
        part: list(values) for part, values in shown.items()
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_variable_a_document_names_is_a_setting(document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    known = {f"MARKETFLOW_{key}".replace(".", "_").upper() for key in leaves(Config)}
    asked = {name.removesuffix("_FILE") for name in re.findall(r"\bMARKETFLOW_[A-Z_]+", text)}
    assert asked - known == set()


def test_every_curl_in_the_readme_asks_for_a_route_there_is():
    templates = [re.compile(re.sub(r"\{\w+\}", r"[\\w-]+", line)) for line in [*route_table()]]
    asked = curls()
    assert len(asked) > 5
    for method, path in asked:
        assert any(known.fullmatch(f"{method} {path}") for known in templates), path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_a_document_names_is_there(document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = {name for name in FILE.findall(text) if not name.startswith(OF_THE_USER)}
    linked = set(re.findall(r"\]\((?!https?:)([^)#]+)", text))
    assert [name for name in sorted(named | linked) if not exists(name)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_section_a_document_links_to_is_there(document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    for file, section in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text):
        headings = re.findall(r"^#+ (.+)$", (ROOT / (file or document)).read_text(), re.MULTILINE)
        known = {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings}
        assert section in known


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_a_document_names_is_there(document: str):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    text = (ROOT / document).read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+)`", text) + "\n".join(CODE_BLOCK.findall(text)).splitlines()
    asked = {found[1] for line in code if (found := re.match(r"make ([a-z]+)", line))}
    assert asked - targets == set()


def test_every_make_target_is_explained():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^[a-z]+:(?!.* ## ).*$", makefile, re.MULTILINE) == []


def test_help_begins_with_the_text_of_the_brief():
    finished = subprocess.run(
        [sys.executable, "marketflow.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0
    assert finished.stdout.startswith(HELP_OF_THE_BRIEF)
