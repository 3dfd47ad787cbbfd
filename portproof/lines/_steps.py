"""What fused functions compute on their way, in NumPy: the other side may compute it call by call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portproof._numbers import Array

Steps = list[tuple[str, Array]]


@dataclass(frozen=True)
class Fused:
    """A call of a fused function.

    Attributes:
        side: whose.
        tensors: those among its arguments.
        result: what it returned.
        args, kwargs: what it was given.
        array: reads a tensor.
    """

    side: str
    tensors: Sequence[Any]
    result: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    array: Callable[[Any], Array]


def _linear(call: Fused) -> Steps:
    if len(call.tensors) != 3:  # without a bias the product is the result
        return []
    return [("product", call.array(call.result) - call.array(call.tensors[2]))]


def _added_product(call: Fused) -> Steps:
    """The product of ``baddbmm`` and ``addmm``, and what it is multiplied with."""
    if len(call.tensors) != 3:
        return []
    product = call.array(call.tensors[1]) @ call.array(call.tensors[2])
    factor = call.kwargs.get("alpha", 1)
    return [("product", product), *([("scaled", product * factor)] if factor != 1 else [])]


def _attention(call: Fused) -> Steps:
    """Scores, masked scores and weights of ``scaled_dot_product_attention``; Paddle has heads behind positions."""
    side, args, kwargs = call.side, call.args, call.kwargs
    arrays = [call.array(tensor) for tensor in call.tensors]
    if len(arrays) < 3 or any(array.ndim != 4 for array in arrays[:3]):
        return []
    query, key, value = (a if side == "torch" else a.transpose(0, 2, 1, 3) for a in arrays[:3])
    if query.shape[1] != key.shape[1]:
        return []
    mask = arrays[3] if len(arrays) > 3 else None
    causal = kwargs.get("is_causal", args[5] if len(args) > 5 else False)
    product = query @ key.swapaxes(-1, -2)
    scores = product * (kwargs.get("scale") or query.shape[-1] ** -0.5)
    masked = scores
    if mask is not None:
        masked = np.where(mask, scores, -np.inf) if mask.dtype.kind == "b" else scores + mask
    if causal:
        masked = np.where(np.tri(*scores.shape[-2:]) > 0, masked, -np.inf)
    most = masked.max(-1, keepdims=True)
    weights = np.exp(masked - np.where(np.isfinite(most), most, 0.0))
    weights = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    steps = [("product", product), ("scaled", scores), ("weights", weights)]
    if masked is not scores:
        steps.insert(2, ("masked", masked))
    steps.append(("scaled query", query * (kwargs.get("scale") or query.shape[-1] ** -0.5)))
    if side == "paddle":
        steps.append(("heads", weights @ value))
    return steps


def _layer_norm(call: Fused) -> Steps:
    shape = call.kwargs.get("normalized_shape", call.args[1] if len(call.args) > 1 else None)
    if shape is None or not call.tensors:
        return []
    count = len(shape) if isinstance(shape, (list, tuple)) else 1
    x = call.array(call.tensors[0])
    axes = tuple(range(x.ndim - count, x.ndim))
    mean = x.mean(axes, keepdims=True)
    return [("mean", mean), ("centred", x - mean), ("variance", ((x - mean) ** 2).mean(axes, keepdims=True))]


#: Function to what it computes on its way.
STEPS: dict[str, Callable[[Fused], Steps]] = {
    "linear": _linear, "addmm": _added_product, "baddbmm": _added_product, "scaled_dot_product_attention": _attention,
    "layer_norm": _layer_norm,
}  # fmt: skip
#: Step to the functions that compute it where it is no step.
STEPS_AS = {
    "product": ("matmul",), "scaled": ("mul", "div"), "scaled query": ("mul", "div"), "masked": ("add", "where"),
    "weights": ("softmax",), "heads": ("matmul",), "mean": ("mean",), "centred": ("sub",), "variance": ("mean",),
}  # fmt: skip
#: Step to the functions that are given it where it is no step.
GIVEN_TO = {
    "product": ("mul", "div"),
    "scaled": ("softmax", "add", "where"),
    "masked": ("softmax",),
    "weights": ("matmul",),
}
