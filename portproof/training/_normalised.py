"""A good start: weights normalised from data, and classifiers that begin without an opinion.

A network of twenty layers without normalisation hardly learns from a framework's own first weights. Those of
:mod:`portproof.sides._sensitise` (Krähenbühl et al., 2016) hand a signal of unit variance to every layer; the layers
that return the outputs are then turned down, so that all classes begin about equally likely and the first gradients
small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from portproof.frameworks._model import Model, wrapped_forwards
from portproof.sides._sensitise import sensitise

#: What the layers that return the outputs are turned down to.
QUIET = 0.1


def normalised_start(model: Model, inputs: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return starting weights.

    Args:
        model: in float32; its weights are overwritten.
        inputs: a few dozen rows of what will be learned from.
        seed: of the draws.
    """
    weights = sensitise(model, inputs, seed)
    framework = model.framework
    own = dict(framework.modules(model.root))
    leaves = [(path, module) for path, module in own.items() if framework.is_leaf(module)]
    returned: dict[int, str] = {}
    kept: list[Any] = []  # so that no two tensors have the same identity

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            result = forward(*args, **kwargs)
            kept.append(result)
            returned[id(result)] = path
            return result

        return noted

    with wrapped_forwards(leaves, wrap):
        outputs = model.call({name: array[:1] for name, array in inputs.items()})
    for tensor in outputs.values():
        path = returned.get(id(tensor))
        for name in framework.own_tensors(own[path]) if path is not None else ():
            key = f"{path}.{name}" if path else name
            weights[key] = (weights[key] * np.float32(QUIET)).astype(np.float32)
    return weights
