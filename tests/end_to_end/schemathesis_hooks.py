"""What schemathesis cannot know of the service; loaded by its command line.

A schema says what a parameter looks like, not which values mean something: those that do not are
refused in the words below, and only in these. The charting protocol knows no status but 200.
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
_REFUSED_THOUGH_VALID = "ST202"
_ACCEPTED_THOUGH_INVALID = "ST201"


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Demand the token: the service under test has one, others may not."""
    for item in raw_schema["paths"].values():
        for operation in item.values():
            if "security" in operation:
                operation["security"].remove({})


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Keep *failure* unless the answer explains it."""
    if failure.code == _REFUSED_THOUGH_VALID:
        detail = json.loads(response.content)["detail"]
        return not (detail == _UNKNOWN_ASSET or detail.startswith(_MEANINGLESS))
    if failure.code == _ACCEPTED_THOUGH_INVALID and case.path.startswith("/udf/"):
        return json.loads(response.content)["s"] != "error"
    return True
