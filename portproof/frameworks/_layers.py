"""What each type of layer does to its tensors, in Paddle and in PyTorch.

A layout follows from the type of the layer and is never inferred from shapes: a square Linear is transposed too.
Source: the ``Shape`` sections of both frameworks' references, and the layers themselves
(``tests/frameworks/test_layers.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LayerType:
    """One layer in both frameworks.

    Attributes:
        torch, paddle: class names under ``torch.nn`` and ``paddle.nn``.
        names: torch's tensor name to Paddle's, where they differ.
        axes: tensor name (torch's) to the permutation that turns torch's layout into Paddle's.
        splits: torch's tensor that is several in Paddle: their names, in order, and the permutation of each part.
        reshaped: tensors of as many elements in another shape.
        torch_only: buffers that Paddle's layer lacks, each with the reason why leaving them out is right.
        parts: names of the layer's own parts, where they differ.
        out_axis: axis of torch's weight that counts the output channels; None where channels are not mixed.
        whole: one side runs the layer's parts as modules and the other does not, so it is judged in one piece.
    """

    torch: str
    paddle: str
    names: dict[str, str] = field(default_factory=dict)
    axes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    splits: dict[str, tuple[tuple[str, ...], tuple[int, ...] | None]] = field(default_factory=dict)
    reshaped: frozenset[str] = frozenset()
    torch_only: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    out_axis: int | None = None
    whole: bool = False


_STATISTICS = {"running_mean": "_mean", "running_var": "_variance"}


def _norm(torch: str, paddle: str) -> LayerType:
    return LayerType(
        torch,
        paddle,
        names=_STATISTICS,
        torch_only={"num_batches_tracked": "a counter that only torch keeps; it is read when momentum is None"},
    )


_INSTANCE = {"weight": "scale"}
#: ``nn.utils.weight_norm`` and ``spectral_norm`` (torch's older ones, which Paddle follows) rename a layer's weight.
_MATRIX: dict[str, tuple[int, ...]] = dict.fromkeys(("weight", "weight_v", "weight_orig"), (1, 0))
_GAIN = frozenset({"weight_g"})
_IN_PROJ = ("q_proj", "k_proj", "v_proj")

#: Every layer type whose tensors need a rule, or whose channels the sensitiser normalises. Layers that are not
#: here keep their names and layouts on both sides.
LAYER_TYPES: tuple[LayerType, ...] = (
    LayerType("Linear", "Linear", axes=_MATRIX, reshaped=_GAIN, out_axis=0),
    *(LayerType(f"Conv{n}d", f"Conv{n}D", reshaped=_GAIN, out_axis=0) for n in (1, 2, 3)),
    *(LayerType(f"ConvTranspose{n}d", f"Conv{n}DTranspose", reshaped=_GAIN, out_axis=1) for n in (1, 2, 3)),
    *(_norm(f"BatchNorm{n}d", f"BatchNorm{n}D") for n in (1, 2, 3)),
    _norm("SyncBatchNorm", "SyncBatchNorm"),
    *(LayerType(f"InstanceNorm{n}d", f"InstanceNorm{n}D", names=_INSTANCE) for n in (1, 2, 3)),
    LayerType("LayerNorm", "LayerNorm"),
    LayerType("GroupNorm", "GroupNorm"),
    LayerType("Embedding", "Embedding"),
    LayerType("PReLU", "PReLU", names={"weight": "_weight"}),
    LayerType("Bilinear", "Bilinear", reshaped=frozenset({"bias"})),
    # Gates stand in the same order (i f g o, and r z n). Paddle's layer holds each tensor a second time, in its cells.
    *(LayerType(name, name, whole=True) for name in ("LSTM", "GRU")),
    LayerType("RNN", "SimpleRNN", whole=True),
    *(LayerType(name, name) for name in ("LSTMCell", "GRUCell")),
    LayerType("RNNCell", "SimpleRNNCell"),
    LayerType(
        "MultiheadAttention",
        "MultiHeadAttention",
        names={f"{name}_weight": f"{name}.weight" for name in _IN_PROJ},
        axes={f"{name}_weight": (1, 0) for name in _IN_PROJ},
        splits={
            "in_proj_weight": (tuple(f"{name}.weight" for name in _IN_PROJ), (1, 0)),
            "in_proj_bias": (tuple(f"{name}.bias" for name in _IN_PROJ), None),
        },
        whole=True,
    ),
    LayerType("TransformerDecoderLayer", "TransformerDecoderLayer", parts={"multihead_attn": "cross_attn"}),
    LayerType("BatchNorm", "BatchNorm", names=_STATISTICS),  # Paddle's older one, of any number of dimensions
)

#: Before the name of a kernel that would have rounded a scalar, in what a framework's ``computing_in`` counts.
KERNEL = "kernel "

#: By the name that the code uses for a type in both frameworks: torch's.
BY_NAME = {layer.torch: layer for layer in LAYER_TYPES}
#: Paddle's names of layers without a rule, where more than the D of a dimension differs. Its RNN wraps a cell.
_ALIASES = {"Layer": "Module", "Silu": "SiLU", "RNN": "RNN over a cell"}
_BY_PADDLE = {layer.paddle: layer for layer in LAYER_TYPES}


def is_whole(layer: str) -> bool:
    """Whether a type, by torch's name, is judged in one piece."""
    return layer in BY_NAME and BY_NAME[layer].whole


def same_layer(one: str, other: str) -> bool:
    """Whether two types, by torch's names, are one layer: Paddle's older BatchNorm takes any number of dimensions."""
    return one == other or ("BatchNorm" in (one, other) and one.startswith("BatchNorm") and other.startswith("Batch"))


def layer_type(side: str, class_names: list[str]) -> str:
    """Name a module's type as torch does, from its class and base classes, nearest first.

    Args:
        side: the framework that the module belongs to.
        class_names: names of the classes of the module that the framework itself defines.

    Returns:
        The torch name of the first class that has a rule, else torch's spelling of the first class.
    """
    table = BY_NAME if side == "torch" else _BY_PADDLE
    for name in class_names:
        if name in table:
            return table[name].torch
    first = class_names[0] if class_names else ""
    return first if side == "torch" else _ALIASES.get(first) or re.sub(r"(\d)D$", r"\1d", first)
