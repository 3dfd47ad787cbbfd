"""Every setting that both frameworks' layers have is compared, and is the same where both are built alike."""

from __future__ import annotations

import inspect
from typing import Any

import paddle
import pytest
import torch

from portproof.frameworks import load_framework
from portproof.frameworks._layers import layer_type
from portproof.frameworks._settings import SETTINGS, compare_settings, read_settings

#: Parameters of constructors that are no setting of their own, and what tells them apart instead.
TOLD = {
    "the shapes of its tensors": (
        "in_channels out_channels num_features num_channels in_features out_features in1_features in2_features "
        "num_embeddings embedding_dim input_size hidden_size num_parameters embed_dim kdim vdim d_model nhead "
        "dim_feedforward n_classes cutoffs div_value num_chunks"
    ),
    "that it has a tensor, or none": (
        "bias affine elementwise_affine track_running_stats weight pos_weight head_bias num_layers direction proj_size "
        "weight_attr bias_attr weight_ih_attr weight_hh_attr bias_ih_attr bias_hh_attr add_bias_kv"
    ),
    "its parts, which are layers themselves": (
        "modules sublayers layers parameters values args kwargs encoder_layer decoder_layer num_layers norm "
        "custom_encoder custom_decoder num_encoder_layers num_decoder_layers layer_norm_eps attn_dropout "
        "act_dropout"
    ),
    "nothing: it names, places or saves memory": (
        "name name_scope device dtype inplace init _weight _freeze sparse process_group enable_nested_tensor mask_check"
    ),
    "another parameter, which it is an older or newer name of": (
        "size_average reduce min_value max_value recompute_scale_factor use_global_stats is_huber"
    ),
    "what it returns": "need_weights",
    "nothing: it acts where running statistics are kept, and Paddle's layer keeps none": "momentum@InstanceNorm",
    "nothing in a network: it only weighs how a norm is taken": "norm_type@Embedding",
    "what it is called with": "output_size@MaxUnpool random_u _random_samples output_ratio distance_function",
    "what it returns, in Paddle alone": "soft_label axis@CrossEntropyLoss use_softmax",
    "what its parts do": (
        "dropout@TransformerEncoderLayer dropout@TransformerDecoderLayer batch_first@TransformerEncoderLayer "
        "batch_first@TransformerDecoderLayer normalize_before"
    ),
}
#: Paddle's parameter to torch's, where a parameter has two names.
TWO_NAMES = {
    "axis": "dim", "epsilon": "eps", "exclusive": "count_include_pad", "return_mask": "return_indices",
    "min": "min_val",
    "max": "max_val", "start_axis": "start_dim", "stop_axis": "end_dim", "shape": "unflattened_size",
    "data_format": "layout", "time_major": "batch_first", "activation": "nonlinearity", "kernel_sizes": "kernel_size",
    "dilations": "dilation", "paddings": "padding", "strides": "stride", "output_sizes": "output_size", "delta": "beta",
    "p": "norm",
}  # fmt: skip
#: What a constructor asks for, under either framework's names.
NEEDED = {
    "in_channels": 4, "out_channels": 4, "kernel_size": 3, "num_features": 4, "num_channels": 4, "num_groups": 2,
    "in_features": 4, "out_features": 4, "in1_features": 3, "in2_features": 4, "num_embeddings": 9, "embedding_dim": 4,
    "input_size": 4, "hidden_size": 4, "embed_dim": 4, "num_heads": 2, "d_model": 4, "nhead": 2, "dim_feedforward": 8,
    "normalized_shape": [4], "groups": 2, "padding": 1, "value": 0.5, "size": 2, "scale_factor": 2, "norm_type": 2,
    "output_size": 2, "output_sizes": 2, "kernel_sizes": 3, "upscale_factor": 2, "downscale_factor": 2, "dim": 1,
    "axis": 1, "unflattened_size": [2, 2], "shape": [2, 2],
}  # fmt: skip
#: Layers that are built here from parts of their own, or not at all alone.
PARTS = {"AdaptiveLogSoftmaxWithLoss", "TransformerDecoder", "TransformerEncoder", "Transformer", "RNNCellBase"}


