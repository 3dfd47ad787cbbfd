"""Averages over a whole map, added one term after the other: as far as honest float32 may go there.

A sum may be added in any order. torch adds a map of 56x56 in blocks; Paddle's average pool and ONNX Runtime's add one
term after the other, and err up to fifty times as far, in float64 too. A noise floor that only knew the better order
would call them wrong, so it is measured with the worse one as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from portproof._model import Model, wrapped_forwards

Array = np.ndarray[Any, Any]


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


def averages(model: Model) -> list[tuple[str, Any]]:
    """Return the layers that may average over a whole map."""
    framework = model.framework
    return [(path, m) for path, m in framework.modules(model.root) if framework.layer(m).startswith("AdaptiveAvgPool")]


@contextlib.contextmanager
def adding_term_by_term(model: Model) -> Iterator[list[str]]:
    """Let a model's averages add so, for the time of the block; yields the paths of those that did."""
    framework, pools = model.framework, averages(model)
    own, done = dict(pools), list[str]()

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        layer = framework.layer(own[path])

        def added(x: Any) -> Any:
            result = forward(x)
            slow = term_by_term(layer, framework.to_array(x), framework.to_array(result))
            if slow is None:
                return result
            done.append(path)
            return framework.to_tensor(slow, model.precision)

        return added

    with wrapped_forwards(pools, wrap):
        yield done
