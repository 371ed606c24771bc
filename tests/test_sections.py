"""Settings from the environment, and from files that it names."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from marketflow.config import Config, Loaded, load
from marketflow.options import TcpSettings
from marketflow.sections import leaves, read_environ
from marketflow.settings import ConfigError, Text

SECRET = "hunter2-hunter2"
PORT = "must be a whole number from 1 to 65535"
SYMBOL = "must be 1 to 32 letters and digits, other than latest, highest, lowest, average, stats"
KINDS = "must be one of tcp, generated, replay"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Go where messages name the file without its folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_setting_has_a_variable_of_its_own():
    names = [key.replace(".", "_").upper() for key in leaves(Config)]
    assert len(names) == len(set(names))
    assert {"HTTP_ADMIN_TOKEN", "SOURCES_LIVE", "DATA_DIR", "AGGREGATION_INTERVAL"} <= set(names)


def test_every_setting_can_come_from_the_environment():
    environ = {
        f"MARKETFLOW_{key.replace('.', '_').upper()}": value
        if isinstance(value := shown_at(key), str)
        else json.dumps(value)
        for key in leaves(Config)
    }
    assert load(None, environ) == Loaded(Config(), [])


def shown_at(key: str):
    value = Config().shown()
    for part in key.split("."):
        value = value[part]
    return value


def test_variables_are_read_by_their_kind():
    environ = {
        "MARKETFLOW_HTTP_PORT": "9090",
        "MARKETFLOW_HTTP_REUSE_PORT": "true",
        "MARKETFLOW_HTTP_HOST": "1.2.3.4",
        "MARKETFLOW_AGGREGATION_INTERVAL": "2s",
        "MARKETFLOW_SYMBOLS": '["btcusdt", "ethusdt"]',
        "MARKETFLOW_SOURCES_LIVE": '[{"name": "x", "kind": "tcp", "port": 5}]',
        "MARKETFLOW_DATA_DIR": "12",
    }
    config = load(None, environ).config
    assert (config.http.port, config.http.reuse_port, config.http.host) == (9090, True, "1.2.3.4")
    assert config.aggregation.interval_ms == 2_000
    assert config.symbols == ("BTCUSDT", "ETHUSDT")
    assert config.sources.live == (TcpSettings(name="x", port=5),)
    assert config.data_dir == Path("12")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("HTTP_PORT", "abc", f"MARKETFLOW_HTTP_PORT {PORT}, was 'abc'"),
        ("HTTP_PORT", "", f"MARKETFLOW_HTTP_PORT {PORT}, was ''"),
        ("HTTP_PORT", "tcp://10.0.0.1:80", f"MARKETFLOW_HTTP_PORT {PORT}, was 'tcp://10.0.0.1:80'"),
        ("HTTP_REUSE_PORT", "yes", "MARKETFLOW_HTTP_REUSE_PORT must be true or false, was 'yes'"),
        ("SYMBOLS", "BTC", "MARKETFLOW_SYMBOLS must be a list of at least one symbol, was 'BTC'"),
        ("SYMBOLS", '["a-b"]', f"MARKETFLOW_SYMBOLS[0] {SYMBOL}, was 'a-b'"),
        ("SOURCES_TEST", '[{"kind": "x"}]', f"MARKETFLOW_SOURCES_TEST[0].kind {KINDS}, was 'x'"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(name, text, message):
    with pytest.raises(ConfigError) as refused:
        load(None, {f"MARKETFLOW_{name}": text})
    assert str(refused.value) == message


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_value_can_stand_in_a_file_of_its_own(folder, ending):
    Path("token").write_bytes(f"{SECRET}{ending}".encode())
    loaded = load(None, {"MARKETFLOW_HTTP_ADMIN_TOKEN_FILE": "token"})
    assert (loaded.config.http.admin_token, loaded.warnings) == (SECRET, [])
    Path("port").write_text("9090\n")
    assert load(None, {"MARKETFLOW_HTTP_PORT_FILE": "port"}).config.http.port == 9090


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "MARKETFLOW_HTTP_ADMIN_TOKEN_FILE cannot be read: No such file or directory"),
        (b"", "MARKETFLOW_HTTP_ADMIN_TOKEN_FILE must name a file that is not empty"),
        (b"\n", "MARKETFLOW_HTTP_ADMIN_TOKEN_FILE must name a file that is not empty"),
        (
            b"\xff",
            "MARKETFLOW_HTTP_ADMIN_TOKEN_FILE must be UTF-8 text, was not at line 1, column 1",
        ),
        (
            b"two words",
            (
                "MARKETFLOW_HTTP_ADMIN_TOKEN_FILE must be at most 1024 ASCII characters without"
                " spaces, its value is not shown"
            ),
        ),
    ],
)
def test_a_value_file_that_cannot_be_used_is_refused(folder, content, message):
    if content is not None:
        Path("token").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(None, {"MARKETFLOW_HTTP_ADMIN_TOKEN_FILE": "token"})
    assert str(refused.value) == message


def test_a_value_both_direct_and_in_a_file_is_refused(folder):
    environ = {"MARKETFLOW_HTTP_PORT": "1", "MARKETFLOW_HTTP_PORT_FILE": "port"}
    with pytest.raises(
        ConfigError,
        match=r"^MARKETFLOW_HTTP_PORT must not be set together with MARKETFLOW_HTTP_PORT_FILE$",
    ):
        load(None, environ)


def test_unknown_variables_are_a_warning_without_their_value():
    loaded = load(None, {"MARKETFLOW_PORT": SECRET, "MARKETFLOW_X_FILE": SECRET, "HOME": "/"})
    assert loaded == Loaded(
        Config(),
        [
            "environment variable MARKETFLOW_PORT is no setting and was ignored",
            "environment variable MARKETFLOW_X_FILE is no setting and was ignored",
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    symbols: Annotated[str, Text(".+", "some text")] = "none"
    symbols_file: Annotated[str, Text(".+", "some text")] = "none"


def test_a_key_that_ends_in_file_is_a_key_first(folder):
    Path("name").write_text("from a file\n")
    environ = {"X_SYMBOLS_FILE": "name", "X_SYMBOLS": "direct"}
    assert read_environ(Symbols, environ, "X_") == (
        {"symbols_file": "name", "symbols": "direct"},
        [],
    )
    environ = {"X_SYMBOLS_FILE_FILE": "name"}
    assert read_environ(Symbols, environ, "X_") == ({"symbols_file": "from a file"}, [])
