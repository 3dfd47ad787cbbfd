"""paddleclas beside timm once more. None of these ports has a map: where names differ, it is found and proven."""

from __future__ import annotations

from typing import Any

from parity_tests.wild.classifiers import _clas, _timm
from portproof import Input, Port


def _pair(name: str, module: str, paddle: str, torch: str, size: int = 64, **config: Any) -> Port:
    """Return the pair of a class of paddleclas and a model of timm, both in the configuration given."""
    image = {"image": Input(("batch", 3, size, size))}
    return Port(name, _clas(module, paddle, **config), _timm(torch, **config), image)


_WINDOWS = {"img_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
SWIN = _pair("swin", "legendary_models.swin_transformer", "SwinTransformer", "swin_tiny_patch4_window7_224", **_WINDOWS)
MOBILENET_V1 = _pair("mobilenet-v1", "legendary_models.mobilenet_v1", "MobileNetV1", "mobilenetv1_100")
MOBILENET_V4 = _pair(
    "mobilenet-v4", "legendary_models.mobilenet_v4", "MobileNetV4_conv_small", "mobilenetv4_conv_small"
)  # fmt: skip
REGNET = _pair("regnet-x-200mf", "model_zoo.regnet", "RegNetX_200MF", "regnetx_002")
EFFICIENTNET = _pair("efficientnet-b0", "model_zoo.efficientnet", "EfficientNetB0", "tf_efficientnet_b0")
REXNET = _pair("rexnet", "model_zoo.rexnet", "ReXNet_1_0", "rexnet_100")
HGNET_V2 = _pair("pp-hgnet-v2-b0", "legendary_models.pp_hgnet_v2", "PPHGNetV2_B0", "hgnetv2_b0")
DPN = _pair("dpn68", "model_zoo.dpn", "DPN68", "dpn68")
CSPNET = _pair("cspdarknet53", "model_zoo.cspnet", "CSPDarkNet53", "cspdarknet53")
NEXTVIT = Port(
    "nextvit", _clas("model_zoo.nextvit", "NextViT", stem_chs=[64, 32, 64], depths=[1, 1, 5, 1], path_dropout=0.0),
    _timm("nextvit_small", depths=(1, 1, 5, 1)), {"image": Input(("batch", 3, 64, 64))},
)  # fmt: skip
RESNET_VC = _pair("resnet50-vc", "model_zoo.resnet_vc", "ResNet50_vc", "resnet50c")
INCEPTION = _pair("inception-v3", "legendary_models.inception_v3", "InceptionV3", "inception_v3", 96)
LEVIT = Port(
    "levit-128s", _clas("model_zoo.levit", "LeViT_128S", distillation=True), _timm("levit_128s"),
    {"image": Input(("batch", 3, 224, 224))},
)  # fmt: skip
MOBILEVIT = _pair("mobilevit-xxs", "model_zoo.mobilevit", "MobileViT_XXS", "mobilevit_xxs")
TWINS_SVT = _pair("twins-svt", "model_zoo.twins", "alt_gvt_small", "twins_svt_small", 224)
