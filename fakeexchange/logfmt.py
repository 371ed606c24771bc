"""Log lines as key=value pairs."""

import logging
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KeyValueFormatter(logging.Formatter):
    """`time=… level=INFO msg="client connected" exchange=exchange1 client=127.0.0.1:50312`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write *record* and its context on one line, a traceback behind it."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = {"time": at.replace("+00:00", "Z"), "level": record.levelname}
        pairs["msg"] = record.getMessage()
        pairs |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        line = " ".join(f"{key}={_quoted(str(value))}" for key, value in pairs.items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quoted(text: str) -> str:
    if text and text.isprintable() and not any(mark in text for mark in ' "='):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
