"""paddlenlp beside transformers once more: encoders with decoders, decoders alone, relative positions, experts, vision.

No port here has a map: where names differ, it is found and proven as ``verify`` does it by itself.
"""

from __future__ import annotations

import importlib
from typing import Any

from parity_tests.wild.language import HIDDEN, POOLED, SIZES, TOKENS, _paddle, _torch
from parity_tests.wild.packages import paddlenlp_transformers, transformers
from portproof import Input, Port

_SEQ2SEQ = {
    "d_model": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "max_position_embeddings": 40, "vocab_size": 99, "encoder_layers": 2, "decoder_layers": 2,
}  # fmt: skip
_BOTH = {"input_ids": TOKENS, "decoder_input_ids": Input(("batch", 7), "int64", range=(4, 98))}
BART = Port("bart", _paddle("Bart", **_SEQ2SEQ), _torch("Bart", **_SEQ2SEQ), _BOTH, (HIDDEN,),
            call="keyword")  # fmt: skip
MBART = Port(
    "mbart", _paddle("MBart", **_SEQ2SEQ), _torch("MBart", **_SEQ2SEQ, scale_embedding=True),
    _BOTH, (HIDDEN,), call="keyword",
)  # fmt: skip
PEGASUS = Port(
    "pegasus", _paddle("Pegasus", **_SEQ2SEQ),
    _torch("Pegasus", **_SEQ2SEQ, scale_embedding=True, activation_function="relu"), _BOTH, (HIDDEN,),
    call="keyword",
)  # fmt: skip
_OPT = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
OPT = Port("opt", _paddle("OPT", **SIZES, word_embed_proj_dim=32), _torch("OPT", **_OPT, ffn_dim=64),
           {"input_ids": TOKENS}, (HIDDEN,))  # fmt: skip
_BLOOM = {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4}
BLOOM = Port("bloom", _paddle("Bloom", **_BLOOM), _torch("Bloom", **_BLOOM), {"input_ids": TOKENS}, (HIDDEN,))
_CODEGEN = {"vocab_size": 99, "n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}
CODEGEN = Port("codegen", _paddle("CodeGen", **_CODEGEN, n_ctx=40), _torch("CodeGen", **_CODEGEN, n_ctx=40),
               {"input_ids": TOKENS}, (HIDDEN,))  # fmt: skip
_EXPERTS = {**SIZES, "num_key_value_heads": 2, "num_local_experts": 4}
MIXTRAL = Port("mixtral", _paddle("Mixtral", **_EXPERTS), _torch("Mixtral", **_EXPERTS), {"input_ids": TOKENS},
               (HIDDEN,))  # fmt: skip

_XLNET = {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}
XLNET = Port("xlnet", _paddle("XLNet", **_XLNET), _torch("XLNet", **_XLNET), {"input_ids": TOKENS}, (HIDDEN,))
_DEBERTA = {**SIZES, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
DEBERTA = Port("deberta", _paddle("Deberta", **_DEBERTA), _torch("Deberta", **_DEBERTA), {"input_ids": TOKENS},
               (HIDDEN,))  # fmt: skip


def _nezha() -> Any:
    package = paddlenlp_transformers()
    return package.NeZhaModel(package.NeZhaConfig(**SIZES, use_relative_position=True))


NEZHA = Port("nezha", _nezha, _torch("Nezha", **SIZES), {"input_ids": TOKENS}, (HIDDEN, POOLED))
BIGBIRD = Port(
    "bigbird", _paddle("BigBird", **SIZES, attention_type="default_attention"),
    _torch("BigBird", **SIZES, attention_type="original_full", hidden_act="relu"), {"input_ids": TOKENS},
    (HIDDEN, POOLED),
)  # fmt: skip
_ERNIE_M = {**SIZES, "intermediate_size": 128}
ERNIE_M = Port("ernie-m", _paddle("ErnieM", **_ERNIE_M), _torch("ErnieM", **_ERNIE_M), {"input_ids": TOKENS},
               (HIDDEN, POOLED))  # fmt: skip
SQUEEZEBERT = Port("squeezebert", _paddle("SqueezeBert", **SIZES, embedding_size=32),
                   _torch("SqueezeBert", **SIZES, embedding_size=32), {"input_ids": TOKENS},
                   (HIDDEN, POOLED))  # fmt: skip
NYSTROMFORMER = Port("nystromformer", _paddle("Nystromformer", **SIZES), _torch("Nystromformer", **SIZES),
                     {"input_ids": TOKENS}, (HIDDEN,))  # fmt: skip
REMBERT = Port("rembert", _paddle("RemBert", **SIZES, input_embedding_size=16),
               _torch("RemBert", **SIZES, input_embedding_size=16), {"input_ids": TOKENS},
               (HIDDEN, POOLED))  # fmt: skip

_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
           "image_size": 32, "patch_size": 8}  # fmt: skip
_PIXELS = {"pixel_values": Input(("batch", 3, 32, 32))}
CLIP_VISION = Port("clip-vision", _paddle("CLIPVision", **_VISION), _torch("CLIPVision", **_VISION), _PIXELS,
                   (HIDDEN, POOLED))  # fmt: skip
BLIP_VISION = Port("blip-vision", _paddle("BlipVision", **_VISION),
                   _torch("BlipVision", **_VISION, layer_norm_eps=1e-6), _PIXELS, (HIDDEN, POOLED))  # fmt: skip
CHINESE_CLIP_VISION = Port("chinese-clip-vision", _paddle("ChineseCLIPVision", **_VISION),
                           _torch("ChineseCLIPVision", **_VISION), _PIXELS, (HIDDEN, POOLED))  # fmt: skip


def _chinese_clip_text() -> Any:
    transformers()
    package = importlib.import_module("transformers.models.chinese_clip.modeling_chinese_clip")
    config = package.ChineseCLIPTextConfig(**SIZES)
    config._attn_implementation = "eager"
    return package.ChineseCLIPTextModel(config, add_pooling_layer=False)


CHINESE_CLIP_TEXT = Port("chinese-clip-text", _paddle("ChineseCLIPText", **SIZES), _chinese_clip_text,
                         {"input_ids": TOKENS}, (HIDDEN,))  # fmt: skip
