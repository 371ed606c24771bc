"""Which form of an answer a client wants, by its Accept header (RFC 9110, 12.5.1)."""

import re

_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def prefers_csv(accept: str) -> bool:
    """Whether CSV is wanted more than JSON; what cannot be understood or met means JSON."""
    ranges = {}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((text[2:].strip() for text in parameters if text.startswith("q=")), "1")
        ranges[media] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    everything = ranges.get("*/*", 0.0)
    csv = ranges.get("text/csv", ranges.get("text/*", everything))
    json = ranges.get("application/json", ranges.get("application/*", everything))
    return csv > json