def classes(side: str) -> dict[str, type]:
    """Layer type, by torch's name, to the class."""
    nn, base = (torch.nn, torch.nn.Module) if side == "torch" else (paddle.nn, paddle.nn.Layer)
    found = [kind for kind in vars(nn).values() if inspect.isclass(kind) and issubclass(kind, base)]
    home = f"{side}.nn"
    return {
        layer_type(side, [base.__name__ for base in kind.__mro__ if base.__module__.startswith(home)]): kind
        for kind in found
    }


_TORCH, _PADDLE = classes("torch"), classes("paddle")
BOTH = {name: (kind, _PADDLE[name]) for name, kind in _TORCH.items() if name in _PADDLE}


def parameters(kind: type) -> list[inspect.Parameter]:
    found = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return [p for p in found if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD]


def built(side: str, kind: type, **given: Any) -> dict[str, Any]:
    """Build a layer with what it needs and what is given; return its settings."""
    needed = {p.name: NEEDED[p.name] for p in parameters(kind) if p.default is p.empty and p.name in NEEDED}
    framework = load_framework(side)
    if kind in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
        needed = {"input_size": 4, "hidden_size": 4}
    if kind in (torch.nn.Upsample, torch.nn.UpsamplingBilinear2d, torch.nn.UpsamplingNearest2d):
        needed = {"scale_factor": 2}
    if kind in (paddle.nn.Upsample, paddle.nn.UpsamplingBilinear2D, paddle.nn.UpsamplingNearest2D):
        needed = {"scale_factor": 2}
    if kind in (torch.nn.Softmax, torch.nn.LogSoftmax):
        needed = {"dim": -1}
    if kind in (torch.nn.FractionalMaxPool2d, torch.nn.FractionalMaxPool3d):
        needed["output_size"] = 2
    if kind in (paddle.nn.FractionalMaxPool2D, paddle.nn.FractionalMaxPool3D):
        needed["kernel_size"] = 3
    module = kind(**needed | given)
    module.eval()
    return read_settings(side, framework.layer(module), module)


def test_every_setting_of_every_layer_that_both_frameworks_have_is_compared() -> None:
    told = {name for names in TOLD.values() for name in names.split()}
    assert len(BOTH) > 120
    missing = []
    for layer, kinds in BOTH.items():
        known = {setting.name for setting in SETTINGS.get(layer, ())}
        for side, kind in zip(("torch", "paddle"), kinds, strict=True):
            for name in (parameter.name for parameter in parameters(kind)):
                names = {name, TWO_NAMES.get(name, name), "lambd" if name == "threshold" else name}
                away = {name, f"{name}@{layer.rstrip('123d')}", f"{name}@{layer}"}
                if not names & known and not away & told and layer not in PARTS:
                    missing.append(f"{side} {layer}.{name}")
    assert ", ".join(missing) == ""


@pytest.mark.parametrize("layer", sorted(BOTH.keys() & SETTINGS.keys() - PARTS))
def test_layers_built_alike_have_equal_settings(layer: str) -> None:
    kinds = BOTH[layer]
    mine, theirs = (built(side, kind) for side, kind in zip(("torch", "paddle"), kinds, strict=True))
    assert all(value is not None or theirs[name] is None for name, value in mine.items())
    # A constant that Paddle rounds, and what the frameworks' defaults are.
    otherwise = {"Hardsigmoid": "slope", **dict.fromkeys(("LSTM", "GRU", "RNN", "MultiheadAttention"), "batch_first")}
    expected = [otherwise[layer]] if layer in otherwise else []
    different = compare_settings("m", (layer, mine), (layer, theirs))
    assert [difference.text.partition(" ")[0] for difference in different] == expected


