"""paddleclas beside timm, and paddle.vision beside torchvision: as published, on small images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from parity_tests.wild.packages import paddleclas, timm
from parity_tests.wild.written_maps import WRITTEN
from portproof import Input, Port, WeightMap
from torch_impl.zoo import torchvision_model

IMAGE = {"image": Input(("batch", 3, 64, 64))}
CLASSES = 10


def _clas(module: str, name: str, **config: Any) -> Callable[[], Any]:
    return lambda **own: getattr(paddleclas(f"backbone.{module}"), name)(**{"class_num": CLASSES, **config, **own})


def _timm(name: str, **config: Any) -> Callable[[], Any]:
    return lambda **own: timm().create_model(name, **{"num_classes": CLASSES, **config, **own})


_TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
VIT = Port(
    "vit", _clas("model_zoo.vision_transformer", "VisionTransformer", **_TINY, qkv_bias=True, epsilon=1e-6),
    _timm("vit_tiny_patch16_224", **_TINY), {"image": Input(("batch", 3, 32, 32))},
)  # fmt: skip
DEIT = Port(
    "deit-distilled",
    _clas("model_zoo.distilled_vision_transformer", "DistilledVisionTransformer", **_TINY, qkv_bias=True, epsilon=1e-6),
    _timm("deit_tiny_distilled_patch16_224", **_TINY), {"image": Input(("batch", 3, 32, 32))},
)  # fmt: skip
CONVNEXT = Port(
    "convnext", _clas("model_zoo.convnext", "ConvNeXt", depths=[1, 1, 2, 1], dims=[8, 16, 24, 32]),
    _timm("convnext_tiny", depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)), IMAGE,
)  # fmt: skip
PVT = Port(
    "pvt-v2-b0", _clas("model_zoo.pvt_v2", "PVT_V2_B0"), _timm("pvt_v2_b0"), IMAGE,
)  # fmt: skip
TWINS = Port("twins-pcpvt", _clas("model_zoo.twins", "pcpvt_small"), _timm("twins_pcpvt_small"),
             {"image": Input(("batch", 3, 224, 224))})  # fmt: skip
STARNET = Port("starnet-s1", _clas("model_zoo.starnet", "StarNet_S1"), _timm("starnet_s1"), IMAGE)
DLA = Port("dla34", _clas("model_zoo.dla", "DLA34"), _timm("dla34"), IMAGE)
FASTERNET = Port(
    "fasternet-t0", _clas("model_zoo.fasternet", "FasterNet_T0"), _timm("fasternet_t0"), IMAGE,
)  # fmt: skip
HGNET = Port(
    "pp-hgnet-tiny", _clas("legendary_models.pp_hgnet", "PPHGNet_tiny"), _timm("hgnet_tiny"), IMAGE,
)  # fmt: skip
RESNET_VD = Port(
    "resnet50-vd", _clas("legendary_models.resnet", "ResNet50_vd"), _timm("resnet50d"), IMAGE,
)  # fmt: skip
REPVGG = Port(
    "repvgg-a0", _clas("model_zoo.repvgg", "RepVGG_A0"), _timm("repvgg_a0"), IMAGE,
)  # fmt: skip


def _vision(name: str) -> Port:
    """Return the pair of one name in paddle.vision and torchvision."""
    return Port(
        f"vision-{name.replace('_', '-')}", f"paddle.vision.models:{name}", partial(torchvision_model, name), IMAGE,
        weights=WRITTEN[f"vision-{name}"] if name == "alexnet" else WeightMap(),  # two functions: none can be proven
        kwargs={"num_classes": CLASSES},
    )  # fmt: skip


RESNET18 = _vision("resnet18")
RESNET34 = _vision("resnet34")
RESNEXT50 = _vision("resnext50_32x4d")
WIDE_RESNET50 = _vision("wide_resnet50_2")
VGG11 = _vision("vgg11")
MOBILENET_V2 = _vision("mobilenet_v2")
MOBILENET_V3 = _vision("mobilenet_v3_small")
MOBILENET_V3_LARGE = _vision("mobilenet_v3_large")
DENSENET121 = _vision("densenet121")
SHUFFLENET = _vision("shufflenet_v2_x1_0")
SHUFFLENET_HALF = _vision("shufflenet_v2_x0_5")
ALEXNET = _vision("alexnet")
SQUEEZENET = _vision("squeezenet1_1")
