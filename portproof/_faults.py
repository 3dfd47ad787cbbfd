"""Deliberate faults, put into a right port to measure what the check can see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from portproof._model import Model, wrapped_forwards

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fault:
    """One planted fault: its kind and the path of the module that it is put into, on the planted side."""

    kind: str
    module: str

    def __str__(self) -> str:
        return f"{self.kind} in {self.module}"


def _zero_bias(bias: Array) -> Array:
    return np.zeros_like(bias)


def _one_weight(weight: Array) -> Array:
    changed = weight.copy()
    place = np.unravel_index(int(np.argmax(np.abs(weight))), weight.shape)
    changed[place] *= 1.001
    return changed


def _swap_channels(bias: Array) -> Array:
    changed = bias.copy()
    changed[:2] = changed[1::-1]
    return changed


#: Kind to the tensor of a module that it changes and how.
WEIGHT_FAULTS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "bias zeroed": ("bias", _zero_bias),
    "one weight off by 1e-3": ("weight", _one_weight),
    "two channels' biases swapped": ("bias", _swap_channels),
}
#: Kinds that take a module out of the computation.
DROPPED = "activation dropped"
_ACTIVATIONS = {"ReLU", "ReLU6", "LeakyReLU", "ELU", "GELU", "SiLU", "Sigmoid", "Tanh", "Hardswish", "PReLU"}


def catalogue(model: Model) -> list[Fault]:
    """Return every fault that applies to a model, module by module."""
    found: list[Fault] = []
    for path, module in model.framework.modules(model.root):
        tensors = model.framework.own_tensors(module)
        for kind, (name, _) in WEIGHT_FAULTS.items():
            if name in tensors and max(tuple(tensors[name].shape)[:1], default=0) > 1:
                found.append(Fault(kind, path))
        if model.framework.layer(module) in _ACTIVATIONS:
            found.append(Fault(DROPPED, path))
    return found


def sample(faults: list[Fault], count: int, seed: int = 0) -> list[Fault]:
    """Draw faults so that every kind has its share."""
    rng = np.random.default_rng(seed)
    kinds = sorted({fault.kind for fault in faults})
    shuffled = {k: list(rng.permutation([i for i, fault in enumerate(faults) if fault.kind == k])) for k in kinds}
    drawn: list[Fault] = []
    while len(drawn) < count and any(shuffled.values()):
        drawn += [faults[shuffled[kind].pop()] for kind in kinds if shuffled[kind]][: count - len(drawn)]
    return drawn


@contextmanager
def planted(model: Model, fault: Fault) -> Iterator[None]:
    """Put a fault into a model for the time of the block."""
    module = dict(model.framework.modules(model.root))[fault.module]
    if fault.kind == DROPPED:
        with wrapped_forwards([(fault.module, module)], lambda _, __: lambda value, *args, **kwargs: value):
            yield
        return
    name, change = WEIGHT_FAULTS[fault.kind]
    tensor = model.framework.own_tensors(module)[name]
    before = model.framework.to_array(tensor)
    model.framework.write(tensor, change(before))
    try:
        yield
    finally:
        model.framework.write(tensor, before)