#: Layer, what torch's and Paddle's are built with, and what is said of it.
OTHERWISE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("GELU", {"approximate": "tanh"}, {}, "approximate is tanh in torch and none in Paddle"),
    ("Embedding", {"padding_idx": 0}, {}, "padding_idx is 0 in torch and None in Paddle"),
    ("Embedding", {"padding_idx": -1}, {"padding_idx": 7}, "padding_idx is 8 in torch and 7 in Paddle"),
    ("Conv2d", {"padding": "same"}, {"padding": 1}, "padding is same in torch and 1 in Paddle"),
    ("Conv2d", {"padding": "same"}, {"padding": "SAME"}, ""),
    ("Conv2d", {"padding": "valid"}, {}, ""),
    ("Conv2d", {"padding": (1, 2)}, {"padding": [1, 2]}, ""),
    ("Conv2d", {"padding": (1, 2)}, {"padding": [1, 1, 2, 2]}, ""),
    ("Conv2d", {}, {"data_format": "NHWC"}, "layout is channels first in torch and channels last in Paddle"),
    ("ConvTranspose2d", {"stride": 2, "output_padding": 1}, {"stride": 2},
     "output_padding is 1 in torch and 0 in Paddle"),
    ("ConvTranspose1d", {"padding": 1}, {"padding": 1}, ""),
    ("MaxPool1d", {"kernel_size": 2}, {"kernel_size": 3, "stride": 2}, "kernel_size is 2 in torch and 3 in Paddle"),
    ("MaxPool2d", {"dilation": 2}, {}, "dilation is 2 in torch and 1 in Paddle"),
    ("AvgPool2d", {"divisor_override": 4}, {}, "divisor_override is 4 in torch and None in Paddle"),
    ("LPPool2d", {"norm_type": 2}, {"norm_type": 3}, "norm_type is 2 in torch and 3.0 in Paddle"),
    ("Upsample", {"mode": "bilinear"}, {"mode": "bilinear", "align_mode": 1},
     "align_mode is 0 in torch and 1 in Paddle"),
    (
        "Upsample", {"mode": "bilinear", "align_corners": True}, {"mode": "bilinear"},
        "align_corners is True in torch and False in Paddle",
    ),
    ("Upsample", {"scale_factor": 2.0}, {"scale_factor": [2, 2]}, ""),
    ("LayerNorm", {"normalized_shape": [4, 4]}, {}, "normalized_shape is 4x4 in torch and 4 in Paddle"),
    ("Unfold", {"padding": (1, 1)}, {"paddings": 1}, ""),
    ("Unfold", {"padding": 2}, {"paddings": 1}, "padding is 2 in torch and 1 in Paddle"),
    ("ConstantPad2d", {"padding": (1, 1, 2, 2)}, {"padding": [1, 1, 2, 2]}, ""),
    ("ZeroPad2d", {"padding": 2}, {}, "padding is 2 in torch and 1 in Paddle"),
    ("PReLU", {}, {"data_format": "NHWC"}, "layout is channels first in torch and channels last in Paddle"),
    ("SELU", {}, {"alpha": 1.5}, "alpha is 1.6732632423543772 in torch and 1.5 in Paddle"),
    ("Hardshrink", {"lambd": 0.25}, {}, "lambd is 0.25 in torch and 0.5 in Paddle"),
    ("RNN", {"nonlinearity": "relu", "batch_first": True}, {}, "nonlinearity is relu in torch and tanh in Paddle"),
    (
        "TransformerEncoderLayer", {"activation": "gelu"}, {},
        "activation is gelu in torch and relu in Paddle",
    ),
    ("SmoothL1Loss", {"beta": 0.5}, {}, "beta is 0.5 in torch and 1.0 in Paddle"),
    ("CrossEntropyLoss", {"reduction": "sum"}, {}, "reduction is sum in torch and mean in Paddle"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "torchs", "paddles", "said"), OTHERWISE)
def test_what_is_built_otherwise_is_said_under_torchs_name(
    layer: str, torchs: dict[str, Any], paddles: dict[str, Any], said: str
) -> None:
    one, other = BOTH[layer]
    different = compare_settings(
        "m", (layer, built("torch", one, **torchs)), (layer, built("paddle", other, **paddles))
    )
    assert ", ".join(difference.text for difference in different) == said
