"""What a module writes into its arguments, under a replay that feeds it copies of them.

``ReLU(inplace=True)`` changes the tensor that its caller holds, and a skip that reads that tensor later sees it. A
replay that only exchanged results would lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from portproof._numbers import Array
from portproof.frameworks._model import Model


def write_back(
    model: Model, own: Sequence[Any], fed: Sequence[Any], before: Sequence[Array], outputs: Sequence[Any],
    handed_on: Sequence[Any],
) -> tuple[bool, list[Any]]:  # fmt: skip
    """Let the caller see what a module wrote into its arguments.

    Args:
        model: that it belongs to.
        own: the tensors that the caller gave.
        fed: the copies in their places.
        before: what the copies held.
        outputs: what the module returned.
        handed_on: tensors to return in their places.

    Returns:
        Whether it wrote into any; and what to return: for an output that is such an argument, the caller's own tensor.
    """
    framework, made, wrote = model.framework, list(handed_on), False
    if not len(own) == len(fed) == len(before):
        return wrote, made
    for tensor, copy, array in zip(own, fed, before, strict=True):
        if copy is tensor or array.shape != tuple(copy.shape):
            continue
        after = framework.to_array(copy)
        if np.array_equal(after, array.astype(np.float32) if array.dtype.kind == "f" else array):
            continue
        wrote = True
        alias = next((i for i, output in enumerate(outputs) if framework.shares_memory(output, copy)), None)
        if alias is not None and tuple(made[alias].shape) == after.shape:
            framework.overwrite(tensor, framework.to_array(made[alias]))
            made[alias] = tensor
        else:
            framework.overwrite(tensor, after)
    return wrote, made
