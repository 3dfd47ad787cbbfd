"""What exporters refuse, in words that say what."""

from __future__ import annotations

from typing import Any

import paddle
import pytest

from portproof import Input, Port
from portproof._errors import ExportFailed
from portproof.frameworks._paddle_export import paddle_to_onnx


class Net(paddle.nn.Layer):
    """A convolution, and a resize that paddle2onnx cannot read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 1)

    def forward(self, x: Any) -> Any:
        y = paddle.nn.functional.relu(self.conv(x))
        return paddle.nn.functional.upsample(y, scale_factor=2, mode="nearest", align_mode=1) + 1


@pytest.mark.slow  # a conversion for every halving of the program
def test_the_operator_that_paddle2onnx_refuses_is_named() -> None:
    layer = Net()
    layer.eval()
    port = Port("resize", Net, None, {"x": Input(("batch", 3, 8, 8))})
    with pytest.raises(ExportFailed, match=r"on port 'resize' at operator 'nearest_interp': .*\(Unimplemented\)"):
        paddle_to_onnx(layer, port)
