"""torchvision's GoogLeNet, to take its published ImageNet weights; ``GOOGLENET_BN_HEADS`` runs all of its heads."""

from dataclasses import replace
from pathlib import Path

from portproof import Input, Port

GOOGLENET_BN = Port(
    name="googlenet_bn",
    paddle="paddle_impl.googlenet_bn:GoogLeNet",
    torch="torch_impl.googlenet_bn:GoogLeNet",
    inputs={"image": Input(shape=("batch", 3, 224, 224))},
    outputs=("out",),
    kwargs={"transform_input": True},
    mapping=Path(__file__).with_suffix(".csv"),
)
GOOGLENET_BN_HEADS = replace(
    GOOGLENET_BN,
    name="googlenet_bn_heads",
    outputs=("out", "aux2", "aux1"),
    kwargs={"transform_input": True, "heads": "always"},
)
