"""The maps of the published pairs as a person wrote them, to hold the found ones against."""

from __future__ import annotations

from convert import zoo
from portproof import Permute, Reshape, Split, WeightMap

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
_BOTTLENECK = {
    "conv1": "conv0.conv", "bn1": "conv0.bn", "conv2": "conv1.conv", "bn2": "conv1.bn", "conv3": "conv2.conv",
    "bn3": "conv2.bn", "downsample.1": "short.conv", "downsample.2": "short.bn",
}  # fmt: skip
_CONV_AND_NORM = {
    torch: paddle
    for k in (1, 2, 3)
    for torch, paddle in ((f"conv{k}", f"conv{k - 1}._conv"), (f"bn{k}", f"conv{k - 1}._batch_norm"))
} | {"downsample.0": "short._conv", "downsample.1": "short._batch_norm"}
#: transformers' BART and its kin beside paddlenlp's, which wraps Paddle's own encoder and decoder.
_SEQ2SEQ = {
    f"{part}.{torch}": f"{part}.{paddle}"
    for part, last in (("encoder", 2), ("decoder", 3))
    for torch, paddle in {
        "embed_positions": f"{part}_embed_positions", "layernorm_embedding": f"{part}_layernorm_embedding",
        "layer_norm": f"{part}.norm", "layers": f"{part}.layers",
        "layers.{n}.fc{k}": f"{part}.layers.{{n}}.linear{{k}}",
        "layers.{n}.self_attn_layer_norm": f"{part}.layers.{{n}}.norm1",
        "layers.{n}.final_layer_norm": f"{part}.layers.{{n}}.norm{last}",
    }.items()
} | {
    "decoder.layers.{n}.encoder_attn": "decoder.decoder.layers.{n}.cross_attn",
    "decoder.layers.{n}.encoder_attn_layer_norm": "decoder.decoder.layers.{n}.norm2",
}  # fmt: skip
_CLIP_VISION = WeightMap({
    "vision_model.embeddings": "vision_model",
    "vision_model.embeddings.patch_embedding": "vision_model.conv1",
    "vision_model.embeddings.position_embedding": "vision_model.positional_embedding",
    "vision_model.encoder": "vision_model.transformer",
    "vision_model.encoder.layers.{n}.layer_norm{k}": "vision_model.transformer.layers.{n}.norm{k}",
    "vision_model.encoder.layers.{n}.mlp.fc{k}": "vision_model.transformer.layers.{n}.linear{k}",
    "vision_model.pre_layrnorm": "vision_model.ln_pre", "vision_model.post_layernorm": "vision_model.ln_post",
})  # fmt: skip
#: By the port's name; every other pair has the same names on both sides, but for those that ``docs/map.md`` names.
WRITTEN = {
    "bert": WeightMap(ENCODER),
    "ernie": WeightMap(ENCODER),
    "roberta": WeightMap(ENCODER),
    "electra": WeightMap(ENCODER),
    "layoutlm": WeightMap(ENCODER, ignore=POSITIONS),
    "convbert": WeightMap(ENCODER, ignore={"pooler": "transformers has none"},
                      transforms={"encoder.layer.{n}.attention.self.key_conv_attn_layer.bias": Reshape()}),
    "bart": WeightMap(_SEQ2SEQ),
    "mbart": WeightMap(_SEQ2SEQ),
    "pegasus": WeightMap(
        _SEQ2SEQ | {f"{part}.layer_norm": f"{part}.{part}_layernorm" for part in ("encoder", "decoder")}
    ),
    "xlnet": WeightMap(transforms={f"layer.{{n}}.rel_attn.{kind}": Reshape() for kind in "qkvor"}),
    "squeezebert": WeightMap(ignore=POSITIONS),
    "nystromformer": WeightMap(ignore=POSITIONS),
    "opt": WeightMap({
        "decoder.embed_positions": "embeddings.position_embeddings",
        "decoder.embed_tokens": "embeddings.word_embeddings",
        "decoder.layers.{n}.fc{k}": "decoder.layers.{n}.linear{k}",
        "decoder.layers.{n}.self_attn_layer_norm": "decoder.layers.{n}.norm1",
        "decoder.layers.{n}.final_layer_norm": "decoder.layers.{n}.norm2",
    }),
    "nezha": WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "encoder.layer.{n}.attention.self": "encoder.layer.{n}.attention",
        "encoder.layer.{n}.attention.output.dense": "encoder.layer.{n}.attention.dense",
        "encoder.layer.{n}.attention.output.LayerNorm": "encoder.layer.{n}.attention.layer_norm",
        "encoder.layer.{n}.intermediate.dense": "encoder.layer.{n}.ffn",
        "encoder.layer.{n}.output.dense": "encoder.layer.{n}.ffn_output",
        "encoder.layer.{n}.output.LayerNorm": "encoder.layer.{n}.layer_norm",
    }),
    "bigbird": WeightMap(
        {**ENCODER, "embeddings.LayerNorm": "encoder.norm", "pooler": "pooler.dense"},
        transforms={
            f"encoder.layer.{{n}}.attention.self.{p}.weight": Permute((1, 0)) for p in ("query", "key", "value")
        },
    ),
    "ernie-m": WeightMap({"encoder.layers.{n}.self_attn.self_attn": "encoder.layers.{n}.self_attn"}),
    "clip-vision": _CLIP_VISION,
    "chinese-clip-vision": _CLIP_VISION,
    "chinese-clip-text": WeightMap({
        "embeddings": "text_model.embeddings",
        **{torch: f"text_model.{paddle}" for torch, paddle in ENCODER.items()},
    }),
    "distilbert": WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "transformer.layer.{n}.attention.{p}_lin": "encoder.layers.{n}.self_attn.{p}_proj",
        "transformer.layer.{n}.attention": "encoder.layers.{n}.self_attn",
        "transformer.layer.{n}.sa_layer_norm": "encoder.layers.{n}.norm1",
        "transformer.layer.{n}.ffn.lin{k}": "encoder.layers.{n}.linear{k}",
        "transformer.layer.{n}.output_layer_norm": "encoder.layers.{n}.norm2",
        "transformer.layer.{n}": "encoder.layers.{n}",
        "transformer": "encoder",
    }),
    "mpnet": WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "encoder.layer.{n}.attention.attn.{p}": "encoder.layer.{n}.attention.{p}",
        "encoder.layer.{n}.attention.LayerNorm": "encoder.layer.{n}.attention.layer_norm",
        "encoder.layer.{n}.intermediate.dense": "encoder.layer.{n}.ffn",
        "encoder.layer.{n}.output.dense": "encoder.layer.{n}.ffn_output",
        "encoder.layer.{n}.output.LayerNorm": "encoder.layer.{n}.layer_norm",
    }),
    "albert": WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "encoder.albert_layer_groups.{n}.albert_layers.{k}.attention.LayerNorm":
            "encoder.albert_layer_groups.{n}.albert_layers.{k}.attention.layer_norm",
    }, ignore=POSITIONS),
    "megatron-bert": WeightMap({
        "encoder.layer.{n}.attention.ln": "encoder.layer.{n}.attention.layer_norm",
        "encoder.layer.{n}.ln": "encoder.layer.{n}.layer_norm",
        "encoder.ln": "encoder.layer_norm",
    }, ignore=POSITIONS),
    "fnet": WeightMap({
        "embeddings.LayerNorm": "embeddings.layer_norm",
        "encoder.layer.{n}.fourier.output.LayerNorm": "encoder.layers.{n}.fourier.output.layer_norm",
        "encoder.layer.{n}.output.LayerNorm": "encoder.layers.{n}.output.layer_norm",
        "encoder.layer.{n}": "encoder.layers.{n}",
    }, ignore=POSITIONS),
    "roformer": WeightMap(
        ENCODER,
        ignore={"encoder.embed_positions": "the rotary table, which paddlenlp does not keep",
                "pooler": "transformers has none"},
    ),
    "gpt2": WeightMap({
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
    "clip-text": WeightMap({
        "text_model.embeddings.token_embedding": "text_model.token_embedding",
        "text_model.embeddings.position_embedding": "text_model.positional_embedding",
        "text_model.encoder.layers.{n}.layer_norm{k}": "text_model.transformer.layers.{n}.norm{k}",
        "text_model.encoder.layers.{n}.mlp.fc{k}": "text_model.transformer.layers.{n}.linear{k}",
        "text_model.encoder": "text_model.transformer",
        "text_model.final_layer_norm": "text_model.ln_final",
    }),
    "convnext": WeightMap({
        "stem": "downsample_layers.0", "head.norm": "norm", "head.fc": "head",
        **{f"stages.{stage}.downsample": f"downsample_layers.{stage}" for stage in (1, 2, 3)},
        "stages.{s}.blocks.{b}.conv_dw": "stages.{s}.{b}.dwconv",
        "stages.{s}.blocks.{b}.mlp.fc{k}": "stages.{s}.{b}.pwconv{k}",
        "stages.{s}.blocks.{b}": "stages.{s}.{b}",
    }),
    "pvt-v2-b0": WeightMap({
        "patch_embed": "patch_embed1",
        **{f"stages.{i}.blocks": f"block{i + 1}" for i in range(4)},
        **{f"stages.{i}.blocks.{{b}}.mlp.dwconv": f"block{i + 1}.{{b}}.mlp.dwconv.dwconv" for i in range(4)},
        **{f"stages.{i}.norm": f"norm{i + 1}" for i in range(4)},
        **{f"stages.{i}.downsample": f"patch_embed{i + 1}" for i in (1, 2, 3)},
    }),
    "fasternet-t0": WeightMap({
        **{f"stages.{i}": f"stages.{2 * i}" for i in range(4)},
        **{f"stages.{i}.downsample": f"stages.{2 * i - 1}" for i in (1, 2, 3)},
        "conv_head": "avgpool_pre_head.1", "classifier": "head",
    }),
    "pp-hgnet-tiny": WeightMap({
        "stem.stem": "stem", "head.last_conv.0": "last_conv", "head.fc": "fc",
        "stages.{s}.blocks.{b}.aggregation.0": "stages.{s}.blocks.{b}.aggregation_conv",
        "stages.{s}.blocks.{b}.aggregation.1": "stages.{s}.blocks.{b}.att",
    }),
    "resnet50-vd": WeightMap({
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
    "swin": WeightMap(
        {"layers.1.downsample": "layers.0.downsample", "head.fc": "head"},
        {"layers.{s}.blocks.{b}.attn.relative_position_index": "counted; timm does not keep it"},
    ),
    "cspdarknet53": WeightMap({"head.fc": "fc"}),
    "resnet50-vc": WeightMap({
        "conv1.0": "conv1_1._conv", "conv1.1": "conv1_1._batch_norm", "conv1.3": "conv1_2._conv",
        "conv1.4": "conv1_2._batch_norm", "conv1.6": "conv1_3._conv", "bn1": "conv1_3._batch_norm", "fc": "out",
        **{
            f"layer{layer}.{{b}}.{torch}": f"bb_{layer - 1}_{{b}}.{paddle}"
            for layer in (1, 2, 3, 4)
            for torch, paddle in _CONV_AND_NORM.items()
        },
    }),
    "regnet-x-200mf": WeightMap({
        "stem.conv": "conv._conv", "stem.bn": "conv._batch_norm", "head.fc": "out",
        **{
            f"s{stage}.{{b}}.{torch}.{part}": f"s{stage}_{{b}}.{paddle}.{own}"
            for stage in (1, 2, 3, 4)
            for torch, paddle in (("conv1", "conv0"), ("conv2", "conv1"), ("conv3", "conv2"), ("downsample", "short"))
            for part, own in (("conv", "_conv"), ("bn", "_batch_norm"))
        },
    }),
    "pp-hgnet-v2-b0": WeightMap({
        "stages.{s}.blocks.{b}.aggregation.0": "stages.{s}.blocks.{b}.aggregation_squeeze_conv",
        "stages.{s}.blocks.{b}.aggregation.1": "stages.{s}.blocks.{b}.aggregation_excitation_conv",
        "head.last_conv.0": "last_conv", "head.last_conv.2": "lab", "head.fc": "fc",
    }),
    "mobilenet-v1": WeightMap({
        "conv_stem": "conv.conv", "bn1": "conv.bn", "classifier": "fc",
        **{
            f"blocks.{stage}.{block}.{torch}": f"blocks.{first + block}.{paddle}"
            for stage, first, count in ((0, 0, 1), (1, 1, 2), (2, 3, 2), (3, 5, 6), (4, 11, 2))
            for block in range(count)
            for torch, paddle in (("conv_dw", "depthwise_conv.conv"), ("bn1", "depthwise_conv.bn"),
                                  ("conv_pw", "pointwise_conv.conv"), ("bn2", "pointwise_conv.bn"))
        },
    }),
    "repvgg-a0": WeightMap({
        "stem": "stage0", **{f"stages.{i}": f"stage{i + 1}" for i in range(4)}, "head.fc": "linear",
        **{
            f"{torch}.{part}": f"{paddle}.{own}"
            for torch, paddle in (("stem", "stage0"), *((f"stages.{i}.{{b}}", f"stage{i + 1}.{{b}}") for i in range(4)))
            for part, own in (("conv_kxk", "rbr_dense"), ("conv_1x1", "rbr_1x1"))
        },
        **{f"stages.{i}.{{b}}.identity": f"stage{i + 1}.{{b}}.rbr_identity" for i in range(3)},
    }),
}  # fmt: skip
#: paddle.vision's models beside torchvision's: the zoo's maps serve the whole family.
_VISION = {
    "resnet18": zoo.RESNET50, "resnet34": zoo.RESNET50, "resnext50-32x4d": zoo.RESNEXT50,
    "wide-resnet50-2": zoo.WIDE_RESNET50, "vgg11": zoo.VGG16, "mobilenet-v2": zoo.MOBILENET_V2,
    "mobilenet-v3-small": zoo.MOBILENET_V3_SMALL, "mobilenet-v3-large": zoo.MOBILENET_V3_LARGE,
    "densenet121": zoo.DENSENET121, "shufflenet-v2-x1-0": zoo.SHUFFLENET_V2, "shufflenet-v2-x0-5": zoo.SHUFFLENET_V2,
    "alexnet": zoo.ALEXNET_NAMESAKE, "squeezenet1-1": zoo.SQUEEZENET_NAMESAKE,
}  # fmt: skip
WRITTEN |= {f"vision-{name}": port.weights for name, port in _VISION.items()}
