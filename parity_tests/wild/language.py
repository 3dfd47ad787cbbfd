"""paddlenlp beside transformers: small configurations, seeded weights, everything else as published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parity_tests.wild.packages import paddlenlp_transformers, transformers
from portproof import Input, Permute, Port, Reshape, Split, WeightMap

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


#: paddlenlp builds its encoders of Paddle's own ``TransformerEncoderLayer``; transformers writes them out.
ENCODER = {
    "embeddings.LayerNorm": "embeddings.layer_norm",
    "encoder.layer.{n}.attention.self.query": "encoder.layers.{n}.self_attn.q_proj",
    "encoder.layer.{n}.attention.self.key": "encoder.layers.{n}.self_attn.k_proj",
    "encoder.layer.{n}.attention.self.value": "encoder.layers.{n}.self_attn.v_proj",
    "encoder.layer.{n}.attention.self": "encoder.layers.{n}.self_attn",
    "encoder.layer.{n}.attention.output.dense": "encoder.layers.{n}.self_attn.out_proj",
    "encoder.layer.{n}.attention.output.LayerNorm": "encoder.layers.{n}.norm1",
    "encoder.layer.{n}.intermediate.dense": "encoder.layers.{n}.linear1",
    "encoder.layer.{n}.output.dense": "encoder.layers.{n}.linear2",
    "encoder.layer.{n}.output.LayerNorm": "encoder.layers.{n}.norm2",
    "encoder.layer.{n}": "encoder.layers.{n}",
}
POSITIONS = {"embeddings.position_ids": "counts from 0; transformers does not keep it"}

BERT = Port(
    "bert", _paddle("Bert", **SIZES, type_vocab_size=2), _torch("Bert", **SIZES), {"input_ids": TOKENS},
    (HIDDEN, POOLED), weights=WeightMap(ENCODER),
)  # fmt: skip
ERNIE = Port(
    "ernie", _paddle("Ernie", **SIZES, type_vocab_size=2), _torch("Ernie", **SIZES), {"input_ids": TOKENS},
    (HIDDEN, POOLED), weights=WeightMap(ENCODER),
)  # fmt: skip
ROBERTA = Port(
    "roberta", _paddle("Roberta", **SIZES, type_vocab_size=2, layer_norm_eps=1e-12, pad_token_id=1, cls_token_id=101),
    _torch("Roberta", **SIZES), {"input_ids": TOKENS, "token_type_ids": SEGMENTS}, (HIDDEN, POOLED),
    weights=WeightMap(ENCODER), call="keyword",
)  # fmt: skip
ELECTRA = Port(
    "electra", _paddle("Electra", **SIZES, embedding_size=16), _torch("Electra", **SIZES, embedding_size=16),
    {"input_ids": TOKENS}, (HIDDEN,), weights=WeightMap(ENCODER),
)  # fmt: skip
LAYOUTLM = Port(
    "layoutlm", _paddle("LayoutLM", **SIZES), _torch("LayoutLM", **SIZES),
    {"input_ids": TOKENS, "bbox": Input(("batch", 12, 4), "int64", values=(7,))}, (HIDDEN, POOLED),
    weights=WeightMap(ENCODER, ignore=POSITIONS), call="keyword",
)  # fmt: skip
CONVBERT = Port(
    "convbert", _paddle("ConvBert", **SIZES, embedding_size=16), _torch("ConvBert", **SIZES, embedding_size=16),
    {"input_ids": TOKENS}, (HIDDEN,), weights=WeightMap(ENCODER, ignore={"pooler": "transformers has none"},
                      transforms={"encoder.layer.{n}.attention.self.key_conv_attn_layer.bias": Reshape()}),
)  # fmt: skip
DISTILBERT = Port(
    "distilbert", _paddle("DistilBert", **SIZES),
    _torch(
        "DistilBert", vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=40
    ),
    {"input_ids": TOKENS}, (HIDDEN,),
    weights=WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "transformer.layer.{n}.attention.{p}_lin": "encoder.layers.{n}.self_attn.{p}_proj",
        "transformer.layer.{n}.attention": "encoder.layers.{n}.self_attn",
        "transformer.layer.{n}.sa_layer_norm": "encoder.layers.{n}.norm1",
        "transformer.layer.{n}.ffn.lin{k}": "encoder.layers.{n}.linear{k}",
        "transformer.layer.{n}.output_layer_norm": "encoder.layers.{n}.norm2",
        "transformer.layer.{n}": "encoder.layers.{n}",
        "transformer": "encoder",
    }),
)  # fmt: skip
MPNET = Port(
    "mpnet", _paddle("MPNet", **SIZES), _torch("MPNet", **SIZES, layer_norm_eps=1e-5), {"input_ids": TOKENS},
    (HIDDEN, POOLED),
    weights=WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "encoder.layer.{n}.attention.attn.{p}": "encoder.layer.{n}.attention.{p}",
        "encoder.layer.{n}.attention.LayerNorm": "encoder.layer.{n}.attention.layer_norm",
        "encoder.layer.{n}.intermediate.dense": "encoder.layer.{n}.ffn",
        "encoder.layer.{n}.output.dense": "encoder.layer.{n}.ffn_output",
        "encoder.layer.{n}.output.LayerNorm": "encoder.layer.{n}.layer_norm",
    }),
)  # fmt: skip
ALBERT = Port(
    "albert", _paddle("Albert", **SIZES, embedding_size=16),
    _torch("Albert", **SIZES, embedding_size=16, hidden_act="gelu"),
    {"input_ids": TOKENS}, (HIDDEN, POOLED),
    weights=WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "encoder.albert_layer_groups.{n}.albert_layers.{k}.attention.LayerNorm":
            "encoder.albert_layer_groups.{n}.albert_layers.{k}.attention.layer_norm",
    }, ignore=POSITIONS),
)  # fmt: skip
MEGATRON = Port(
    "megatron-bert", _paddle("MegatronBert", **SIZES), _torch("MegatronBert", **SIZES), {"input_ids": TOKENS},
    (HIDDEN, POOLED),
    weights=WeightMap({
        "encoder.layer.{n}.attention.ln": "encoder.layer.{n}.attention.layer_norm",
        "encoder.layer.{n}.ln": "encoder.layer.{n}.layer_norm",
        "encoder.ln": "encoder.layer_norm",
    }, ignore=POSITIONS),
)  # fmt: skip
FNET = Port(
    "fnet", _paddle("FNet", **SIZES), _torch("FNet", **SIZES), {"input_ids": TOKENS}, (HIDDEN, POOLED),
    weights=WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "encoder.layer.{n}.fourier.output.LayerNorm": "encoder.layers.{n}.fourier.output.layer_norm",
        "encoder.layer.{n}.output.LayerNorm": "encoder.layers.{n}.output.layer_norm",
        "encoder.layer.{n}": "encoder.layers.{n}",
    }, ignore=POSITIONS),
)  # fmt: skip
ROFORMER = Port(
    "roformer", _paddle("RoFormer", **SIZES, embedding_size=32),
    _torch("RoFormer", **SIZES, embedding_size=32), {"input_ids": TOKENS}, (HIDDEN,),
    weights=WeightMap(
        ENCODER,
        ignore={"encoder.embed_positions": "the rotary table, which paddlenlp does not keep",
                "pooler": "transformers has none"},
    ),
)  # fmt: skip
GPT2 = Port(
    "gpt2", _paddle("GPT", **SIZES, fuse_attention_qkv=False),
    _torch("GPT2", vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_inner=64, n_positions=40,
           activation_function="gelu_new"),
    {"input_ids": TOKENS}, (HIDDEN,),
    weights=WeightMap({
        "wte": "embeddings.word_embeddings", "wpe": "embeddings.position_embeddings", "ln_f": "decoder.norm",
        "h.{n}.ln_1": "decoder.layers.{n}.norm1", "h.{n}.ln_2": "decoder.layers.{n}.norm2",
        "h.{n}.attn.c_proj": "decoder.layers.{n}.self_attn.out_proj",
        "h.{n}.mlp.c_fc": "decoder.layers.{n}.linear1", "h.{n}.mlp.c_proj": "decoder.layers.{n}.linear2",
        "h.{n}.attn": "decoder.layers.{n}.self_attn", "h.{n}": "decoder.layers.{n}", "h": "decoder.layers",
    }, transforms={
        f"h.{{n}}.attn.c_attn.{kind}": Split(
            [f"decoder.layers.{{n}}.self_attn.{p}_proj.{kind}" for p in "qkv"], axis=axis
        )
        for kind, axis in (("weight", 1), ("bias", 0))
    } | {"h.{n}.attn.c_proj.weight": Permute((0, 1))}),
)  # fmt: skip
LLAMA = Port(
    "llama", _paddle("Llama", **SIZES, num_key_value_heads=2), _torch("Llama", **SIZES, num_key_value_heads=2),
    {"input_ids": TOKENS}, (HIDDEN,),
)  # fmt: skip
_SEQ2SEQ = {
    "d_model": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "max_position_embeddings": 40, "vocab_size": 99,
}  # fmt: skip
T5 = Port(
    "t5", _paddle("T5", vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
    _torch("T5", vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
    {"input_ids": TOKENS, "decoder_input_ids": Input(("batch", 7), "int64", range=(4, 98))}, (HIDDEN,), call="keyword",
)  # fmt: skip
CLIP_TEXT = Port(
    "clip-text",
    _paddle("CLIPText", vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=64, max_position_embeddings=16),
    _torch("CLIPText", vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
           intermediate_size=64, max_position_embeddings=16),
    {"input_ids": TOKENS}, (HIDDEN,),
    weights=WeightMap({
        "text_model.embeddings.token_embedding": "text_model.token_embedding",
        "text_model.embeddings.position_embedding": "text_model.positional_embedding",
        "text_model.encoder.layers.{n}.layer_norm{k}": "text_model.transformer.layers.{n}.norm{k}",
        "text_model.encoder.layers.{n}.mlp.fc{k}": "text_model.transformer.layers.{n}.linear{k}",
        "text_model.encoder": "text_model.transformer",
        "text_model.final_layer_norm": "text_model.ln_final",
    }),
)  # fmt: skip
