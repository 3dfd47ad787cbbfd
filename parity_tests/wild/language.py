"""paddlenlp beside transformers: small configurations, seeded weights, everything else as published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity_tests.wild.packages import paddlenlp_transformers, transformers
from parity_tests.wild.written_maps import WRITTEN
from portproof import Input, Port

SIZES = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 40,
}  # fmt: skip
TOKENS = Input(("batch", 12), "int64", range=(4, 98))
SEGMENTS = Input(("batch", 12), "int64", values=(0, 1))
HIDDEN, POOLED = "last_hidden_state", "pooler_output"


def _torch(name: str, **config: Any) -> Callable[[], Any]:
    def build() -> Any:
        package = transformers()
        made = getattr(package, f"{name}Config")(**config)
        made._attn_implementation = "eager"  # the fused kernels of the others round otherwise on a GPU
        return getattr(package, f"{name}Model")(made)

    return build


def _paddle(name: str, **config: Any) -> Callable[[], Any]:
    def build() -> Any:
        package = paddlenlp_transformers()
        return getattr(package, f"{name}Model")(getattr(package, f"{name}Config")(**config))

    return build


BERT = Port(
    "bert", _paddle("Bert", **SIZES, type_vocab_size=2), _torch("Bert", **SIZES), {"input_ids": TOKENS},
    (HIDDEN, POOLED),
)  # fmt: skip
ERNIE = Port(
    "ernie", _paddle("Ernie", **SIZES, type_vocab_size=2), _torch("Ernie", **SIZES), {"input_ids": TOKENS},
    (HIDDEN, POOLED),
)  # fmt: skip
ROBERTA = Port(
    "roberta", _paddle("Roberta", **SIZES, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=1, cls_token_id=101),
    _torch("Roberta", **SIZES), {"input_ids": TOKENS, "token_type_ids": SEGMENTS}, (HIDDEN, POOLED),
    call="keyword",
)  # fmt: skip
ELECTRA = Port(
    "electra", _paddle("Electra", **SIZES, embedding_size=16), _torch("Electra", **SIZES, embedding_size=16),
    {"input_ids": TOKENS}, (HIDDEN,),
)  # fmt: skip
LAYOUTLM = Port(
    "layoutlm", _paddle("LayoutLM", **SIZES), _torch("LayoutLM", **SIZES),
    {"input_ids": TOKENS, "bbox": Input(("batch", 12, 4), "int64", values=(7,))}, (HIDDEN, POOLED),
    call="keyword",
)  # fmt: skip
CONVBERT = Port(
    "convbert", _paddle("ConvBert", **SIZES, embedding_size=16), _torch("ConvBert", **SIZES, embedding_size=16),
    {"input_ids": TOKENS}, (HIDDEN,),
)  # fmt: skip
_DISTILLED = {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 40}
DISTILBERT = Port(
    "distilbert", _paddle("DistilBert", **SIZES), _torch("DistilBert", **_DISTILLED), {"input_ids": TOKENS}, (HIDDEN,)
)  # fmt: skip
MPNET = Port(
    "mpnet", _paddle("MPNet", **SIZES), _torch("MPNet", **SIZES, layer_norm_eps=1e-5), {"input_ids": TOKENS},
    (HIDDEN, POOLED),
)  # fmt: skip
ALBERT = Port(
    "albert", _paddle("Albert", **SIZES, embedding_size=16),
    _torch("Albert", **SIZES, embedding_size=16, hidden_act="gelu"),
    {"input_ids": TOKENS}, (HIDDEN, POOLED),
)  # fmt: skip
MEGATRON = Port(
    "megatron-bert", _paddle("MegatronBert", **SIZES), _torch("MegatronBert", **SIZES), {"input_ids": TOKENS},
    (HIDDEN, POOLED),
)  # fmt: skip
FNET = Port(
    "fnet", _paddle("FNet", **SIZES), _torch("FNet", **SIZES), {"input_ids": TOKENS}, (HIDDEN, POOLED),
    weights=WRITTEN["fnet"],  # two functions: none can be proven
)  # fmt: skip
ROFORMER = Port(
    "roformer", _paddle("RoFormer", **SIZES, embedding_size=32),
    _torch("RoFormer", **SIZES, embedding_size=32), {"input_ids": TOKENS}, (HIDDEN,),
)  # fmt: skip
_GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 64, "n_positions": 40}
GPT2 = Port(
    "gpt2", _paddle("GPT", **SIZES, fuse_attention_qkv=False),
    _torch("GPT2", **_GPT2, activation_function="gelu_new"), {"input_ids": TOKENS}, (HIDDEN,),
)  # fmt: skip
LLAMA = Port(
    "llama", _paddle("Llama", **SIZES, num_key_value_heads=2), _torch("Llama", **SIZES, num_key_value_heads=2),
    {"input_ids": TOKENS}, (HIDDEN,),
)  # fmt: skip
T5 = Port(
    "t5", _paddle("T5", vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
    _torch("T5", vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
    {"input_ids": TOKENS, "decoder_input_ids": Input(("batch", 7), "int64", range=(4, 98))}, (HIDDEN,), call="keyword",
)  # fmt: skip
_TEXT = {**SIZES, "max_position_embeddings": 16}
CLIP_TEXT = Port(
    "clip-text", _paddle("CLIPText", **_TEXT), _torch("CLIPText", **_TEXT), {"input_ids": TOKENS}, (HIDDEN,)
)  # fmt: skip
