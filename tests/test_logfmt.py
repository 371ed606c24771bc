"""One line per record, whatever it holds."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow import logfmt
from marketflow.domain.mode import Mode

ROOT = Path(__file__).resolve().parents[1]
LAYOUTS = ["text", "json"]
PAIR = re.compile(r'("(?:[^"\\]|\\.)*"|[^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s="]+)(?: |$)')


@pytest.fixture(autouse=True)
def _restored():
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


def written(layout, record):
    formatter = {"text": logfmt.TextFormatter, "json": logfmt.JsonFormatter}[layout]()
    return formatter.format(record)


def record_of(message="it happened", args=(), exc_info=None, **extra):
    return logging.getLogger("test").makeRecord(
        "test", logging.INFO, "file.py", 1, message, args, exc_info, extra=extra
    )


def parsed(line):
    """Read a text line back, independently of how it was written."""
    pairs, at = {}, 0
    while at < len(line):
        found = PAIR.match(line, at)
        assert found, line[at:]
        key, value = (json.loads(part) if part[0] == '"' else part for part in found.groups())
        pairs[key] = value
        at = found.end()
    return pairs


def test_a_line_has_time_level_sentence_and_context():
    record = record_of("source connected", source="exchange1", address="127.0.0.1:40101")
    record.created = 1777984612.3456
    assert written("text", record) == (
        "time=2026-05-05T12:36:52.345Z level=INFO"
        ' msg="source connected" source=exchange1 address=127.0.0.1:40101'
    )
    assert written("json", record) == (
        '{"time":"2026-05-05T12:36:52.345Z","level":"INFO",'
        '"msg":"source connected","source":"exchange1","address":"127.0.0.1:40101"}'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("C:\\x", "C:\\x"),
        ("a\nb", r'"a\nb"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("\x85\u2028\u202e", r'"\u0085\u2028\u202e"'),
        ("\ud800", r'"\ud800"'),
        ("naïve", "naïve"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        (Mode.LIVE, "live"),
        ([1, "x"], "\"[1, 'x']\""),
    ],
)
def test_values_are_quoted_where_they_would_be_misread(value, text):
    assert written("text", record_of(value=value)).partition(" value=")[2] == text


def test_json_keeps_what_json_has():
    line = written("json", record_of(n=1, x=1.5, ok=True, no=None, many=[1, {"a": "b"}]))
    fields = json.loads(line)
    assert [fields[key] for key in ("n", "x", "ok", "no", "many")] == [
        1,
        1.5,
        True,
        None,
        [1, {"a": "b"}],
    ]
    assert json.loads(written("json", record_of(x=float("nan"))))["x"] == "nan"
    assert json.loads(written("json", record_of(x={(1, 2): Path("p")})))["x"].startswith("{(1, 2)")


@given(message=st.text(), key=st.text(min_size=1), value=st.text())
def test_any_text_makes_one_line_that_reads_back(message, key, value):
    record = record_of(message)
    if key not in vars(record):
        vars(record)[key] = value
    for line, fields in (
        (text := written("text", record), parsed(text)),
        (text := written("json", record), json.loads(text)),
    ):
        assert line.isprintable()
        assert fields["msg"] == message
        if key in fields and key not in ("time", "level", "msg"):
            assert fields[key] == value


@pytest.mark.parametrize("layout", LAYOUTS)
def test_context_never_replaces_time_level_or_sentence(layout):
    line = written(layout, record_of(time="never", level="odd"))
    fields = parsed(line) if layout == "text" else json.loads(line)
    assert (fields["level"], fields["level_"], fields["time_"]) == ("INFO", "odd", "never")


class Hostile:
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_logged_raises(layout):
    loop = []
    loop.append(loop)
    for record in (
        record_of(x=Hostile()),
        record_of(x=[Hostile()]),
        record_of(x=loop),
        record_of(x=10**5_000),
        record_of("%d", ("x",)),
        record_of("%s %s", ("x",)),
        record_of("%s", (Hostile(),)),
        record_of(Hostile()),
    ):
        assert written(layout, record).isprintable()
    assert "<Hostile>" in written(layout, record_of(x=Hostile()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_exception_is_two_fields_of_the_same_line(layout):
    try:
        raise ValueError("bad\nprice")
    except ValueError:
        record = record_of("chunk failed", exc_info=sys.exc_info())
    line = written(layout, record)
    fields = parsed(line) if layout == "text" else json.loads(line)
    assert line.isprintable()
    assert fields["error"] == "ValueError: bad\nprice"
    assert fields["traceback"].startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_exception_and_hostile_exceptions_are_fine(layout):
    class Odd(Exception):
        __str__ = Hostile.__str__

    assert "traceback" not in written(layout, record_of(exc_info=(None, None, None)))
    try:
        raise Odd
    except Odd:
        assert "Odd" in written(layout, record_of(exc_info=sys.exc_info()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_megabytes_are_cut(layout):
    assert len(written(layout, record_of("x" * 3_000_000, x="y" * 3_000_000, z=["z"] * 99_999))) < (
        60_000
    )


def test_configure_sets_level_and_layout_and_replaces_itself():
    first, second = io.StringIO(), io.StringIO()
    log = logging.getLogger("test.configure")
    logfmt.configure("info", "text", first)
    log.debug("hidden")
    log.warning("shown", extra={"n": 1})
    logfmt.configure("debug", "json", second)
    log.debug("now shown")
    assert re.fullmatch(r"time=\S+ level=WARNING msg=shown n=1\n", first.getvalue())
    assert json.loads(second.getvalue())["msg"] == "now shown"


def test_configure_leaves_other_handlers_alone():
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    logfmt.configure("info", "text", io.StringIO())
    assert other in logging.getLogger().handlers


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "broken pipe"])
def test_a_standard_error_that_cannot_be_written_ends_nothing(redirection):
    code = (
        "import logging; from marketflow import logfmt; logfmt.configure('info', 'text');"
        "[logging.info('a constant sentence') for _ in range(2000)]; print('alive')"
    )
    reading, writing = os.pipe()
    os.close(reading)
    shell = "" if redirection == "broken pipe" else f" {redirection}"
    try:
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" -c "$1"{shell}', sys.executable, code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=writing,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_a_stream_that_fails_is_nobodys_trouble(capsys):
    closed = io.StringIO()
    closed.close()
    logfmt.configure("info", "text", closed)
    logging.getLogger("test.closed").info("never seen")
    assert capsys.readouterr() == ("", "")
