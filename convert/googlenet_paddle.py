"""Paddle's own GoogLeNet, to take its published ImageNet weights: Paddle's class itself beside the PyTorch one here."""

from pathlib import Path

from portproof import Input, Port

GOOGLENET_PADDLE = Port(
    name="googlenet_paddle",
    paddle="paddle.vision.models:googlenet",
    torch="torch_impl.googlenet_paddle:GoogLeNet",
    inputs={"image": Input(shape=("batch", 3, 224, 224))},
    outputs=("out", "out1", "out2"),
    mapping=Path(__file__).with_suffix(".csv"),
)
