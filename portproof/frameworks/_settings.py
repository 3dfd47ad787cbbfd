"""What a module was built with, under torch's names, so that two modules can be compared in words.

A setting that shows in the outputs explains a divergence; one that cannot show in evaluation mode (a dropout rate,
BatchNorm's momentum) is compared here or nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from portproof.frameworks._layers import same_layer
from portproof.frameworks._model import Model

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """One setting of a layer type.

    Attributes:
        name: torch's, used in messages.
        paddle: Paddle's attribute, or several of which a layer has one; "" where only torch can be asked.
        form: how its values are told: see ``_FORMS``.
        training: whether it acts in training only.
        fixed: what torch always does, where it has no such attribute.
        paddle_fixed: the same for Paddle.
        cut: whether it only says how a layer is fed, so that what stands around it may make up for it.
    """

    name: str
    paddle: str
    form: str = "plain"
    training: bool = False
    fixed: Any = None
    paddle_fixed: Any = None
    cut: bool = False

    def attribute(self, module: object) -> str:
        """Return the name of Paddle's attribute that a layer has."""
        names = self.paddle.split()
        return next((name for name in names if hasattr(module, name)), names[0] if names else "")


def _same_names(*names: str, below: str = "") -> tuple[Setting, ...]:
    """Return settings that both frameworks store under one name; ``below``: what stands before Paddle's."""
    return tuple(Setting(name, f"{below}{name}") for name in names)


_LAYOUT = Setting("layout", "_data_format data_format", "layout", fixed="channels first")
_OUTPUT_SIZE = Setting("output_size", "_output_size output_size", "sizes")
_INDICES = Setting("return_indices", "_return_mask return_mask")
_CONV = (
    *(Setting(name, f"_{name}", "sizes") for name in ("kernel_size", "stride", "dilation")),
    Setting("padding", "_updated_padding _padding", "sizes"),
    Setting("groups", "_groups"),
    Setting("padding_mode", "_padding_mode"),
    _LAYOUT,
)
_POOL = (
    Setting("kernel_size", "ksize kernel_size", "sizes"),
    Setting("stride", "stride", "sizes"),
    Setting("padding", "padding", "sizes", fixed=0),
    _LAYOUT,
)
_CEIL = Setting("ceil_mode", "ceil_mode")
_EPS = Setting("eps", "_epsilon")
_TRAINING = Setting("training", "training")
_BATCH_NORM = (
    _EPS,
    Setting("momentum", "_momentum", "complement", training=True),
    _TRAINING,
    Setting("layout", "_data_format _data_layout", "layout", fixed="channels first"),
)
_RATE = (Setting("p", "p", training=True), _TRAINING)

_ND = {
    "Conv{n}d": _CONV,
    "ConvTranspose{n}d": (*_CONV, Setting("output_padding", "output_padding", "sizes")),
    "MaxPool{n}d": (*_POOL, _CEIL, _INDICES, Setting("dilation", "", "sizes", paddle_fixed=1)),
    "AvgPool{n}d": (
        *_POOL,
        _CEIL,
        Setting("count_include_pad", "exclusive", "negated"),
        Setting("divisor_override", "divisor"),
    ),
    "LPPool{n}d": (*_POOL, _CEIL, Setting("norm_type", "norm_type")),
    "MaxUnpool{n}d": _POOL,
    "FractionalMaxPool{n}d": (Setting("kernel_size", "_kernel_size", "sizes"), _OUTPUT_SIZE, _INDICES),
    "AdaptiveAvgPool{n}d": (_OUTPUT_SIZE, _LAYOUT),
    "AdaptiveMaxPool{n}d": (_OUTPUT_SIZE, _INDICES),
    "BatchNorm{n}d": _BATCH_NORM,
    "InstanceNorm{n}d": (_EPS, _LAYOUT),
    "Dropout{n}d": (*_RATE, Setting("layout", "data_format", "layout", training=True, fixed="channels first")),
    **{f"{kind}Pad{{n}}d": (Setting("padding", "padding", "sizes"), _LAYOUT)
       for kind in ("Circular", "Reflection", "Replication", "Zero")},
    "ConstantPad{n}d": (Setting("padding", "padding", "sizes"), Setting("value", "value"), _LAYOUT),
}  # fmt: skip

