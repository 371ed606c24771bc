"""Sections of settings: frozen dataclasses, filled from a file and the environment, and shown.

Each field is `Annotated` with a `Kind`, or is a section itself. A field that holds milliseconds
(`stale_after_ms`) has the key `stale_after`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from marketflow.settings import Choice, ConfigError, JsonObject, Kind, one_of, parse_json, quoted

T = TypeVar("T")


class Section(Kind):
    """An object that is a section by itself, as the items of a list are."""

    wanted = "an object"

    def __init__(self, section: type) -> None:
        self._section = section

    def read(self, value: object, at: str) -> Any:
        return _read_section(self._section, value, at)

    def show(self, value: Any) -> object:
        return shown(value)


class Variant(Kind):
    """An object whose key `kind` says which section it is; *default* if it does not say."""

    wanted = "an object"

    def __init__(self, sections: Mapping[str, type], default: str | None = None) -> None:
        self._sections = sections
        self._kinds = Choice(*sections)
        self._default: object = MISSING if default is None else default

    def read(self, value: object, at: str) -> Any:
        if not isinstance(value, dict):
            raise self.refusal(value, at)
        kind = self._kinds.read(value.get("kind", self._default), f"{at}.kind")
        return _read_section(self._sections[kind], value, at)

    def show(self, value: Any) -> object:
        return shown(value)


class _Slot(NamedTuple):
    name: str  # of the field
    key: str  # in the file
    kind: Kind | None  # None: the field is a section
    section: type
    required: bool


def _slots(section: type) -> tuple[_Slot, ...]:
    hints = get_type_hints(section, include_extras=True)
    return tuple(
        _Slot(
            name=field.name,
            key=field.name.removesuffix("_ms"),
            kind=next(iter(getattr(hints[field.name], "__metadata__", ())), None),
            section=hints[field.name],
            required=field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(section)
    )


def leaves(section: type, path: str = "") -> dict[str, Kind]:
    """Return every setting of *section* by its dotted key."""
    found: dict[str, Kind] = {}
    for slot in _slots(section):
        if slot.kind is None:
            found |= leaves(slot.section, f"{path}{slot.key}.")
        else:
            found[f"{path}{slot.key}"] = slot.kind
    return found


def read_object(
    section: type, value: object, at: str, path: str = ""
) -> Iterator[tuple[str, object]]:
    """Yield what the JSON object *value* sets, by dotted key; *at* is what to write before a key.

    Raises:
        ConfigError: a value is wrong, or a key unknown or repeated.
    """
    name = at.removesuffix(".").removesuffix(": ")
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be an object, was {quoted(value)}")
    if isinstance(value, JsonObject) and value.repeated is not None:
        raise ConfigError(f"{at}{_word(value.repeated)} must stand there once, was repeated")
    slots = {slot.key: slot for slot in _slots(section)}
    for key, entry in value.items():
        slot = slots.get(key)
        if slot is None:  # its value is not shown: it may be a secret whose key has a typing error
            raise ConfigError(f"{at}{_word(key)} is no setting, must be {one_of(slots)}")
        if slot.kind is None:
            yield from read_object(slot.section, entry, f"{at}{key}.", f"{path}{key}.")
        else:
            yield f"{path}{key}", slot.kind.read(entry, f"{at}{key}")


def _read_section(section: type, value: object, at: str) -> Any:
    values = dict(read_object(section, value, f"{at}."))
    for slot in _slots(section):
        if slot.required and slot.kind and slot.key not in values:
            raise slot.kind.refusal(MISSING, f"{at}.{slot.key}")
    return build(section, values)


def build(section: type[T], values: Mapping[str, object], path: str = "") -> T:
    """Make a *section* of the *values* below *path*; what is not there takes its default."""
    arguments: dict[str, object] = {}
    for slot in _slots(section):
        key = f"{path}{slot.key}"
        if slot.kind is None:
            arguments[slot.name] = build(slot.section, values, f"{key}.")
        elif key in values:
            arguments[slot.name] = values[key]
    return section(**arguments)


def shown(section: object) -> dict[str, object]:
    """Return *section* in the shape of the file; secrets as `***`."""
    return {
        slot.key: shown(value) if slot.kind is None else slot.kind.show(value)
        for slot in _slots(type(section))
        for value in (getattr(section, slot.name),)
    }


def read_file(section: type, path: Path) -> dict[str, object]:
    """Return what the JSON file at *path* sets, by dotted key.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    text = _read_text(path, str(path))
    try:
        value = parse_json(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{path} must be JSON, was not at {where}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, brackets in brackets
        raise ConfigError(f"{path} must be JSON of a sensible size: {error}") from error
    return dict(read_object(section, value, f"{path}: "))


def read_environ(
    section: type, environ: Mapping[str, str], prefix: str
) -> tuple[dict[str, object], list[str]]:
    """Return what variables such as `<prefix>HTTP_PORT` set, by dotted key, and warnings.

    `<prefix>HTTP_PORT_FILE` names a file that holds the value.

    Raises:
        ConfigError: a value is wrong, or stands there both ways.
    """
    kinds = leaves(section)
    keys = {f"{prefix}{key.replace('.', '_').upper()}": key for key in kinds}
    values: dict[str, object] = {}
    warnings: list[str] = []
    for name in sorted(name for name in environ if name.startswith(prefix)):
        plain = name.removesuffix("_FILE")
        if name in keys:  # before `_FILE` is looked at: a key may end in it
            values[keys[name]] = kinds[keys[name]].parse(environ[name], name)
        elif plain not in keys:  # orchestrators set such names
            warnings.append(f"environment variable {name} is no setting and was ignored")
        elif plain in environ:
            raise ConfigError(f"{plain} must not be set together with {name}")
        else:
            text = re.sub(r"\r?\n\Z", "", _read_text(Path(environ[name]), name))
            if not text:  # an empty secret would switch protection off unnoticed
                raise ConfigError(f"{name} must name a file that is not empty")
            values[keys[plain]] = kinds[keys[plain]].parse(text, name)
    return values, warnings


def _read_text(path: Path, at: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise ConfigError(
            f"{at} must be UTF-8 text, was not at line {line}, column {column}"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{at} cannot be read: {reason}") from error


def _word(key: str) -> str:
    return key if re.fullmatch(r"\w{1,64}", key, re.ASCII) else quoted(key)
