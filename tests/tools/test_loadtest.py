"""The JMeter plan asks what it should, and every number of it can be changed."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

PLAN = Path(__file__).parents[2] / "deploy" / "loadtest.jmx"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPSampler.domain", "${__P(host,localhost)}"),
        ("HTTPSampler.port", "${__P(port,8080)}"),
        ("HTTPSampler.path", "${__P(path,/prices/BTCUSDT)}"),
        ("HTTPSampler.method", "GET"),
        ("HTTPSampler.use_keepalive", "true"),
        ("ThreadGroup.num_threads", "${__P(threads,1000)}"),
        ("ThreadGroup.ramp_time", "${__P(ramp,10)}"),
        ("LoopController.loops", "${__P(loops,10)}"),
        ("DurationAssertion.duration", "${__P(max_ms,100)}"),
        ("Assertion.test_field", "Assertion.response_code"),
    ],
)
def test_the_plan_says(name, value):
    plan = ET.parse(PLAN)
    assert [found.text for found in plan.iter() if found.get("name") == name] == [value]


def test_every_element_stands_before_its_tree():
    """JMeter pairs them by position; a missing tree loads, and silently runs something else."""
    for tree in ET.parse(PLAN).iter("hashTree"):
        kinds = [child.tag == "hashTree" for child in tree]
        assert kinds in ([], [False, True] * (len(kinds) // 2))
