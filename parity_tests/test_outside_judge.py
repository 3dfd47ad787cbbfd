"""A GoogLeNet graph that nobody here wrote says what ours is, and its list of differences is complete."""

import re

import pytest

from parity_tests.evidence.outside_judge import WHY, judge
from portproof.judge._report import HOLDS


@pytest.mark.slow
def test_the_light_inception_of_the_onnx_package_is_our_trunk_but_for_named_differences() -> None:
    found = judge()
    lone = [said for said in found.match.differences if "stands only in light" in said]
    assert sorted(said.split()[0] for said in lone) == ["LRN", "LRN", "Softmax"]
    assert len(found.match.matched) + len(lone) == found.steps
    changed = [said for said in found.match.differences if " is " in said]
    assert sorted(re.findall(r"^(\w+).*: (\w+) is", "\n".join(changed), re.MULTILINE)) == [
        ("AveragePool", "pads"), ("AveragePool", "strides"), *[("MaxPool", "pads")] * 4,
    ]  # fmt: skip
    assert all(any(key in said for key in WHY) for said in found.match.differences)
    assert len(found.match.tensors) == 116
    # Its own numbers see nothing; its graph, with these differences made and our weights in it, computes our function.
    assert found.blind == 0
    assert found.hop.verdict in HOLDS, found.hop
