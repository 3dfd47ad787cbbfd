"""How far honest float32 may go: the cap of a measured noise floor, and the worse order of an average.

A floor that is measured can be raised by what it should reveal: where both sides compute in less than float32, both
measured errors are large. So the floor of a linear or convolutional layer is capped by an analytic bound. Higham's
worst case, ``gamma_n |W||x|`` (*Accuracy and Stability of Numerical Algorithms*, 2002, section 3.1), is too wide for
sums of thousands of terms: it would let float16 pass. Roundings behave as independent errors of mean zero (Higham and
Mary, "A new approach to probabilistic rounding error analysis", 2019), so that a sum of n terms errs by about
``u sqrt(n)`` times its largest partial sum, which is at most about ``sqrt(sum (w x)^2 + y^2)`` for a result y.

A sum may be added in any order. torch adds a map of 56x56 in blocks; Paddle's average pool and ONNX Runtime's add one
term after the other, and err up to fifty times as far, in float64 too. A noise floor that only knew the better order
would call them wrong, so it is measured with the worse one as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from portproof._numbers import EPSILON, Array
from portproof.frameworks._layers import BY_NAME
from portproof.frameworks._model import Model


def least_bound(model: Model, module: Any, received: list[Array], returned: Array) -> float | None:
    """Return what :func:`rounding_bound` is at least, without a run: enough to know where nothing errs so far.

    Args:
        model, module, received, returned: as there.
    """
    rule, weight = BY_NAME.get(model.framework.layer(module)), model.framework.own_tensors(module).get("weight")
    if rule is None or rule.out_axis is None or weight is None or len(received) != 1 or not returned.size:
        return None
    if returned.dtype.kind == "c":
        return None
    shape = tuple(weight.shape)
    terms = math.prod(shape) / max(1, min(shape[:2]))
    return math.sqrt(terms) * EPSILON["float32"] / 2


def rounding_bound(
    model: Model, module: Any, received: list[Array], returned: Array, forward: Callable[..., Any]
) -> float | None:
    """Return how far float32 may carry a layer's output, as a root mean square in units of the rows' scale.

    Args:
        model: in float64.
        module: of it.
        received: its input.
        returned: its output for that input.
        forward: the module's own; it is run once on squares.

    Returns:
        None for layers that are neither linear nor convolutional.
    """
    least = least_bound(model, module, received, returned)
    if least is None:
        return None
    framework, tensors = model.framework, model.framework.own_tensors(module)
    before = {name: framework.to_array(tensor) for name, tensor in tensors.items()}
    try:
        for name, array in before.items():
            framework.write(tensors[name], array**2)
        squares = framework.to_array(forward(framework.to_tensor(received[0].astype(np.float64) ** 2)))
    finally:
        for name, array in before.items():
            framework.write(tensors[name], array)
    if squares.shape != returned.shape:
        return None
    partial = (np.maximum(squares, 0.0) + returned.astype(np.float64) ** 2).reshape(len(returned), -1).mean(axis=1)
    scale = (returned.astype(np.float64) ** 2).reshape(len(returned), -1).mean(axis=1)
    rows = np.sqrt(np.divide(partial, scale, out=np.ones_like(partial), where=scale > 0))
    return float(np.sqrt(np.mean(rows**2)) * least)


def term_by_term(layer: str, received: Array, returned: Array) -> Array | None:
    """Return what a pool puts out if it adds one term after the other, in the dtype of its input.

    Args:
        layer: its type, by torch's name.
        received: its input, channels first.
        returned: its output, for its shape.

    Returns:
        None for a layer that is no average over the whole map.
    """
    axes = received.ndim - 2
    if not layer.startswith("AdaptiveAvgPool") or returned.ndim != received.ndim or axes < 1:
        return None
    if returned.shape[:2] != received.shape[:2] or any(size != 1 for size in returned.shape[2:]):
        return None
    flat = received.reshape(*received.shape[:2], -1)
    sums = np.add.accumulate(flat, axis=-1, dtype=received.dtype)[..., -1]
    return np.asarray((sums / received.dtype.type(flat.shape[-1])).reshape(returned.shape))
