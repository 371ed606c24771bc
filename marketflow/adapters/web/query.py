"""What stands behind the question mark, and percent-encoding, strictly."""

from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

from marketflow.domain.errors import BadParameter


def decode(text: str) -> str:
    """Undo percent-encoding.

    Raises:
        BadParameter: a `%` without two hexadecimal digits, or bytes that are not UTF-8.
    """
    if "%" not in text:
        return text
    for part in text.split("%")[1:]:
        if len(part) < 2 or not all(digit in "0123456789abcdefABCDEF" for digit in part[:2]):
            raise BadParameter("percent-encoding must be % and two hexadecimal digits")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise BadParameter("percent-encoding must spell UTF-8") from None


def parameters(query: str, known: Iterable[str]) -> dict[str, str]:
    """Return the *known* parameters of *query*; others are ignored.

    Raises:
        BadParameter: a known one is repeated, empty or malformed.
    """
    found: dict[str, str] = {}
    if not query:
        return found
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if "%" in name:
            try:
                name = decode(name)
            except BadParameter:
                continue  # no known name is spelled like this
        if name not in known:
            continue
        if name in found:
            raise BadParameter(f"{name} must be given once, was {found[name]!r} and {value!r}")
        try:
            text = decode(value.replace("+", " "))
        except BadParameter as error:
            raise BadParameter(f"{name} is malformed: {error}, was {value!r}") from None
        if not text:
            raise BadParameter(f"{name} must not be empty, was ''")
        found[name] = text
    return found


def names_in(text: str, parameter: str) -> list[str]:
    """Return the comma-separated names of a parameter's *text*.

    Raises:
        BadParameter: one of them is empty.
    """
    names = text.split(",")
    if not all(names):
        raise BadParameter(f"{parameter} must be names separated by commas, was {text!r}")
    return names


def whole(asked: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    """Return the parameter *name*, a number from 1 to *most*, or *default* if it is not there.

    Raises:
        BadParameter: it is something else.
    """
    text = asked.get(name)
    if text is None:
        return default
    # ASCII digits alone: int() reads many other spellings, and thousands of digits slowly
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or not 1 <= int(text) <= most:
        raise BadParameter(f"{name} must be a whole number from 1 to {most}, was {text!r}")
    return int(text)
