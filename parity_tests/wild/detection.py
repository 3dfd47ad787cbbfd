"""Detectors and segmenters: paddledet beside torchvision and transformers, paddleseg beside transformers.

None has a map: it is found and proven as ``verify`` does it by itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from parity_tests.wild.packages import paddleseg, ppdet, torchvision, transformers
from portproof import Input, Port


def _paddle_maps(part: Callable[[], Any], *, images: bool) -> Callable[[], Any]:
    """Return a model whose outputs are a backbone's or a neck's maps; paddledet's take a dict or a list."""

    def build() -> Any:
        paddle = importlib.import_module("paddle")

        class Maps(paddle.nn.Layer):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.body = part()

            def forward(self, *maps: Any) -> Any:
                return tuple(self.body({"image": maps[0]} if images else list(maps)))

        return Maps()

    return build


def _torch_maps(part: Callable[[], Any], maps_of: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    def build() -> Any:
        torch = importlib.import_module("torch")

        class Maps(torch.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.body = part()

            def forward(self, *maps: Any) -> Any:
                return tuple(maps_of(self.body, maps))

        return Maps()

    return build


def _resnet(variant: str, first: int) -> Callable[[], Any]:
    return lambda: ppdet("backbones.resnet").ResNet(
        depth=50, variant=variant, freeze_at=-1, freeze_norm=False, return_idx=[*range(first, 4)], num_stages=4
    )


def _stages() -> Any:
    vision = torchvision()
    getter = importlib.import_module("torchvision.models._utils").IntermediateLayerGetter
    return getter(vision.models.resnet50(weights=None), {f"layer{i}": str(i) for i in range(1, 5)})


def _rtdetr_backbone() -> Any:
    config = transformers().RTDetrResNetConfig(out_features=["stage2", "stage3", "stage4"])
    module = importlib.import_module("transformers.models.rt_detr.modeling_rt_detr_resnet")
    return module.RTDetrResNetBackbone(config)


_IMAGE = {"image": Input(("batch", 3, 64, 64))}
DET_RESNET50 = Port(
    "det-resnet50", _paddle_maps(_resnet("b", 0), images=True),
    _torch_maps(_stages, lambda body, maps: body(*maps).values()), _IMAGE, ("c2", "c3", "c4", "c5"),
)  # fmt: skip
RTDETR_BACKBONE = Port(
    "rt-detr-backbone", _paddle_maps(_resnet("d", 1), images=True),
    _torch_maps(_rtdetr_backbone, lambda body, maps: body(*maps).feature_maps), _IMAGE, ("c3", "c4", "c5"),
)  # fmt: skip
_WIDTHS = (8, 16, 32)
_MAPS = {f"c{i + 3}": Input(("batch", width, 16 >> i, 16 >> i)) for i, width in enumerate(_WIDTHS)}


def _fpn_paddle() -> Any:
    scales = [1 / 8, 1 / 16, 1 / 32]
    return ppdet("necks.fpn").FPN([*_WIDTHS], 12, spatial_scales=scales, has_extra_convs=False, extra_stage=0)


def _fpn_torch() -> Any:
    return torchvision().ops.FeaturePyramidNetwork([*_WIDTHS], 12)


DET_FPN = Port(
    "det-fpn", _paddle_maps(_fpn_paddle, images=False),
    _torch_maps(_fpn_torch, lambda body, maps: body(dict(zip("345", maps, strict=True))).values()),
    _MAPS, ("p3", "p4", "p5"),
)  # fmt: skip


def _segformer_paddle() -> Any:
    body = paddleseg("models.backbones.mix_transformer").MixVisionTransformer_B0()
    return paddleseg("models.segformer").SegFormer(num_classes=7, backbone=body, embedding_dim=256)


def _segformer_torch() -> Any:
    config = transformers().SegformerConfig(num_labels=7)
    config._attn_implementation = "eager"
    return transformers().SegformerForSemanticSegmentation(config)


def _at_full_size(body: Any, maps: Any) -> list[Any]:
    resize = importlib.import_module("torch.nn.functional").interpolate
    return [resize(body(*maps).logits, size=maps[0].shape[2:], mode="bilinear", align_corners=False)]


SEGFORMER = Port(
    "segformer-b0", _segformer_paddle, _torch_maps(_segformer_torch, _at_full_size), _IMAGE, ("logits",)
)  # fmt: skip
