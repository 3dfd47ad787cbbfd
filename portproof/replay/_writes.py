"""What a module writes into its arguments, under a replay that feeds it copies of them.

``ReLU(inplace=True)`` changes the tensor that its caller holds, and a skip that reads that tensor later sees it. A
replay that only exchanged results would lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portproof._numbers import Array
from portproof.frameworks._model import Model


@dataclass(frozen=True)
class Fed:
    """The tensors that a module is given, and how often each had been written into before."""

    tensors: Sequence[Any]
    versions: Sequence[int]

    @classmethod
    def now(cls, model: Model, tensors: Sequence[Any]) -> Fed:
        """Note the versions as they are, before the module runs."""
        return cls(tensors, [model.framework.version(tensor) for tensor in tensors])


def write_back(
    model: Model, own: Sequence[Any], fed: Fed, before: Sequence[Array], outputs: Sequence[Any],
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
    if not len(own) == len(fed.tensors) == len(before):
        return wrote, made
    for tensor, copy, version, array in zip(own, fed.tensors, fed.versions, before, strict=True):
        if copy is tensor or framework.version(copy) == version or array.shape != tuple(copy.shape):
            continue
        after = framework.to_array(copy)
        narrow = {"f": np.float32, "c": np.complex64}.get(array.dtype.kind)
        if np.array_equal(after, array if narrow is None else array.astype(narrow)):
            continue
        wrote = True
        alias = next((i for i, output in enumerate(outputs) if framework.shares_memory(output, copy)), None)
        if alias is not None and tuple(made[alias].shape) == after.shape:
            framework.overwrite(tensor, framework.to_array(made[alias]))
            made[alias] = tensor
        else:
            framework.overwrite(tensor, after)
    return wrote, made
