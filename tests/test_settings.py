"""Which values of config.json are refused, and in which words."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.config import load
from marketflow.domain.period import duration_ms
from marketflow.settings import ConfigError, duration_text

PORT = "must be a whole number from 1 to 65535"
NAME = (
    "must be 1 to 64 letters, digits, '_', '.', '-', "
    "other than latest, highest, lowest, average, stats, '.', '..'"
)
SYMBOL = "must be 1 to 32 letters and digits, other than latest, highest, lowest, average, stats"
KINDS = "must be one of tcp, generated, replay"

REFUSALS = [
    ('{"http": {"port": "abc"}}', f"config.json: http.port {PORT}, was 'abc'"),
    ('{"http": {"port": "8080"}}', f"config.json: http.port {PORT}, was '8080'"),
    ('{"http": {"port": 0}}', f"config.json: http.port {PORT}, was 0"),
    ('{"http": {"port": 65536}}', f"config.json: http.port {PORT}, was 65536"),
    ('{"http": {"port": 8080.0}}', f"config.json: http.port {PORT}, was 8080.0"),
    ('{"http": {"port": true}}', f"config.json: http.port {PORT}, was true"),
    ('{"http": {"port": null}}', f"config.json: http.port {PORT}, was null"),
    ('{"http": {"port": NaN}}', f"config.json: http.port {PORT}, was NaN"),
    ('{"http": {"port": [8080]}}', f"config.json: http.port {PORT}, was a list"),
    ('{"http": {"reuse_port": 1}}', "config.json: http.reuse_port must be true or false, was 1"),
    (
        '{"http": {"host": ""}}',
        "config.json: http.host must be a host name or an IP address, was ''",
    ),
    (
        '{"http": {"host": "a\\nb"}}',
        r"config.json: http.host must be a host name or an IP address, was 'a\nb'",
    ),
    (
        '{"http": {"allowed_hosts": "a"}}',
        "config.json: http.allowed_hosts must be a list of host names, was 'a'",
    ),
    (
        '{"http": {"allowed_hosts": ["a", "A"]}}',
        "config.json: http.allowed_hosts[1] must stand there once, was 'A' again",
    ),
    (
        '{"http": {"default_period": "31d"}}',
        "http.default_period must be at most http.max_period (30d), was '31d'",
    ),
    ('{"http": 8080}', "config.json: http must be an object, was 8080"),
    ("[]", "config.json must be an object, was []"),
    ("null", "config.json must be an object, was null"),
    ('{"mode": "paper"}', "config.json: mode must be one of live, test, was 'paper'"),
    ('{"mode": ["live"]}', "config.json: mode must be one of live, test, was a list"),
    (
        '{"storage": {"backend": "oracle"}}',
        "config.json: storage.backend must be one of sqlite, postgres, was 'oracle'",
    ),
    ('{"data_dir": ""}', "config.json: data_dir must be the path of a file, was ''"),
    ('{"data_dir": "a\\u0000"}', r"config.json: data_dir must be the path of a file, was 'a\x00'"),
    (
        '{"feed": {"stale_after": 5}}',
        "config.json: feed.stale_after must be a duration from 100ms to 1h, was 5",
    ),
    (
        '{"feed": {"stale_after": "-5s"}}',
        "config.json: feed.stale_after must be a duration from 100ms to 1h, was '-5s'",
    ),
    (
        '{"feed": {"stale_after": "soon"}}',
        "config.json: feed.stale_after must be a duration from 100ms to 1h, was 'soon'",
    ),
    (
        '{"window": {"span": "0s"}}',
        "config.json: window.span must be a duration from 1s to 1h, was '0s'",
    ),
    (
        '{"aggregation": {"interval": "7s"}}',
        (
            "config.json: aggregation.interval must be a duration from 100ms to 1m that divides 1m,"
            " was '7s'"
        ),
    ),
    (
        '{"aggregation": {"interval": "0s"}}',
        (
            "config.json: aggregation.interval must be a duration from 100ms to 1m that divides 1m,"
            " was '0s'"
        ),
    ),
    ('{"symbols": []}', "config.json: symbols must be a list of at least one symbol, was []"),
    ('{"symbols": ["BTC-USDT"]}', f"config.json: symbols[0] {SYMBOL}, was 'BTC-USDT'"),
    ('{"symbols": ["A", "stats"]}', f"config.json: symbols[1] {SYMBOL}, was 'stats'"),
    ('{"symbols": ["\\u212a"]}', f"config.json: symbols[0] {SYMBOL}, was '\u212a'"),
    (
        '{"symbols": ["BTCUSDT", "btcusdt"]}',
        "config.json: symbols[1] must stand there once, was 'BTCUSDT' again",
    ),
    ('{"sources": {"live": {}}}', "config.json: sources.live must be a list of sources, was {}"),
    ('{"sources": {"live": [7]}}', "config.json: sources.live[0] must be an object, was 7"),
    (
        '{"sources": {"live": [{"name": "a"}]}}',
        f"config.json: sources.live[0].kind {KINDS}, was left out",
    ),
    (
        '{"sources": {"live": [{"name": "a", "kind": "udp"}]}}',
        f"config.json: sources.live[0].kind {KINDS}, was 'udp'",
    ),
    (
        '{"sources": {"live": [{"name": "a", "kind": "tcp"}]}}',
        f"config.json: sources.live[0].port {PORT}, was left out",
    ),
    (
        '{"sources": {"live": [{"kind": "tcp", "port": 1}]}}',
        f"config.json: sources.live[0].name {NAME}, was left out",
    ),
    (
        '{"sources": {"live": [{"name": "Latest", "kind": "tcp", "port": 1}]}}',
        f"config.json: sources.live[0].name {NAME}, was 'Latest'",
    ),
    (
        '{"sources": {"live": [{"name": "..", "kind": "tcp", "port": 1}]}}',
        f"config.json: sources.live[0].name {NAME}, was '..'",
    ),
    (
        '{"sources": {"live": [{"name": "a/b", "kind": "tcp", "port": 1}]}}',
        f"config.json: sources.live[0].name {NAME}, was 'a/b'",
    ),
    (
        '{"sources": {"live": [{"name": "a", "kind": "tcp", "port": 1, "seed": 3}]}}',
        "config.json: sources.live[0].seed is no setting, must be one of name, kind, host, port",
    ),
    (
        '{"sources": {"test": [{"name": "a", "kind": "generated", "rate": Infinity}]}}',
        "config.json: sources.test[0].rate must be a number from 0.1 to 1000000, was Infinity",
    ),
    (
        (
            '{"sources": {"test": [{"name": "a", "kind": "generated"},'
            ' {"name": "A", "kind": "generated"}]}}'
        ),
        "config.json: sources.test[1].name must stand there once, was 'A' again",
    ),
    (
        '{"sources": {"test": []}}',
        "sources.test must hold at least one source when mode is test, was []",
    ),
    (
        '{"log": {"colour": "red"}}',
        "config.json: log.colour is no setting, must be one of level, format",
    ),
    (
        '{"lo\\ng": {}}',
        (
            r"config.json: 'lo\ng' is no setting, must be one of mode, data_dir, symbols, sources,"
            " feed, pipeline, aggregation, window, journal, outbox, storage, postgres, cache,"
            " redis, assets, sources_http, dynamodb, http, log"
        ),
    ),
    (
        '{"http": {"port": 1, "port": 2}}',
        "config.json: http.port must stand there once, was repeated",
    ),
    ('{"mode": "live", "mode": "live"}', "config.json: mode must stand there once, was repeated"),
    ("", "config.json must be JSON, was not at line 1, column 1: Expecting value"),
    (
        '{\n  "mode" "live"\n}',
        ("config.json must be JSON, was not at line 2, column 10: Expecting ':' delimiter"),
    ),
    (b'{\n "mode": "\xff"}', "config.json must be UTF-8 text, was not at line 2, column 11"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Go where messages name the file without its folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal_of(text: str | bytes) -> str:
    path = Path("config.json")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    return str(refused.value)


@pytest.mark.parametrize(("text", "message"), REFUSALS, ids=[str(row[0])[:50] for row in REFUSALS])
def test_a_wrong_file_is_refused_in_one_sentence(folder, text, message):
    refusal = refusal_of(text)
    # what follows the position is the standard library's wording, which versions change
    json_wording = r"(column \d+):.*"
    assert re.sub(json_wording, r"\1", refusal) == re.sub(json_wording, r"\1", message)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"http": {"port": ' + "9" * 5_000 + "}}", '{"mode": "' + "x" * 5_000 + '"}'],
)
def test_an_absurd_file_is_refused_briefly(folder, text):
    assert len(refusal_of(text)) < 300


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_json_value_is_taken_or_refused_in_another_way(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any.json"
    for key in ("mode", "symbols", "http", "sources"):
        path.write_text(json.dumps({key: value}))
        assert (refusal_at(path) or "fine").isprintable()


def refusal_at(path):
    try:
        load(path, {})
    except ConfigError as error:
        return str(error)
    return None


@given(st.integers(0, 10**13))
def test_durations_are_shown_as_they_can_be_read(ms):
    assert duration_ms(duration_text(ms)) == ms