_RECURRENT = (
    Setting("batch_first", "time_major", "negated", cut=True),
    Setting("dropout", "dropout", training=True),
)
_ATTENTION = (
    Setting("num_heads", "num_heads"),
    Setting("batch_first", "", paddle_fixed=True, cut=True),
    Setting("add_zero_attn", "", paddle_fixed=False),
    Setting("dropout", "dropout", training=True),
)
_TRANSFORMER = (Setting("norm_first", "normalize_before"), Setting("activation", "activation", "name"))
_WINDOWS = tuple(Setting(name, f"{name}s", "sizes") for name in ("kernel_size", "dilation", "padding", "stride"))
_RESIZED = (
    Setting("size", "size", "sizes"),
    Setting("scale_factor", "scale_factor", "sizes"),
    Setting("layout", "data_format", "layout", fixed="channels first"),
)
_DIM = Setting("dim", "_axis axis")
_REDUCTION = Setting("reduction", "reduction _reduction")
_LOSS_EPS = Setting("eps", "epsilon _epsilon")
_MARGIN = Setting("margin", "margin")

#: Losses, and what they have beside a reduction.
_LOSSES: dict[str, tuple[Setting, ...]] = {
    "BCELoss": (),
    "BCEWithLogitsLoss": (),
    "CTCLoss": _same_names("blank", "zero_infinity"),
    "CosineEmbeddingLoss": (_MARGIN,),
    "CrossEntropyLoss": _same_names("ignore_index", "label_smoothing"),
    "GaussianNLLLoss": (Setting("full", "full"), _LOSS_EPS),
    "HingeEmbeddingLoss": (_MARGIN,),
    "HuberLoss": (Setting("delta", "delta"),),
    "KLDivLoss": _same_names("log_target"),
    "L1Loss": (),
    "MSELoss": (),
    "MarginRankingLoss": (_MARGIN,),
    "MultiLabelMarginLoss": (),
    "MultiLabelSoftMarginLoss": (),
    "MultiMarginLoss": (Setting("p", "p"), _MARGIN),
    "NLLLoss": _same_names("ignore_index", below="_"),
    "PoissonNLLLoss": (*_same_names("log_input", "full", below="_"), _LOSS_EPS),
    "SmoothL1Loss": (Setting("beta", "delta"),),
    "SoftMarginLoss": (),
    "TripletMarginLoss": (*_same_names("margin", "p", "swap"), _LOSS_EPS),
    "TripletMarginWithDistanceLoss": _same_names("margin", "swap"),
}

