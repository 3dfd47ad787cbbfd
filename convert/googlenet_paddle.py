"""Paddle's own GoogLeNet, to take its published ImageNet weights: Paddle's class itself beside the PyTorch one here."""

from pathlib import Path

from portproof import Accepted, Input, Port

#: Paddle's kernel holds what a dropout keeps, 1 - p, as a float32 whatever the tensor's dtype: 4e-8 of 0.6 and 0.3.
_KEPT = Accepted(bound=5e-8, reason="Paddle multiplies by 1 - p as a float32, in float64 too")

GOOGLENET_PADDLE = Port(
    name="googlenet_paddle",
    paddle="paddle.vision.models:googlenet",
    torch="torch_impl.googlenet_paddle:GoogLeNet",
    inputs={"image": Input(shape=("batch", 3, 224, 224))},
    outputs=("out", "out1", "out2"),
    accepted=dict.fromkeys(("_drop", "_drop_o1", "_drop_o2"), _KEPT),
    mapping=Path(__file__).with_suffix(".csv"),
)
