"""paddleseg beside segmentation_models_pytorch: as published, on small images. None of these ports has a map."""

from __future__ import annotations

from typing import Any

from parity_tests.wild.packages import paddleseg, smp
from portproof import Input, Port

IMAGE = {"image": Input(("batch", 3, 64, 64))}


def _mit() -> Any:
    return paddleseg("backbones.mix_transformer").MixVisionTransformer_B0()


SEGFORMER = Port("segformer-b0", lambda: paddleseg("segformer").SegFormer(5, _mit(), 256),
                 lambda: smp().Segformer("mit_b0", encoder_weights=None, classes=5), IMAGE)  # fmt: skip