#: Layer type, by torch's name, to its settings.
SETTINGS: dict[str, tuple[Setting, ...]] = {
    **{name.format(n=n): settings for name, settings in _ND.items() for n in (1, 2, 3)},
    **{name: (_REDUCTION, *settings) for name, settings in _LOSSES.items()},
    "SyncBatchNorm": _BATCH_NORM,
    "BatchNorm": _BATCH_NORM,
    "Dropout": (*_RATE, Setting("mode", "mode", fixed="upscale_in_train"), Setting("axis", "axis", training=True)),
    "AlphaDropout": _RATE,
    "FeatureAlphaDropout": _RATE,
    "LayerNorm": (_EPS, Setting("normalized_shape", "_normalized_shape", "shape")),
    "GroupNorm": (_EPS, Setting("num_groups", "_num_groups"), _LAYOUT),
    "LocalResponseNorm": (*_same_names("size", "alpha", "beta", "k"), _LAYOUT),
    "PReLU": (_LAYOUT,),
    "LeakyReLU": _same_names("negative_slope", below="_"),
    "RReLU": _same_names("lower", "upper", below="_"),
    "ELU": _same_names("alpha", below="_"),
    "CELU": _same_names("alpha", below="_"),
    "SELU": (
        Setting("scale", "_scale", fixed=1.0507009873554804934193349852946),
        Setting("alpha", "_alpha", fixed=1.6732632423543772848170429916717),
    ),
    "GELU": (Setting("approximate", "_approximate", "approximate"),),
    "GLU": (_DIM,),
    "Hardshrink": (Setting("lambd", "_threshold"),),
    "Softshrink": (Setting("lambd", "_threshold"),),
    "Hardsigmoid": (Setting("slope", "slope", fixed=1 / 6, paddle_fixed=0.1666667),),
    "Softplus": _same_names("beta", "threshold", below="_"),
    "Hardtanh": (Setting("min_val", "_min"), Setting("max_val", "_max")),
    "Softmax": (_DIM,),
    "LogSoftmax": (_DIM,),
    "Flatten": (Setting("start_dim", "start_axis"), Setting("end_dim", "stop_axis")),
    "Unflatten": (_DIM, Setting("unflattened_size", "shape", "shape")),
    "Fold": (*_WINDOWS, Setting("output_size", "output_sizes", "sizes")),
    "Unfold": _WINDOWS,
    "PixelShuffle": (*_same_names("upscale_factor", below="_"), _LAYOUT),
    "PixelUnshuffle": (*_same_names("downscale_factor", below="_"), _LAYOUT),
    "ChannelShuffle": (*_same_names("groups", below="_"), _LAYOUT),
    "Upsample": (
        *_RESIZED,
        Setting("mode", "mode"),
        Setting("align_corners", "align_corners", "flag"),
        Setting("align_mode", "align_mode", fixed=0),
    ),
    "UpsamplingBilinear2d": _RESIZED,
    "UpsamplingNearest2d": _RESIZED,
    "CosineSimilarity": (_DIM, Setting("eps", "_eps")),
    "PairwiseDistance": (Setting("norm", "p"), Setting("keepdim", "keepdim"), _LOSS_EPS),
    "Embedding": (
        Setting("padding_idx", "_padding_idx", "index"),
        *_same_names("max_norm", below="_"),
        Setting("scale_grad_by_freq", "_scale_grad_by_freq", training=True),
    ),
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": (*_RECURRENT, Setting("nonlinearity", "activation mode", "nonlinearity")),
    "RNNCell": (Setting("nonlinearity", "activation"),),
    "MultiheadAttention": _ATTENTION,
    "TransformerEncoderLayer": _TRANSFORMER,
    "TransformerDecoderLayer": _TRANSFORMER,
}  # fmt: skip


def read_settings(side: str, layer: str, module: object) -> dict[str, Any]:
    """Return a module's settings under torch's names, in values that JSON can hold.

    Args:
        side: whose module it is.
        layer: its type, by torch's name.
        module: it.
    """
    found: dict[str, Any] = {}
    for setting in SETTINGS.get(layer, ()):
        if side == "torch":
            value = getattr(module, setting.name, setting.fixed)
        else:
            value = getattr(module, setting.attribute(module), setting.paddle_fixed)
            if setting.name == "padding" and getattr(module, "_padding_algorithm", "") == "SAME":
                value = "same"
        found[setting.name] = _FORMS[setting.form](value, side, layer)
    if found.get("stride") is None and "kernel_size" in found:
        found["stride"] = found["kernel_size"]  # both frameworks: a pool's default
    return found


def write_setting(side: str, layer: str, module: object, name: str, value: Any) -> Callable[[], None]:
    """Change one setting of a module; returns what undoes it."""
    setting = next(setting for setting in SETTINGS[layer] if setting.name == name)
    attribute = name if side == "torch" else setting.attribute(module)
    before = getattr(module, attribute)
    if side == "paddle" and setting.form == "negated":
        value = not value
    if side == "paddle" and setting.form == "complement":
        value = 1 - value
    if isinstance(value, (list, tuple)):
        value = tuple(value) if side == "torch" else list(value)
    setattr(module, attribute, value)
    return lambda: setattr(module, attribute, before)


@dataclass(frozen=True)
class SettingDifference:
    """A setting that two paired modules do not share.

    Attributes:
        key: torch path of the module.
        text: in words.
        training: whether it acts in training only, so that no run in evaluation mode can show it.
        cut: whether it only says how a layer is fed.
    """

    key: str
    text: str
    training: bool
    cut: bool = False


