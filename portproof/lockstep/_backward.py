"""Module by module, backward: each module's vector-Jacobian products on the other side's input and cotangent.

One pass of the side that leads records, at the boundary of every paired module, the values that pass forward and the
cotangents that pass back, all rounded to float32. Then each side runs every module by itself: it is given the recorded
input, and its outputs, with what it hands to its parts, are pulled back from the recorded cotangents. A part hands on
a tensor of its own, so nothing that happens inside it reaches its parent: a fault of the backward pass shows in the
module that has it, and what a parent does between its parts is judged for itself.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import Unavailable
from portproof._numbers import EPSILON, Array, as_pairs
from portproof.frameworks._calls import exchanged, given, returned
from portproof.frameworks._layers import is_whole
from portproof.frameworks._model import wrapped_forwards
from portproof.lockstep._deviations import BACKWARD, factors_of, paddles_backward
from portproof.training._learner import Learner


class CallStore:
    """Arrays by name for every call of every module, a file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / "index.json"
        self._files: dict[str, str] = json.loads(index.read_text()) if index.exists() else {}

    def write(self, key: str, call: int, arrays: Mapping[str, Array]) -> None:
        """Add one call."""
        name = f"{len(self._files):05d}.safetensors"
        save_arrays(self.folder / name, arrays)
        self._files[f"{key}#{call}"] = name

    def close(self) -> None:
        """Write the index, without which the store is empty to readers."""
        (self.folder / "index.json").write_text(json.dumps(self._files))

    def read(self, key: str, call: int) -> dict[str, Array] | None:
        """Return a call's arrays; None where there was no such call."""
        name = self._files.get(f"{key}#{call}")
        return None if name is None else load_file(self.folder / name)

    def calls(self) -> list[tuple[str, int]]:
        """Return every call, in the order in which they ended."""
        split = (name.rpartition("#") for name in self._files)
        return [(key, int(call)) for key, _, call in split]


@dataclass
class _Frame:
    """A module that is running: what it gave to its parts, and what they gave back."""

    given: list[Any] = field(default_factory=list)
    cotangents: list[Any] = field(default_factory=list)
    received: dict[str, Any] = field(default_factory=dict)


def record_backward(
    learner: Learner, keys: Mapping[str, str], inputs: Mapping[str, Array], seed: int, store: CallStore
) -> None:
    """Record what passes every module's boundary, forward and back.

    Args:
        learner: the side that leads, in float64.
        keys: module path to the key that both sides share.
        inputs: a few rows.
        seed: of the cotangents at the outputs.
        store: an empty one; gets ``in.I``, ``out.I`` and their cotangents ``in.I'``, ``out.I'``, in float32.
    """
    model, learning = learner.model, learner.learning
    is_tensor, paired = model.framework.is_tensor, _paired(model, keys)
    counts, own = defaultdict[str, int](int), dict(paired)
    crossed: list[tuple[str, int, str, Any]] = []

    def rounded(tensor: Any, key: str, call: int, name: str) -> Any:
        array = model.framework.to_array(tensor)
        if array.dtype.kind != "f":
            crossed.append((key, call, name, as_pairs(array)))  # complex: what leads there is judged end to end
            return tensor
        narrow = _narrow(array)
        if not learning.is_open(tensor):  # what a module would hand back is recorded even where nobody takes it
            own = learning.watched(model.framework.to_tensor(narrow, model.precision))
            crossed.append((key, call, name, own))
            return own
        # Adding the difference changes the value and lets the gradient pass as it is.
        own = tensor.clone() + model.framework.to_tensor(narrow.astype(np.float64) - array, model.precision)
        crossed.append((key, call, name, own))
        return own

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        key, layer = keys[path], model.framework.layer(own[path])

        def recorded(*args: Any, **kwargs: Any) -> Any:
            call, counts[key] = counts[key], counts[key] + 1
            tensors = given(layer, args, kwargs, is_tensor)
            entering = [rounded(tensor, key, call, f"in.{i}") for i, tensor in enumerate(tensors)]
            args, kwargs = exchanged((args, kwargs), tensors, entering, is_tensor)
            result = forward(*args, **kwargs)
            tensors = returned(layer, result, is_tensor)
            leaving = [rounded(tensor, key, call, f"out.{i}") for i, tensor in enumerate(tensors)]
            return exchanged(result, tensors, leaving, is_tensor)

        return recorded

    with learner.in_training(), model.framework.module_by_module(), wrapped_forwards(paired, wrap):
        outputs = learner.forward(inputs)
    heads = {name: tensor for name, tensor in outputs.items() if learning.is_open(tensor)}
    if not heads:
        raise Unavailable("no gradient reaches any output of the port")
    cotangents = draw_cotangents(heads, model, seed)
    tensors = [tensor for _, _, _, tensor in crossed if model.framework.is_tensor(tensor) and learning.is_open(tensor)]
    pulled = learning.pull_back(list(heads.values()), [cotangents[name] for name in heads], tensors)
    back = {id(tensor): gradient for tensor, gradient in zip(tensors, pulled, strict=True)}
    calls: dict[tuple[str, int], dict[str, Array]] = defaultdict(dict)
    for key, call, name, tensor in crossed:
        array = tensor if isinstance(tensor, np.ndarray) else model.framework.to_array(tensor)
        calls[key, call][name] = _narrow(array)
        gradient = back.get(id(tensor))
        if gradient is not None:
            calls[key, call][f"{name}'"] = _narrow(model.framework.to_array(gradient))
    for (key, call), arrays in calls.items():
        store.write(key, call, arrays)
    store.close()


