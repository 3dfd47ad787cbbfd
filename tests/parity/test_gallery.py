"""What the gallery says of each bug is what the tool says."""

import pytest

from parity_tests.evidence.gallery import BUGS, Bug, answer
from tests.test_docs import ROOT


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.title)
def test_the_bug_is_caught_and_named(bug: Bug) -> None:
    assert bug.said in answer(bug)
    assert f"## {bug.title}" in (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")


def test_paddle_s_adaptive_softmax_still_loses_its_tail() -> None:
    """When this fails, Paddle has mended it: map the layer, and take it out of the gallery."""
    import paddle

    layer = paddle.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10])
    assert list(layer.state_dict()) == ["head_weight"]
