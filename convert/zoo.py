"""The zoo's classifiers: Paddle's own (``paddle.vision``) beside torchvision's, or the PyTorch ones in ``torch_impl``.

Where the two libraries' names differ the maps below say how; where their models of one name are not one function,
``torch_impl/zoo.py`` builds what Paddle has, and a ``…_NAMESAKE`` keeps the pair that differs, for the record.
"""

from collections.abc import Mapping
from typing import Any

from portproof import Input, Port, WeightMap


def _pair(name: str, rename: Mapping[str, str] | None = None, size: int = 224, **more: Any) -> Port:
    """Return the port of a classifier whose two sides have one name."""
    fields = {
        "paddle": f"paddle.vision.models:{name}",
        "torch": f"torch_impl.zoo:{name}",
        "inputs": {"image": Input(shape=("batch", 3, size, size))},
        "outputs": ("logits",),
    }
    return Port(name=name, weights=WeightMap(rename=rename or {}), **(fields | more))


RESNET50 = _pair("resnet50")
RESNEXT50 = _pair("resnext50_32x4d")
WIDE_RESNET50 = _pair("wide_resnet50_2")
VGG16 = _pair("vgg16")
MOBILENET_V2 = _pair("mobilenet_v2")


def _mobilenet_v1() -> dict[str, str]:
    stages = [(2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (4, 2), *((5, i) for i in range(1, 7)), (6, None)]
    rename = {"stem": "conv1"}
    for index, (stage, block) in enumerate(stages):
        name = f"conv{stage}" if block is None else f"conv{stage}_{block}"
        rename |= {f"blocks.{index}.0": f"{name}._depthwise_conv", f"blocks.{index}.1": f"{name}._pointwise_conv"}
    return rename


MOBILENET_V1 = _pair("mobilenet_v1", _mobilenet_v1(), torch="torch_impl.zoo:MobileNetV1")


def _mobilenet_v3(excited: tuple[int, ...], blocks: int) -> dict[str, str]:
    """Return the names of MobileNet v3's blocks. ``excited``: those with squeeze and excitation."""
    rename = {"features.0": "conv", f"features.{blocks + 1}": "lastconv"}
    for index in range(blocks):
        parts = ["expand_conv"] if index else []
        parts += ["bottleneck_conv", *(["mid_se"] if index in excited else []), "linear_conv"]
        rename |= {f"features.{index + 1}.block.{i}": f"blocks.{index}.{part}" for i, part in enumerate(parts)}
    return rename


MOBILENET_V3_SMALL = _pair(
    "mobilenet_v3_small",
    _mobilenet_v3((0, *range(3, 11)), 11),
    training={"paddle": "paddle_impl.training:OneHead", "torch": "torch_impl.training:OneHead"},
)
MOBILENET_V3_LARGE = _pair("mobilenet_v3_large", _mobilenet_v3((3, 4, 5, *range(10, 15)), 15))


def _densenet() -> dict[str, str]:
    rename = {
        "features.conv0": "conv1_func._conv",
        "features.norm0": "conv1_func._batch_norm",
        "features.norm5": "batch_norm",
        "classifier": "out",
    }
    for block in range(1, 5):
        dense, conv = f"db_conv_{block + 1}", f"conv{block + 1}"
        rename[f"features.denseblock{block}"] = dense
        for torch, paddle in (("norm", "_batch_norm"), ("conv", "_conv")):
            layer = f"features.denseblock{block}.denselayer{{n}}.{torch}{{part}}"
            rename[layer] = f"{dense}.{conv}_{{n}}.bn_ac_func{{part}}.{paddle}"
            if block < 4:
                rename[f"features.transition{block}.{torch}"] = f"tr_{conv}_blk.conv_ac_func.{paddle}"
        if block < 4:
            rename[f"features.transition{block}"] = f"tr_{conv}_blk"
    return rename


DENSENET121 = _pair("densenet121", _densenet())


def _squeezenet() -> dict[str, str]:
    rename = {"features.0": "_conv", "classifier.0": "_drop", "classifier.1": "_conv9", "classifier.3": "_avg_pool"}
    for number, index in enumerate((3, 4, 6, 7, 9, 10, 11, 12), 1):
        for torch, paddle in (("squeeze", "_conv"), ("expand1x1", "_conv_path1"), ("expand3x3", "_conv_path2")):
            rename[f"features.{index}.{torch}"] = f"_conv{number}.{paddle}._conv"
    return rename


SQUEEZENET = _pair("squeezenet1_1", _squeezenet())


def _shufflenet() -> dict[str, str]:
    rename = {"conv1": "_conv1", "conv5": "_last_conv", "fc": "_fc"}
    for stage, blocks in ((2, 4), (3, 8), (4, 4)):
        for block in range(blocks):
            ours, theirs = f"stage{stage}.{block}", f"{stage}_{block + 1}"
            rename[ours] = theirs
            last = "_2" if block == 0 else ""
            places = [("branch1", 0, "dw_1"), ("branch1", 2, "linear_1")] if block == 0 else []
            places += [("branch2", 0, f"pw{last}"), ("branch2", 3, f"dw{last}"), ("branch2", 5, f"linear{last}")]
            for branch, index, part in places:
                rename[f"{ours}.{branch}.{index}"] = f"{theirs}._conv_{part}.0"
                rename[f"{ours}.{branch}.{index + 1}"] = f"{theirs}._conv_{part}.1"
    return rename


SHUFFLENET_V2 = _pair("shufflenet_v2_x1_0", _shufflenet())

_ALEXNET = {
    **{f"features.{index}": f"_conv{n}._conv" for index, n in ((0, 1), (3, 2), (10, 5))},
    **{"features.6": "_conv3", "features.8": "_conv4"},
    **{f"classifier.{index}": f"_fc{n}" for index, n in ((1, 6), (4, 7), (6, 8))},
    **{"classifier.0": "_drop1", "classifier.3": "_drop2"},
}
ALEXNET = _pair("alexnet", _ALEXNET)


def _inception() -> dict[str, str]:
    rename = {
        f"Conv2d_{name}.{ours}": f"inception_stem.conv_{name}.{theirs}"
        for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
        for ours, theirs in (("conv", 0), ("bn", 1))
    }
    for index, name in enumerate(("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")):
        block = f"inception_block_list.{index}"
        rename[f"Mixed_{name}"] = block
        for ours, theirs in (("conv", 0), ("bn", 1)):
            rename[f"Mixed_{name}.{{branch}}.{ours}"] = f"{block}.{{branch}}.{theirs}"
            if name not in ("6a", "7a"):  # there the pool has no convolution behind it
                rename[f"Mixed_{name}.branch_pool.{ours}"] = f"{block}.branch_pool_conv.{theirs}"
        if name not in ("6a", "7a"):
            rename[f"Mixed_{name}.branch_pool"] = f"{block}.branch_pool_conv"  # Paddle's branch_pool is the pool alone
    return rename


INCEPTION_V3 = _pair("inception_v3", _inception(), size=299)

LENET = Port(
    name="lenet",
    paddle="paddle.vision.models:LeNet",
    torch="torch_impl.zoo:LeNet",
    inputs={"image": Input(shape=("batch", 1, 28, 28))},
    outputs=("logits",),
)

_TORCHVISION = "torch_impl.zoo:torchvision_"
# Two libraries' models of one name that are not one function; `portproof verify` says why.
ALEXNET_NAMESAKE = _pair("alexnet", _ALEXNET, torch=f"{_TORCHVISION}alexnet")
INCEPTION_V3_NAMESAKE = _pair(
    "inception_v3", INCEPTION_V3.weights.rename, size=299, torch=f"{_TORCHVISION}inception_v3"
)
SQUEEZENET_NAMESAKE = _pair("squeezenet1_1", _squeezenet(), torch=f"{_TORCHVISION}squeezenet1_1")
