"""Server-Sent Events read as the standard says, strictly: what is not expected fails the test."""

import json
from typing import Any, NamedTuple


class Told(NamedTuple):
    """One event."""

    kind: str
    number: int
    data: Any


def told(stream: bytes) -> list[Told]:
    """Return the events in *stream*, which ends with a whole one; comments are none."""
    *blocks, rest = stream.decode().split("\n\n")
    assert rest in {"", ":\n"}
    found = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line != ":")
        assert [name for name in fields if name != "retry"] == ["event", "id", "data"]
        number = int(fields["id"].partition("-")[2])
        found.append(Told(fields["event"], number, json.loads(fields["data"])))
    return found
