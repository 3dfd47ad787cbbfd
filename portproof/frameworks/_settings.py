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
        paddle: Paddle's attribute; "" where only torch can be asked.
        form: ``plain``; ``sizes`` (one number an axis); ``negated`` (Paddle stores the opposite); ``complement``
            (Paddle stores one minus it).
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


_SIZES = tuple(Setting(name, f"_{name}", "sizes") for name in ("kernel_size", "stride", "dilation"))
_LAYOUT = Setting("layout", "_data_format", "layout", fixed="channels first")
_CONV = (
    *_SIZES,
    Setting("padding", "_updated_padding", "sizes"),
    Setting("groups", "_groups"),
    Setting("padding_mode", "_padding_mode"),
    _LAYOUT,
)
_POOL = (
    Setting("kernel_size", "ksize", "sizes"),
    Setting("stride", "stride", "sizes"),
    Setting("padding", "padding", "sizes"),
    Setting("ceil_mode", "ceil_mode"),
    Setting("layout", "data_format", "layout", fixed="channels first"),
)
_EPS = Setting("eps", "_epsilon")
_TRAINING = Setting("training", "training")
_BATCH_NORM = (_EPS, Setting("momentum", "_momentum", "complement", training=True), _TRAINING, _LAYOUT)
_DROPOUT = (Setting("p", "p", training=True), Setting("mode", "mode", fixed="upscale_in_train"), _TRAINING)

_ND = {
    "Conv{n}d": _CONV,
    "ConvTranspose{n}d": _CONV,
    "MaxPool{n}d": _POOL,
    "AvgPool{n}d": (*_POOL, Setting("count_include_pad", "exclusive", "negated")),
    "AdaptiveAvgPool{n}d": (Setting("output_size", "_output_size", "sizes"),),
    "AdaptiveMaxPool{n}d": (Setting("output_size", "_output_size", "sizes"),),
    "BatchNorm{n}d": _BATCH_NORM,
    "InstanceNorm{n}d": (_EPS,),
    "Dropout{n}d": (Setting("p", "p", training=True), _TRAINING),
}

_RECURRENT = (
    Setting("batch_first", "time_major", "negated", cut=True),
    Setting("dropout", "dropout", training=True),
)
_ATTENTION = (
    Setting("num_heads", "num_heads"),
    Setting("batch_first", "", paddle_fixed=True, cut=True),
    Setting("dropout", "dropout", training=True),
)

#: Layer type, by torch's name, to its settings.
SETTINGS: dict[str, tuple[Setting, ...]] = {
    **{name.format(n=n): settings for name, settings in _ND.items() for n in (1, 2, 3)},
    "SyncBatchNorm": _BATCH_NORM,
    "BatchNorm": (*_BATCH_NORM[:-1], Setting("layout", "_data_layout", "layout", fixed="channels first")),
    "Dropout": _DROPOUT,
    "AlphaDropout": (Setting("p", "p", training=True), _TRAINING),
    "LayerNorm": (_EPS,),
    "GroupNorm": (_EPS, Setting("num_groups", "_num_groups")),
    "LeakyReLU": (Setting("negative_slope", "_negative_slope"),),
    "ELU": (Setting("alpha", "_alpha"),),
    "Hardsigmoid": (Setting("slope", "slope", fixed=1 / 6, paddle_fixed=0.1666667),),
    "CELU": (Setting("alpha", "_alpha"),),
    "Softplus": (Setting("beta", "_beta"), Setting("threshold", "_threshold")),
    "Hardtanh": (Setting("min_val", "_min"), Setting("max_val", "_max")),
    "Softmax": (Setting("dim", "_axis"),),
    "LogSoftmax": (Setting("dim", "_axis"),),
    "Flatten": (Setting("start_dim", "start_axis"), Setting("end_dim", "stop_axis")),
    "Embedding": (Setting("padding_idx", "_padding_idx"),),
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": (*_RECURRENT, Setting("nonlinearity", "activation")),
    "RNNCell": (Setting("nonlinearity", "activation"),),
    "MultiheadAttention": _ATTENTION,
    **{f"Transformer{part}Layer": (Setting("norm_first", "normalize_before"),) for part in ("Encoder", "Decoder")},
}


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
            value = getattr(module, setting.paddle, setting.paddle_fixed)
        found[setting.name] = _FORMS[setting.form](value, side, layer)
    if found.get("stride") is None and "kernel_size" in found:
        found["stride"] = found["kernel_size"]  # both frameworks: a pool's default
    return found


def write_setting(side: str, layer: str, module: object, name: str, value: Any) -> Callable[[], None]:
    """Change one setting of a module; returns what undoes it."""
    setting = next(setting for setting in SETTINGS[layer] if setting.name == name)
    attribute = name if side == "torch" else setting.paddle
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
        if one == two or (setting.name == "count_include_pad" and not padded):
            continue
        text = f"{setting.name} is {_say(one)} in torch and {_say(two)} in Paddle"
        different.append(SettingDifference(key, text, setting.training, setting.cut))
    return different


def _numbers(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _say(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return str(value[0]) if len(set(value)) == 1 else "x".join(map(str, value))
    return str(value)


def _sizes(value: Any, side: str, layer: str) -> Any:
    """Return one number an axis; a text ("same") stays."""
    if value is None or isinstance(value, str):
        return value
    found = re.search(r"(\d)d$", layer)
    axes = int(found[1]) if found else 1
    numbers = [int(number) for number in value] if isinstance(value, (list, tuple)) else [int(value)] * axes
    if len(numbers) == 2 * axes and numbers[::2] == numbers[1::2]:  # Paddle's begin and end of each axis
        numbers = numbers[::2]
    return numbers * axes if len(numbers) == 1 else numbers


def _complement(value: Any, side: str, layer: str) -> Any:
    return round(1 - value, 12) if side == "paddle" and value is not None else value


def _layout(value: Any, side: str, layer: str) -> Any:
    if side == "torch" or value is None:
        return "channels first"
    return "channels last" if str(value).endswith("C") else "channels first"


def _plain(value: Any, side: str, layer: str) -> Any:
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


_FORMS: dict[str, Callable[[Any, str, str], Any]] = {
    "plain": _plain,
    "sizes": _sizes,
    "layout": _layout,
    "complement": _complement,
    "negated": lambda value, side, layer: value if side == "torch" or value is None else not value,
}


def describe_module(model: Model, module: Any) -> tuple[str, dict[str, Any]]:
    """Return a module's layer type and settings, by torch's names."""
    layer = model.framework.layer(module)
    return layer, read_settings(model.framework.side, layer, module)
