"""What stands behind the question mark, and percent-encoding, strictly."""

from collections.abc import Iterable
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
