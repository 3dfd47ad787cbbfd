"""ppdiffusers beside diffusers: the networks of a latent diffusion, in small. None of these ports has a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity_tests.wild.packages import diffusers, ppdiffusers
from portproof import Input, Port


def _both(name: str, torch_name: str = "", **config: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return the two constructors of one class in one configuration."""
    return lambda: getattr(ppdiffusers(), name)(**config), lambda: getattr(diffusers(), torch_name or name)(**config)


STEP = Input(("batch",), "int64", range=(0, 999))
TEXT = Input(("batch", 7, 24))
_SMALL = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 4}
_BLOCKS = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), **_SMALL
}  # fmt: skip
UNET = Port(
    "unet-2d", *_both("UNet2DModel", sample_size=16, attention_head_dim=8, **_BLOCKS),
    {"sample": Input(("batch", 3, 16, 16)), "timestep": STEP}, ("sample",), call="keyword",
)  # fmt: skip
_TEXTS = {"attention_head_dim": 4, "cross_attention_dim": 24, **_SMALL}
_DOWN = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")}
_UP = {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
UNET_TEXT = Port(
    "unet-2d-condition", *_both("UNet2DConditionModel", sample_size=16, **_DOWN, **_UP, **_TEXTS),
    {"sample": Input(("batch", 4, 16, 16)), "timestep": STEP, "encoder_hidden_states": TEXT}, ("sample",),
    call="keyword",
)  # fmt: skip
CONTROLNET = Port(
    "controlnet", *_both("ControlNetModel", conditioning_embedding_out_channels=(8, 16), **_DOWN, **_TEXTS),
    {"sample": Input(("batch", 4, 8, 8)), "timestep": STEP, "encoder_hidden_states": TEXT,
     "controlnet_cond": Input(("batch", 3, 16, 16))}, ("mid_block_res_sample",), call="keyword",
)  # fmt: skip
_CODED = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2, **_SMALL}
VAE = Port(
    "autoencoder-kl", *_both("AutoencoderKL", **_CODED), {"sample": Input(("batch", 3, 32, 32))}, ("sample",)
)  # fmt: skip
_TINY = {
    f"{part}_block_out_channels": (16, 16) for part in ("encoder", "decoder")
} | {f"num_{part}_blocks": (1, 1) for part in ("encoder", "decoder")}  # fmt: skip
TINY_VAE = Port(
    "autoencoder-tiny", *_both("AutoencoderTiny", **_TINY), {"sample": Input(("batch", 3, 32, 32))}, ("sample",)
)  # fmt: skip
VQ = Port("vq-model", *_both("VQModel", block_out_channels=(16,), norm_num_groups=4, num_vq_embeddings=16),
          {"sample": Input(("batch", 3, 16, 16))}, ("sample",))  # fmt: skip
_HEADS = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 2}
_DIT = {
    "in_channels": 4, "out_channels": 8, "norm_num_groups": 4, "sample_size": 8, "patch_size": 2,
    "attention_bias": True, "activation_fn": "gelu-approximate", "num_embeds_ada_norm": 10,
    "norm_type": "ada_norm_zero", "norm_elementwise_affine": False, **_HEADS,
}  # fmt: skip
DIT = Port(
    "dit", *_both("Transformer2DModel", **_DIT),
    {"hidden_states": Input(("batch", 4, 8, 8)), "timestep": STEP,
     "class_labels": Input(("batch",), "int64", range=(0, 10))}, ("sample",), call="keyword",
)  # fmt: skip
PRIOR = Port(
    "prior-transformer", *_both("PriorTransformer", embedding_dim=16, num_embeddings=7, **_HEADS),
    {"hidden_states": Input(("batch", 16)), "timestep": STEP, "proj_embedding": Input(("batch", 16)),
     "encoder_hidden_states": Input(("batch", 7, 16))}, ("predicted_image_embedding",), call="keyword",
)  # fmt: skip
