"""The two data modes of the service."""

from enum import StrEnum


class Mode(StrEnum):
    """Where prices come from: real exchanges, or generated for tests."""

    LIVE = "live"
    TEST = "test"