def pull_modules(
    learner: Learner, keys: Mapping[str, str], inputs: Mapping[str, Array], store: CallStore, out: CallStore,
    nudged: bool = False,
) -> list[str]:  # fmt: skip
    """Pull every module's outputs back by itself.

    Args:
        learner: either side, in either precision.
        keys: module path to the key that both sides share.
        inputs: the rows of the recording.
        store: the recording.
        out: an empty store; gets ``input.I``, ``gradient.PARAMETER`` and ``part.KEY#CALL.I``: the gradients at the
            module's inputs, at its own parameters (by full name) and at what its parts gave back. On the torch side, a
            layer that is known to differ is written as Paddle would do it, and as it is under ``plain:…``.
        nudged: add about a unit in the last place to every cotangent, to see what rounding does. Inputs stay: where two
            are equal, a max-pool would hand the gradient to another.

    Returns:
        Keys of modules that the recording has no call of.
    """
    pulling = _Pulling(learner, keys, store, out, nudged)
    righted = paddles_backward(learner) if learner.side == "paddle" else contextlib.nullcontext()
    paired = _paired(learner.model, keys)
    with learner.in_training(), learner.framework.module_by_module(), righted, wrapped_forwards(paired, pulling.wrap):
        learner.forward(inputs)
    out.close()
    return pulling.strange