def compare_settings(key: str, torch: tuple[str, Settings], paddle: tuple[str, Settings]) -> list[SettingDifference]:
    """Compare two paired modules: their types, then what they were built with.

    Args:
        key: torch path.
        torch, paddle: layer type and settings.
    """
    if not same_layer(torch[0], paddle[0]):
        names = SETTINGS.keys()
        known = torch[0] in names or paddle[0] in names
        return [SettingDifference(key, f"it is {torch[0]} in torch and {paddle[0]} in Paddle", False)] if known else []
    padded = any(any(_numbers(settings.get("padding"))) for _, settings in (torch, paddle))
    different: list[SettingDifference] = []
    for setting in SETTINGS.get(torch[0], ()):
        one, two = torch[1].get(setting.name), paddle[1].get(setting.name)
        if _same(one, two) or (setting.name == "count_include_pad" and not padded):
            continue
        text = f"{setting.name} is {_say(one)} in torch and {_say(two)} in Paddle"
        different.append(SettingDifference(key, text, setting.training, setting.cut))
    return different


def _same(one: Any, two: Any) -> bool:
    """Whether two values are one setting: a number for every axis may be written once."""
    if isinstance(one, (list, tuple)) or isinstance(two, (list, tuple)):
        one, two = _numbers(one), _numbers(two)
        size = max(len(one), len(two))
        one, two = (list(v) * size if len(v) == 1 else list(v) for v in (one, two))
    return bool(one == two)


def _numbers(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _say(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return str(value[0]) if len(set(value)) == 1 else "x".join(map(str, value))
    return str(value)


def _sizes(value: Any, side: str, layer: str) -> Any:
    """Return one number an axis, or two where an axis is padded unevenly; a text ("same") stays."""
    if value is None:
        return None
    if isinstance(value, str):
        return {"valid": [0]}.get(value.lower(), value.lower())
    found = re.search(r"(\d)d$", layer)
    axes = int(found[1]) if found else 1
    listed = isinstance(value, (list, tuple)) or hasattr(value, "tolist")
    numbers = [_number(number) for number in _flat(value)] if listed else [_number(value)]
    if len(numbers) == 2 * axes and numbers[::2] == numbers[1::2]:  # Paddle's begin and end of each axis
        numbers = numbers[::2]
    return numbers * axes if len(numbers) == 1 else numbers


def _flat(value: Any) -> list[Any]:
    value = value.tolist() if hasattr(value, "tolist") else value
    return [n for each in value for n in _flat(each)] if isinstance(value, (list, tuple)) else [value]


def _number(value: Any) -> Any:
    return int(value) if value is not None and float(value) == int(value) else value


def _complement(value: Any, side: str, layer: str) -> Any:
    return round(1 - value, 12) if side == "paddle" and value is not None else value


def _layout(value: Any, side: str, layer: str) -> Any:
    if side == "torch" or value is None:
        return "channels first"
    return "channels last" if str(value).endswith("C") else "channels first"


def _plain(value: Any, side: str, layer: str) -> Any:
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _index(value: Any, side: str, layer: str) -> Any:
    """Return a row of a table; Paddle stores -1 for none."""
    return None if value is None or value < 0 else int(value)


def _name(value: Any, side: str, layer: str) -> Any:
    """Return the name of a function, or of a module that stands for one."""
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__.lower())


_FORMS: dict[str, Callable[[Any, str, str], Any]] = {
    "plain": _plain,
    "sizes": _sizes,  # one number an axis
    "shape": lambda value, side, layer: "x".join(map(str, value if isinstance(value, (list, tuple)) else [value])),
    "layout": _layout,
    "complement": _complement,  # Paddle stores one minus it
    "negated": lambda value, side, layer: value if side == "torch" or value is None else not value,
    "flag": lambda value, side, layer: bool(value),
    "approximate": lambda value, side, layer: value if isinstance(value, str) else "tanh" if value else "none",
    "index": _index,
    "name": _name,
    "nonlinearity": lambda value, side, layer: str(value).lower().removeprefix("rnn_"),
}


def describe_module(model: Model, module: Any) -> tuple[str, dict[str, Any]]:
    """Return a module's layer type and settings, by torch's names."""
    layer = model.framework.layer(module)
    return layer, read_settings(model.framework.side, layer, module)
