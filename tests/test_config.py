"""What config.json and the environment make of the settings, and which of them wins."""

import json
from pathlib import Path

import pytest

from marketflow.config import Config, Loaded, load, parse_setting
from marketflow.domain.mode import Mode
from marketflow.options import TcpSettings
from marketflow.settings import ConfigError

SHIPPED = Path(__file__).resolve().parents[1] / "config.json"
SECRET = "hunter2-hunter2"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Go where messages name the file without its folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load_text(text: str | bytes, environ: dict[str, str] | None = None) -> Loaded:
    path = Path("config.json")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, environ or {})


def refusal_of(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as refused:
        load_text(text)
    return str(refused.value)


def test_the_shipped_file_holds_every_setting_at_its_default():
    assert load(SHIPPED, {}) == load(None, {}) == Loaded(Config(), [])
    shipped = json.loads(SHIPPED.read_text())
    shown = Config().shown()
    # some are written more shortly, or more clearly, there
    shipped["feed"]["max_clock_skew"] = "1m"
    shipped["assets"] |= {"history_retention": "1d", "max_quote_age": "1m"}
    shipped["assets"]["tiers"][-1]["count"] = None
    shipped["sources_http"]["live"] = shown["sources_http"]["live"]
    assert shipped == shown


def test_the_defaults_are_those_of_the_documentation():
    config = Config()
    assert (config.mode, config.data_dir) == (Mode.TEST, Path("var"))
    assert [source.port for source in config.sources.live] == [40101, 40102, 40103]
    assert [(source.seed, source.rate) for source in config.sources.test] == [
        (1, 50),
        (2, 50),
        (3, 50),
    ]
    assert config.feed.stale_after_ms == 5_000
    assert config.outbox.max_age_ms == 7 * 86_400_000
    assert config.http.max_period_ms == 30 * 86_400_000
    assert (config.http.host, config.http.port) == ("127.0.0.1", 8080)


def test_what_a_file_leaves_out_takes_its_default(folder):
    config = load_text('{"http": {"port": 9090}, "window": {"span": "1m30s"}}').config
    assert config.http.port == 9090
    assert config.http.workers == Config().http.workers
    assert config.window.span_ms == 90_000
    assert load_text("{}").config == Config()


def test_every_kind_of_source_is_read(folder):
    config = load_text(
        """{"sources": {"live": [
            {"name": "a", "kind": "tcp", "port": 1},
            {"name": "b", "kind": "generated", "rate": 0.5},
            {"name": "c", "kind": "replay", "file": "day.jsonl", "speed": 10}]}}"""
    ).config
    tcp, generated, replay = config.sources.of(Mode.LIVE)
    assert tcp == TcpSettings(name="a", host="127.0.0.1", port=1)
    assert (generated.kind, generated.seed, generated.rate) == ("generated", 1, 0.5)
    assert (replay.kind, replay.file, replay.speed) == ("replay", Path("day.jsonl"), 10.0)
    assert config.shown()["sources"]["live"][2] == {
        "name": "c",
        "kind": "replay",
        "file": "day.jsonl",
        "speed": 10,
    }


def test_symbols_become_upper_case_and_words_any_case(folder):
    config = load_text('{"symbols": ["btcusdt"], "mode": "LIVE", "log": {"level": "Debug"}}').config
    assert (config.symbols, config.mode, config.log.level) == (("BTCUSDT",), Mode.LIVE, "debug")


def test_a_byte_order_mark_is_no_error(folder):
    assert load_text(b'\xef\xbb\xbf{"mode": "live"}').config.mode is Mode.LIVE


def test_a_missing_file_is_refused_and_no_file_is_not(folder):
    with pytest.raises(
        ConfigError, match=r"^nowhere\.json cannot be read: No such file or directory$"
    ):
        load(Path("nowhere.json"), {})
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load(folder, {})
    assert load(None, {}).config == Config()


def test_command_line_beats_environment_beats_file_beats_default(folder):
    text = '{"http": {"port": 1111, "workers": 3}, "log": {"level": "error"}}'
    environ = {"MARKETFLOW_HTTP_PORT": "2222", "MARKETFLOW_LOG_LEVEL": "debug"}
    Path("config.json").write_text(text)
    overrides = {"http.port": parse_setting("http.port", "3333", "--port")}
    config = load(Path("config.json"), environ, overrides).config
    assert (config.http.port, config.log.level, config.http.workers) == (3333, "debug", 3)
    assert config.http.idle_timeout_ms == Config().http.idle_timeout_ms
    assert load_text(text, environ).config.http.port == 2222
    assert load_text(text).config.http.port == 1111


def test_a_wrong_value_in_the_file_is_refused_even_if_the_environment_replaces_it(folder):
    with pytest.raises(ConfigError, match=r"config\.json: http\.port"):
        load_text('{"http": {"port": "abc"}}', {"MARKETFLOW_HTTP_PORT": "1"})


def test_a_secret_shows_nowhere():
    config = load(None, {"MARKETFLOW_HTTP_ADMIN_TOKEN": SECRET}).config
    assert config.http.admin_token == SECRET
    assert SECRET not in repr(config)
    assert config.shown()["http"]["admin_token"] == "***"
    assert Config().shown()["http"]["admin_token"] == ""


@pytest.mark.parametrize(
    "text",
    [
        f'{{"http": {{"admin_token": "{SECRET} "}}}}',
        f'{{"http": {{"admin_token": ["{SECRET}"]}}}}',
        f'{{"http": {{"admin_tokn": "{SECRET}"}}}}',
        f'{{"http": {{"admin_token": "{SECRET}", "admin_token": "{SECRET}"}}}}',
        f'{{"http": [{{"admin_token": "{SECRET}"}}]}}',
        f'{{"http": {{"admin_token": "{SECRET}" "port": 1}}}}',
    ],
)
def test_a_secret_shows_in_no_refusal(folder, text):
    assert SECRET not in refusal_of(text)


def test_what_is_shown_can_be_read_again(folder):
    shown = load_text('{"window": {"span": "1500ms"}, "data_dir": "/a b/\\u00e9"}').config
    assert load_text(json.dumps(shown.shown())).config == shown
