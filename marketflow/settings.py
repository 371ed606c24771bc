"""Kinds of settings: how a value is checked, read from text, and shown again."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import MISSING
from typing import Any

from marketflow.domain.errors import BadPeriod, MarketflowError
from marketflow.domain.period import duration_ms

_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_LONGEST_SHOWN = 80


class ConfigError(MarketflowError):
    """A setting that cannot be used; the message is one sentence that names it."""


class Kind(ABC):
    """What a setting may be."""

    wanted: str
    secret = False
    bare = False  # its text stands without JSON's quotes

    @abstractmethod
    def read(self, value: object, at: str) -> Any:
        """Return *value*, as JSON has it, the way the service uses it; *at* names the setting.

        Raises:
            ConfigError: it is not what is wanted.
        """

    def parse(self, text: str, at: str) -> Any:
        """Return what *text*, of a variable or an argument, stands for.

        Raises:
            ConfigError: it is not what is wanted.
        """
        value: object = text
        if not self.bare:
            with suppress(ValueError, RecursionError):  # what is no JSON is refused as text
                value = parse_json(text)
        return self.read(value, at)

    def show(self, value: Any) -> object:
        """Return what `read` made as JSON again; a secret stays one."""
        return value

    def refusal(self, value: object, at: str) -> ConfigError:
        """Say that *at* must be what is wanted."""
        was = "its value is not shown" if self.secret else f"was {quoted(value)}"
        return ConfigError(f"{at} must be {self.wanted}, {was}")


class Text(Kind):
    """A string that matches a pattern, turned into what it stands for."""

    bare = True

    def __init__(
        self, pattern: str, wanted: str, *, into: Callable[[str], Any] = str, secret: bool = False
    ) -> None:
        self.wanted = wanted
        self.secret = secret
        self._pattern = re.compile(pattern, re.ASCII | re.IGNORECASE)
        self._into = into

    def read(self, value: object, at: str) -> Any:
        if not isinstance(value, str) or not self._pattern.fullmatch(value):
            raise self.refusal(value, at)
        return self._into(value)

    def show(self, value: Any) -> object:
        return "***" if self.secret and value else str(value)


class Choice(Kind):
    """One of a few words, in any case."""

    bare = True

    def __init__(self, *words: str) -> None:
        self.wanted = one_of(words)
        self._words = {str(word): word for word in words}

    def read(self, value: object, at: str) -> Any:
        word = self._words.get(value.lower()) if isinstance(value, str) else None
        if word is None:
            raise self.refusal(value, at)
        return word


class Switch(Kind):
    """True or false."""

    wanted = "true or false"

    def read(self, value: object, at: str) -> bool:
        if not isinstance(value, bool):
            raise self.refusal(value, at)
        return value


class Whole(Kind):
    """A whole number within bounds."""

    def __init__(self, low: int, high: int) -> None:
        self.wanted = f"a whole number from {low} to {high}"
        self._low, self._high = low, high

    def read(self, value: object, at: str) -> int:
        # bool is an int to Python, not to whoever writes a file
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refusal(value, at)
        if not self._low <= value <= self._high:
            raise self.refusal(value, at)
        return value


class Number(Kind):
    """A number within bounds, never NaN."""

    def __init__(self, low: float, high: float) -> None:
        self.wanted = f"a number from {low} to {high}"
        self._low, self._high = low, high

    def read(self, value: object, at: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refusal(value, at)
        if not self._low <= value <= self._high:
            raise self.refusal(value, at)
        return float(value)

    def show(self, value: Any) -> object:
        return int(value) if value == int(value) else value


class Duration(Kind):
    """A duration within bounds, in milliseconds; *divides_ms* must be a multiple of it."""

    bare = True

    def __init__(self, low: str, high: str, *, divides_ms: int = 0) -> None:
        self.wanted = f"a duration from {low} to {high}"
        if divides_ms:
            self.wanted += f" that divides {duration_text(divides_ms)}"
        self._low_ms, self._high_ms = duration_ms(low), duration_ms(high)
        self._divides_ms = divides_ms

    def read(self, value: object, at: str) -> int:
        try:
            ms = duration_ms(value) if isinstance(value, str) else -1
        except BadPeriod as error:
            raise self.refusal(value, at) from error
        if not self._low_ms <= ms <= self._high_ms or (self._divides_ms and self._divides_ms % ms):
            raise self.refusal(value, at)
        return ms

    def show(self, value: Any) -> object:
        return duration_text(value)


class ListOf(Kind):
    """A list as a tuple; no two items may have the same *key*, whatever its case."""

    def __init__(
        self, item: Kind, wanted: str, *, key: str = "", may_be_empty: bool = False
    ) -> None:
        self.wanted = wanted
        self._item, self._key, self._may_be_empty = item, key, may_be_empty

    def read(self, value: object, at: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or not (value or self._may_be_empty):
            raise self.refusal(value, at)
        items: dict[str, Any] = {}
        for number, entry in enumerate(value):
            item = self._item.read(entry, f"{at}[{number}]")
            name = str(getattr(item, self._key) if self._key else item)
            if name.casefold() in items:
                where = f"{at}[{number}].{self._key}".removesuffix(".")
                raise ConfigError(f"{where} must stand there once, was {quoted(name)} again")
            items[name.casefold()] = item
        return tuple(items.values())

    def show(self, value: Any) -> object:
        return [self._item.show(item) for item in value]


class Maybe(Kind):
    """Another kind, or null."""

    def __init__(self, kind: Kind) -> None:
        self.wanted = f"{kind.wanted}, or null"
        self._kind = kind

    def read(self, value: object, at: str) -> Any:
        return None if value is None else self._kind.read(value, at)

    def parse(self, text: str, at: str) -> Any:
        return None if text == "null" else self._kind.parse(text, at)

    def show(self, value: Any) -> object:
        return None if value is None else self._kind.show(value)


class MapOf(Kind):
    """An object whose keys and values are of one kind each, as pairs in order."""

    wanted = "an object"

    def __init__(self, key: Kind, value: Kind) -> None:
        self._key, self._value = key, value

    def read(self, value: object, at: str) -> tuple[tuple[Any, Any], ...]:
        if not isinstance(value, dict):
            raise self.refusal(value, at)
        if isinstance(value, JsonObject) and value.repeated is not None:
            raise ConfigError(f"{at}.{quoted(value.repeated)} must stand there once, was repeated")
        return tuple(
            (self._key.read(key, f"a key of {at}"), self._value.read(entry, f"{at}.{key}"))
            for key, entry in value.items()
        )

    def show(self, value: Any) -> object:
        return {key: self._value.show(entry) for key, entry in value}


def duration_text(ms: int) -> str:
    """Write *ms* milliseconds as `duration_ms` reads them: `1m30s`."""
    text = ""
    for unit, size in _UNITS_MS.items():
        count, ms = divmod(ms, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


class JsonObject(dict[str, Any]):
    """A JSON object that remembers a key that stood in it twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.repeated: str | None = None
        for key, value in pairs:
            if key in self:
                self.repeated = key
            self[key] = value


def parse_json(text: str) -> object:
    """Parse *text*; repeated keys are refused later, where their path is known."""
    return json.loads(text, object_pairs_hook=JsonObject)


def one_of(words: Iterable[str]) -> str:
    """Write what a setting with few values may be."""
    known = [str(word) for word in words]
    return f"one of {', '.join(known)}" if len(known) > 1 else known[0]


def quoted(value: object) -> str:
    """Write a wrong *value* on one short line; what objects and lists hold is not shown."""
    if value is MISSING:
        return "left out"
    if isinstance(value, (dict, list)) and value:
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."
