"""What schemathesis cannot know of the service; loaded by its command line.

A schema says what a parameter looks like, not which values mean something: these are refused in
the words below, and only then. The charting protocol knows no status but 200.
"""

import json

import schemathesis

_UNKNOWN_ASSET = "Invalid asset symbol"
_MEANINGLESS = (
    "period must be greater than zero, was ",
    "period must be at most 30d, was ",
    "from must not be after to, was ",
    "cursor must be a known asset, was ",
    "cursor must be one that a Link held, was ",
    "tier must be hot, medium, cold, was ",
)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Keep *failure* unless the answer explains it."""
    told = json.loads(response.content or b"null")
    if failure.code == "ST202":  # a request that fits the schema was refused
        detail = told["detail"]
        return not (detail == _UNKNOWN_ASSET or detail.startswith(_MEANINGLESS))
    if failure.code == "ST201":  # one that does not was accepted
        return not (case.path.startswith("/udf/") and told["s"] == "error")
    return True
