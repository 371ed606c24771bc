"""Log lines."""

import logging
import sys

from fakeexchange.logfmt import KeyValueFormatter


def record(message, **context):
    made = logging.makeLogRecord(
        {"msg": message, "levelname": "INFO", "levelno": 20, "created": 1_795_248_049.047}
    )
    vars(made).update(context)
    return made


def test_a_line_holds_time_level_sentence_and_context():
    line = KeyValueFormatter().format(record("client connected", client="127.0.0.1:5", clients=2))
    assert line == (
        'time=2026-11-21T08:00:49.047Z level=INFO msg="client connected"'
        " client=127.0.0.1:5 clients=2"
    )


def test_values_cannot_break_the_line():
    line = KeyValueFormatter().format(record("said", text='a="b"\nlevel=ERROR', empty=""))
    assert line.endswith(r'msg=said text="a=\"b\"\nlevel=ERROR" empty=""')


def test_a_traceback_follows_its_line():
    try:
        raise ValueError("wrong")
    except ValueError:
        made = record("failed", exc_info=sys.exc_info())
    assert KeyValueFormatter().format(made).splitlines()[-1] == "ValueError: wrong"
