"""paddleclas beside timm, and paddle.vision beside torchvision: as published, on small images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from convert import zoo
from parity_tests.wild.packages import paddleclas, timm
from portproof import Input, Port, WeightMap
from torch_impl.zoo import torchvision_model

IMAGE = {"image": Input(("batch", 3, 64, 64))}
CLASSES = 10


def _clas(module: str, name: str, **config: Any) -> Callable[[], Any]:
    return lambda: getattr(paddleclas(f"backbone.{module}"), name)(**{"class_num": CLASSES, **config})


def _timm(name: str, **config: Any) -> Callable[[], Any]:
    return lambda: timm().create_model(name, **{"num_classes": CLASSES, **config})


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
    weights=WeightMap({
        "stem": "downsample_layers.0", "head.norm": "norm", "head.fc": "head",
        **{f"stages.{stage}.downsample": f"downsample_layers.{stage}" for stage in (1, 2, 3)},
        "stages.{s}.blocks.{b}.conv_dw": "stages.{s}.{b}.dwconv",
        "stages.{s}.blocks.{b}.mlp.fc{k}": "stages.{s}.{b}.pwconv{k}",
        "stages.{s}.blocks.{b}": "stages.{s}.{b}",
    }),
)  # fmt: skip
PVT = Port(
    "pvt-v2-b0", _clas("model_zoo.pvt_v2", "PVT_V2_B0"), _timm("pvt_v2_b0"), IMAGE,
    weights=WeightMap({
        "patch_embed": "patch_embed1",
        **{f"stages.{i}.blocks": f"block{i + 1}" for i in range(4)},
        **{f"stages.{i}.blocks.{{b}}.mlp.dwconv": f"block{i + 1}.{{b}}.mlp.dwconv.dwconv" for i in range(4)},
        **{f"stages.{i}.norm": f"norm{i + 1}" for i in range(4)},
        **{f"stages.{i}.downsample": f"patch_embed{i + 1}" for i in (1, 2, 3)},
    }),
)  # fmt: skip
TWINS = Port("twins-pcpvt", _clas("model_zoo.twins", "pcpvt_small"), _timm("twins_pcpvt_small"),
             {"image": Input(("batch", 3, 224, 224))})  # fmt: skip
STARNET = Port("starnet-s1", _clas("model_zoo.starnet", "StarNet_S1"), _timm("starnet_s1"), IMAGE)
DLA = Port("dla34", _clas("model_zoo.dla", "DLA34"), _timm("dla34"), IMAGE)
FASTERNET = Port(
    "fasternet-t0", _clas("model_zoo.fasternet", "FasterNet_T0"), _timm("fasternet_t0"), IMAGE,
    weights=WeightMap({
        **{f"stages.{i}": f"stages.{2 * i}" for i in range(4)},
        **{f"stages.{i}.downsample": f"stages.{2 * i - 1}" for i in (1, 2, 3)},
        "conv_head": "avgpool_pre_head.1", "classifier": "head",
    }),
)  # fmt: skip
HGNET = Port(
    "pp-hgnet-tiny", _clas("legendary_models.pp_hgnet", "PPHGNet_tiny"), _timm("hgnet_tiny"), IMAGE,
    weights=WeightMap({
        "stem.stem": "stem", "head.last_conv.0": "last_conv", "head.fc": "fc",
        "stages.{s}.blocks.{b}.aggregation.0": "stages.{s}.blocks.{b}.aggregation_conv",
        "stages.{s}.blocks.{b}.aggregation.1": "stages.{s}.blocks.{b}.att",
    }),
)  # fmt: skip
_BOTTLENECK = {
    "conv1": "conv0.conv", "bn1": "conv0.bn", "conv2": "conv1.conv", "bn2": "conv1.bn", "conv3": "conv2.conv",
    "bn3": "conv2.bn", "downsample.1": "short.conv", "downsample.2": "short.bn",
}  # fmt: skip
RESNET_VD = Port(
    "resnet50-vd", _clas("legendary_models.resnet", "ResNet50_vd"), _timm("resnet50d"), IMAGE,
    weights=WeightMap({
        "conv1.0": "stem.0.conv", "conv1.1": "stem.0.bn", "conv1.3": "stem.1.conv", "conv1.4": "stem.1.bn",
        "conv1.6": "stem.2.conv", "bn1": "stem.2.bn",
        **{
            f"layer{layer}.{block}.{torch}": f"blocks.{first + block}.{paddle}"
            for layer, first, count in ((1, 0, 3), (2, 3, 4), (3, 7, 6), (4, 13, 3))
            for block in range(count)
            for torch, paddle in _BOTTLENECK.items()
            if block == 0 or not torch.startswith("downsample")
        },
    }),
)  # fmt: skip
REPVGG = Port(
    "repvgg-a0", _clas("model_zoo.repvgg", "RepVGG_A0"), _timm("repvgg_a0"), IMAGE,
    weights=WeightMap({
        "stem": "stage0", **{f"stages.{i}": f"stage{i + 1}" for i in range(4)}, "head.fc": "linear",
        **{
            f"{torch}.{part}": f"{paddle}.{own}"
            for torch, paddle in (("stem", "stage0"), *((f"stages.{i}.{{b}}", f"stage{i + 1}.{{b}}") for i in range(4)))
            for part, own in (("conv_kxk", "rbr_dense"), ("conv_1x1", "rbr_1x1"))
        },
        **{f"stages.{i}.{{b}}.identity": f"stage{i + 1}.{{b}}.rbr_identity" for i in range(3)},
    }),
)  # fmt: skip


def _vision(name: str, like: Port, **changes: Any) -> Port:
    """Return the pair of one name in paddle.vision and torchvision; ``like``: a port whose map serves it too."""
    port = replace(like, name=f"vision-{name.replace('_', '-')}", paddle=f"paddle.vision.models:{name}",
                   torch=partial(torchvision_model, name), inputs=IMAGE, kwargs={"num_classes": CLASSES})  # fmt: skip
    return replace(port, **changes)


RESNET18 = _vision("resnet18", zoo.RESNET50)
RESNET34 = _vision("resnet34", zoo.RESNET50)
RESNEXT50 = _vision("resnext50_32x4d", zoo.RESNEXT50)
WIDE_RESNET50 = _vision("wide_resnet50_2", zoo.WIDE_RESNET50)
VGG11 = _vision("vgg11", zoo.VGG16)
MOBILENET_V2 = _vision("mobilenet_v2", zoo.MOBILENET_V2)
MOBILENET_V3 = _vision("mobilenet_v3_small", zoo.MOBILENET_V3_SMALL)
MOBILENET_V3_LARGE = _vision("mobilenet_v3_large", zoo.MOBILENET_V3_LARGE)
DENSENET121 = _vision("densenet121", zoo.DENSENET121)
SHUFFLENET = _vision("shufflenet_v2_x1_0", zoo.SHUFFLENET_V2)
SHUFFLENET_HALF = _vision("shufflenet_v2_x0_5", zoo.SHUFFLENET_V2)
ALEXNET = _vision("alexnet", zoo.ALEXNET_NAMESAKE)
SQUEEZENET = _vision("squeezenet1_1", zoo.SQUEEZENET_NAMESAKE)
