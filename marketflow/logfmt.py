"""Log lines: one per record whatever it holds, as key=value text or as JSON."""

import io
import json
import logging
import os
import traceback
from datetime import UTC, datetime
from typing import BinaryIO, TextIO, cast

_LONGEST_VALUE = 16_384  # characters; a hostile line of megabytes must not fill the log
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}


class TextFormatter(logging.Formatter):
    """Write `time=… level=INFO msg="source connected" source=exchange1`, as Go's slog does."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(
            f"{_quoted(key)}={_quoted(_text(value))}" for key, value in _fields(record).items()
        )


class JsonFormatter(logging.Formatter):
    """Write `{"time":…,"level":"INFO","msg":"source connected","source":"exchange1"}`."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = (f"{json.dumps(key)}:{_json(value)}" for key, value in _fields(record).items())
        return f"{{{','.join(pairs)}}}"


class LineHandler(logging.StreamHandler[TextIO]):
    """The handler that `configure` installs."""


def configure(level: str, layout: str, stream: TextIO | None = None) -> None:
    """Send what is logged from *level* on to *stream* (None: standard error) as text or json.

    Called again, it replaces what it set up before.
    """
    logging.raiseExceptions = False  # a closed standard error must not end the service
    handler = LineHandler(stream or _standard_error())
    handler.setFormatter({"text": TextFormatter, "json": JsonFormatter}[layout]())
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, LineHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.upper())


def _standard_error() -> TextIO:
    # without a buffer: what cannot be written must not be tried again at exit, which would then
    # end with status 120
    try:
        raw = io.FileIO(2, "w", closefd=False)
    except OSError:  # closed: whatever is opened next may get its number
        raw = io.FileIO(os.devnull, "w")
    return io.TextIOWrapper(
        cast(BinaryIO, raw), encoding="utf-8", errors="backslashreplace", write_through=True
    )


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {
        "time": _time(record.created),
        "level": record.levelname,
        "msg": _message(record),
    }
    for key, value in vars(record).items():
        if key not in _OWN_ATTRIBUTES:
            fields[key if key not in fields else f"{key}_"] = value
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        fields.setdefault("error", f"{type(error).__name__}: {_text(error)}")
        fields.setdefault("traceback", "".join(traceback.format_exception(error)).rstrip())
    if record.stack_info:
        fields.setdefault("stack", record.stack_info)
    return fields


def _time(created: float) -> str:
    moment = datetime.fromtimestamp(created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  a wrong placeholder, or an argument that cannot be written
        return f"{_text(record.msg)} {_text(record.args)}"


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    for write in (str, repr):
        try:
            return _bounded(write(value))
        except Exception:  # noqa: BLE001, S112  whatever a value does, its record is written
            continue
    return f"<{type(value).__name__}>"


def _json(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(_bounded(value))
    try:
        text = json.dumps(value, default=_text, allow_nan=False, separators=(",", ":"))
    except Exception:  # noqa: BLE001  the same
        return json.dumps(_text(value))
    return text if len(text) <= _LONGEST_VALUE else json.dumps(_bounded(text))


def _bounded(text: str) -> str:
    more = len(text) - _LONGEST_VALUE
    return text if more <= 0 else f"{text[:_LONGEST_VALUE]}... and {more} characters more"


def _quoted(text: str) -> str:
    # isprintable is false for line breaks of every kind, control characters and half surrogates
    if text and text.isprintable() and not any(char in text for char in ' "='):
        return text
    written = json.dumps(text, ensure_ascii=False)
    if written.isprintable():
        return written
    return "".join(char if char.isprintable() else json.dumps(char).strip('"') for char in written)