class _Pulling:
    """The pass of :func:`pull_modules`: what the modules that run now hand to their parts."""

    def __init__(
        self, learner: Learner, keys: Mapping[str, str], store: CallStore, out: CallStore, nudged: bool
    ) -> None:
        self.learner, self.learning, self.framework = learner, learner.learning, learner.framework
        self.model, self.keys, self.store, self.out, self.nudged = learner.model, keys, store, out, nudged
        self.counts = defaultdict[str, int](int)
        self.own = dict(self.framework.modules(self.model.root))
        self.whole = {path for path, module in self.own.items() if is_whole(self.framework.layer(module))}
        self.stack, self.strange = [_Frame()], list[str]()
        self.rng = np.random.default_rng(1)

    def wrap(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a module's forward that pulls its outputs back as it runs."""
        key, layer, is_tensor = self.keys[path], self.framework.layer(self.own[path]), self.framework.is_tensor

        def forced(*args: Any, **kwargs: Any) -> Any:
            call, self.counts[key] = self.counts[key], self.counts[key] + 1
            recorded = self.store.read(key, call)
            if recorded is None:
                self.strange.append(key)
                return forward(*args, **kwargs)
            parent, frame = self.stack[-1], _Frame()
            tensors = given(layer, args, kwargs, is_tensor)
            self._note_given(parent, tensors, recorded)
            fresh: dict[str, Any] = {}
            if f"in.{len(tensors) - 1}" in recorded and f"in.{len(tensors)}" not in recorded:
                entering = [self._enter(recorded, i, tensor, fresh) for i, tensor in enumerate(tensors)]
                args, kwargs = exchanged((args, kwargs), tensors, entering, is_tensor)
            self.stack.append(frame)
            try:
                result = forward(*args, **kwargs)
            finally:
                self.stack.pop()
            wanted = {**fresh, **frame.received, **self._gradients_of(path)}
            put_out = returned(layer, result, is_tensor)
            recorded |= {name: self._moved(array) for name, array in recorded.items() if name.endswith("'")}
            self.out.write(key, call, _pulled(self.learner, self.own[path], put_out, recorded, frame, wanted))
            leaving = [self._leave(recorded, i, tensor, parent, f"{key}#{call}") for i, tensor in enumerate(put_out)]
            return exchanged(result, put_out, leaving, is_tensor)

        return forced

    def _note_given(self, parent: _Frame, tensors: list[Any], recorded: Mapping[str, Array]) -> None:
        """Note what the module that calls hands over, with the cotangents that come back to it."""
        for index, tensor in enumerate(tensors):
            cotangent = recorded.get(f"in.{index}'")
            if cotangent is not None and self.learning.is_open(tensor):
                parent.given.append(tensor)
                parent.cotangents.append(self.framework.to_tensor(self._moved(cotangent), self.model.precision))

    def _enter(self, recorded: Mapping[str, Array], index: int, tensor: Any, fresh: dict[str, Any]) -> Any:
        """Return the recorded input in a tensor's place, to be watched under its name in ``fresh``."""
        array = recorded[f"in.{index}"]
        if array.shape != tuple(tensor.shape):  # called otherwise, as the forward pass says
            return tensor
        made = self.framework.to_tensor(array, self.model.precision)
        if array.dtype.kind != "f":
            return made
        fresh[f"input.{index}"] = self.learning.watched(made)
        return fresh[f"input.{index}"].clone()  # a module may write into it

    def _gradients_of(self, path: str) -> dict[str, Any]:
        """Return the parameters that are a module's own, by the name of their gradient."""
        learned = self.learning.parameters(self.model.root)
        names = [f"{path}.{name}" if path else name for name in self.framework.own_tensors(self.own[path])]
        if path in self.whole:
            names = [name for name in learned if name.startswith(f"{path}." if path else "")]
        return {f"gradient.{name}": learned[name] for name in names if name in learned}

    def _leave(self, recorded: Mapping[str, Array], index: int, tensor: Any, parent: _Frame, called: str) -> Any:
        """Return the recorded output in a tensor's place, as what the module that calls receives."""
        array = recorded.get(f"out.{index}")
        if array is None or array.dtype.kind != "f" or array.shape != tuple(tensor.shape):
            return tensor
        made = self.learning.watched(self.framework.to_tensor(array, self.model.precision))
        parent.received[f"part.{called}.{index}"] = made
        return made.clone()

    def _moved(self, cotangent: Array) -> Array:
        if not self.nudged:
            return cotangent
        noise = self.rng.uniform(-1, 1, cotangent.shape)
        return np.asarray(cotangent * (1 + EPSILON[self.model.precision] * noise))


def _pulled(
    learner: Learner, module: Any, put_out: list[Any], recorded: Mapping[str, Array], frame: _Frame,
    wanted: Mapping[str, Any],
) -> dict[str, Array]:  # fmt: skip
    """Return the products of one call; where nothing is reached, zeros."""
    framework, learning, precision = learner.framework, learner.learning, learner.model.precision
    outputs, arrays = list(frame.given), []
    for index, tensor in enumerate(put_out):
        cotangent = recorded.get(f"out.{index}'")
        if cotangent is not None and learning.is_open(tensor):
            outputs.append(tensor)
            arrays.append(cotangent.astype(np.float64))
    rule = BACKWARD.get(framework.layer(module)) if learner.side == "torch" and put_out else None
    variants = {"": arrays}
    if rule is not None and len(arrays) == 1:
        factors = factors_of("torch", framework.layer(module), module, tuple(recorded["in.0"].shape))
        variants = {"": [arrays[0] * factors], "plain:": arrays}
    made: dict[str, Array] = {}
    for prefix, chosen in variants.items():
        cotangents = [*frame.cotangents, *(framework.to_tensor(array, precision) for array in chosen)]
        pulled = learning.pull_back(*_merged(outputs, cotangents), list(wanted.values())) if outputs and wanted else []
        found = dict(zip(wanted, pulled or [None] * len(wanted), strict=True))
        for name, gradient in found.items():
            made[f"{prefix}{name}"] = (
                np.zeros(tuple(wanted[name].shape)) if gradient is None else framework.to_array(gradient)
            )
    return made


def _merged(tensors: list[Any], cotangents: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return each tensor once, with the sum of its cotangents: one is handed to several parts."""
    kept: dict[int, tuple[Any, Any]] = {}
    for tensor, cotangent in zip(tensors, cotangents, strict=True):
        known = kept.get(id(tensor))
        kept[id(tensor)] = tensor, cotangent if known is None else known[1] + cotangent
    return [tensor for tensor, _ in kept.values()], [cotangent for _, cotangent in kept.values()]


def draw_cotangents(
    outputs: Mapping[str, Any], model: Any, seed: int, perturbed: int = 0,
    batch_axes: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Draw what is pulled back from every output: normal numbers, the same for both sides.

    ``perturbed``: above 0, for rows in reverse, and with about one unit in the last place added, seeded by this number.
    """
    drawn = {}
    for place, (name, tensor) in enumerate(outputs.items()):
        normal = np.random.default_rng([seed, place]).standard_normal(tuple(tensor.shape))
        array: Array = normal.astype(np.float32)
        if perturbed:
            share = np.random.default_rng([perturbed, seed, place]).uniform(-1, 1, array.shape)
            array = array * (1 + EPSILON[model.precision] * share)
            axis = (batch_axes or {}).get(name, 0)
            array = array if axis is None or not array.ndim else np.flip(array, axis).copy()
        drawn[name] = model.framework.to_tensor(array, model.precision)
    return drawn


def _paired(model: Any, keys: Mapping[str, str]) -> list[tuple[str, Any]]:
    return [(path, module) for path, module in model.framework.modules(model.root) if path in keys]


def _narrow(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind == "f" else array
