"""Caffe's GoogLeNet, to take the weights of the ONNX model zoo's file.

Its map, ``googlenet_bvlc.csv``, is that of the two models here; ``googlenet_bvlc_zoo.csv`` has the zoo's names in place
of PyTorch's, whose layouts it shares:
``portproof convert FILE.onnx DST --port googlenet_bvlc --from torch --map convert/googlenet_bvlc_zoo.csv``.
"""

import re
from pathlib import Path

from portproof import Input, Port

GOOGLENET_BVLC = Port(
    name="googlenet_bvlc",
    paddle="paddle_impl.googlenet_bvlc:GoogLeNetBVLC",
    torch="torch_impl.googlenet_bvlc:GoogLeNetBVLC",
    inputs={"image": Input(shape=("batch", 3, 224, 224))},
    outputs=("prob",),
    mapping=Path(__file__).with_suffix(".csv"),
)
ZOO_MAP = Path(__file__).with_name("googlenet_bvlc_zoo.csv")

_STEM = {"conv_block1.0": "conv1/7x7_s2", "conv_block2.0": "conv2/3x3_reduce", "conv_block2.2": "conv2/3x3"}
_PATHS = {
    "p1.0": "1x1", "p2.0": "3x3_reduce", "p2.2": "3x3", "p3.0": "5x5_reduce", "p3.2": "5x5", "p4.1": "pool_proj",
}  # fmt: skip


def zoo_name(name: str) -> str:
    """Return what the zoo's file calls a tensor of these models."""
    module, _, leaf = name.rpartition(".")
    found = re.fullmatch(r"inception(?:_block)?(\d)(?:\.(\d)\.|([a-e])\.)(p\d\.\d)", module)
    if found:
        block = found[3] or "ab"[int(found[2])]
        module = f"inception_{found[1]}{block}/{_PATHS[found[4]]}"
    else:
        module = _STEM.get(module, "loss3/classifier")
    return f"{module}_{leaf[0]}_0"
