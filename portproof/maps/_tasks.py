"""What a side answers while its map is looked for: run on values drawn here, with the gradient of every tensor told."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput, one_line, require_memory
from portproof._numbers import EPSILON, Array, Arrays
from portproof.convert._transfer import taken_apart
from portproof.frameworks import load_framework
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._tree import name_outputs
from portproof.maps._units import FLOATS, orders_of
from portproof.maps._values import Fill, drawn, outputs_sketched, sketched
from portproof.runners._eager import Eager
from portproof.sides._roles import never_kept
from portproof.sides._tasks import Description, described
from portproof.sides._workplace import Workplace
from portproof.training._learning import load_learning


@dataclass(frozen=True)
class Look:
    """What a side says of its model in float64.

    Attributes:
        order: module path to its place among the first calls of all modules.
        built: digest of every tensor that is not learned: equal ones hold equal values, in whatever layout; "" for one
            that is the same all over.
    """

    order: dict[str, int]
    built: dict[str, str]


@never_kept
class MapTasks:
    """Tasks on one side; see :class:`portproof.sides._workplace.Workplace`."""

    spoken = "map."

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._kept: Arrays = {}
        self._held: dict[str, tuple[object, ...]] = {}  # tensor to the fills that it holds, and how they are nudged

    def describe(self) -> Description:
        """Describe the state dict and the modules, of a float32 model without parameters where one can be built.

        A model of 300 million parameters is drawn in ten seconds, and none of its values is asked for.
        """
        job = replace(self.place.job, precision="float32", hollow=True, weights=None)
        try:
            with Eager(job) as hollow:
                return described(hollow.model)
        except Exception as error:  # its factory, say, reads what its parameters hold
            require_memory(error)
            return described(self.place.model("float32"))

    def look(self, inputs: Path) -> Look:
        """Build the float64 model, keep what it holds beside its parameters, and note the order of its calls."""
        with load_framework(self.place.job.side).repeating_draws():
            model = self.place.model("float64")
        self._held.clear()
        learned = load_learning(model.framework).parameters(model.root)
        held = [
            e for e in model.entries() if e.kind != "parameter" or (learned and e.name not in learned and not e.tied)
        ]
        self._kept = model.state([entry.name for entry in held])
        order: dict[str, int] = {}

        def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: Any, **kwargs: Any) -> Any:
                order.setdefault(path, len(order))
                return forward(*args, **kwargs)

            return called

        with wrapped_forwards(model.framework.modules(model.root), wrap):
            model.call(load_file(inputs))
        return Look(order, {name: _digest(array) for name, array in self._kept.items()})

    def probe(
        self, fills: Sequence[Fill], places: Sequence[int], inputs: Path, out: Path, seed: int, nudged: int,
        backward: bool,
    ) -> str:  # fmt: skip
        """Run the model on drawn values; writes ``output|NAME`` and, of the fill at each place, ``gradient|PLACE``.

        Args:
            fills: of all tensors that get values; see :mod:`portproof.maps._values`.
            places: of the fills whose gradients are asked for.
            inputs: a few rows.
            out: file to write; a tensor that no gradient reaches is not in it. Further orders of axes are told of what
                has no values of its own yet.
            seed: of what the outputs are projected on.
            nudged: above 0: move every value, and what is pulled back, by about a unit in the last place.
            backward: whether to ask for gradients.

        Returns:
            Why there is no backward pass, "" where there is one or none was asked for.
        """
        model = self.place.model("float64")
        self._fill(model, fills, nudged)
        rows, reason = load_file(inputs), ""
        found: Arrays | None = None
        if backward:
            try:
                found = _differentiated(model, rows, fills, places, seed, nudged)
            except Exception as error:
                require_memory(error)
                reason = one_line(error, 160)
        if found is None:
            found = {f"output|{name}": array for name, array in model.run(rows).items()}
        save_arrays(out, found)
        return reason

    def perturb(self, fills: Sequence[Fill], places: Sequence[int], inputs: Path, out: Path) -> None:
        """Tell some fills by what another value of each does to the outputs; writes ``gradient|PLACE`` as above.

        One forward pass each: for what no gradient reaches.
        """
        model, rows = self.place.model("float64"), load_file(inputs)
        self._fill(model, fills, 0)
        base = _floating(model.run(rows))
        found: Arrays = {}
        for place in places:
            tensor = fills[place].tensor
            ours = [index for index, fill in enumerate(fills) if fill.tensor == tensor]
            other = [_other(fills[index]) if index == place else fills[index] for index in ours]
            before = model.state([tensor])
            moved = dict(drawn(other)) or {tensor: before[tensor] * 1.5 + 0.5}
            self._write(model, moved.items())
            after = _floating(model.run(rows))
            told = outputs_sketched({name: after[name] - base[name] for name in base})
            if np.isfinite(told).all():
                shape = tuple(size for size in fills[place].shape if size != 1)
                found[f"gradient|{place}"] = np.repeat(told, len(orders_of(shape)), axis=0)  # none is told from others
            self._write(model, before.items())
        save_arrays(out, found)

    def restore(self) -> None:
        """Give back what the model held beside its parameters; these get others anyway."""
        self._write(self.place.model("float64"), self._kept.items())
        self._held.clear()

    def _fill(self, model: Model, fills: Sequence[Fill], nudged: int) -> None:
        """Write the values of some fills into the tensors that hold others: most hold theirs from the run before."""
        wanted = {tensor: (nudged, *parts) for tensor, parts in itertools.groupby(fills, key=lambda fill: fill.tensor)}
        others = [fill for fill in fills if self._held.get(fill.tensor) != wanted[fill.tensor]]
        self._write(model, drawn(others, nudged))
        self._held |= wanted

    def _write(self, model: Model, arrays: Iterable[tuple[str, Array]]) -> None:
        tensors = model.tensors()
        for name, array in arrays:
            model.write(tensors[name], array)


def _other(fill: Fill) -> Fill:
    return replace(fill, key=f"{fill.key} otherwise") if fill.key else fill


def _floating(outputs: Mapping[str, Array]) -> Arrays:
    return {name: array for name, array in outputs.items() if array.dtype.kind == "f"}


def _differentiated(
    model: Model, rows: Mapping[str, Array], fills: Sequence[Fill], places: Sequence[int], seed: int, nudged: int
) -> Arrays:
    """Return the outputs, and what the gradient of their projection at some fills is told by, as ``probe`` says."""
    framework, learning = model.framework, load_learning(model.framework)
    model.refresh()
    own = model.tensors()
    names = list(dict.fromkeys(fills[place].tensor for place in places))
    with (
        warnings.catch_warnings(action="ignore"),
        learning.opened([own[name] for name in dict.fromkeys(fill.tensor for fill in fills)]),
        framework.differentiable(model.root),
        framework.module_by_module(),
        framework.computing_in(model.precision, Counter(), lambda: ""),
    ):
        args, kwargs = model.arguments(rows)
        result = name_outputs(model.root(*args, **kwargs), tuple(model.port.outputs), framework.is_tensor)
        heads = {name: tensor for name, tensor in result.items() if learning.is_open(tensor)}
        if not heads:
            raise BadInput("no gradient reaches any output")
        cotangents = [
            framework.to_tensor(_cotangent(name, tuple(tensor.shape), seed, nudged), "float64")
            for name, tensor in heads.items()
        ]
        pulled = learning.pull_back(list(heads.values()), cotangents, [own[name] for name in names]) if names else []
    found = {f"output|{name}": array for name, array in model.arrays(result).items()}
    gradients = dict(zip(names, pulled, strict=True))
    del heads, cotangents, result, pulled  # and with them the graph
    whole, parts = "", list[Array]()
    for place in places:
        fill = fills[place]
        gradient = gradients[fill.tensor]
        if gradient is None:
            continue
        if fill.tensor != whole:  # the parts of a tensor follow each other
            whole, parts = fill.tensor, [framework.to_array(gradient, copy=False)]
            if fill.view is not None:
                parts = [fill.view.of(parts[0])]
            if fill.cut is not None:
                parts = taken_apart(parts[0], fill.cut.axis, fill.cut.sizes, fill.cut.groups)
        found[f"gradient|{place}"] = sketched(parts[fill.part], fill, every=fill.symmetric and not nudged)
    return found


def _cotangent(name: str, shape: tuple[int, ...], seed: int, nudged: int) -> Array:
    """Draw what is pulled back from an output, by its name."""
    key = int.from_bytes(name.encode(), "little")
    normal = np.random.default_rng([seed, key]).standard_normal(shape)
    if nudged:
        normal = normal * (1 + EPSILON["float64"] * np.random.default_rng([nudged, seed, key]).uniform(-1, 1, shape))
    return np.asarray(normal)


def _digest(array: Array) -> str:
    """Return what equal values share, in whatever order they lie; floats to single precision."""
    flat = array.reshape(-1)
    if flat.size and np.all(flat == flat[0]):
        return ""
    flat = np.sort(flat.astype(np.float32) + np.float32(0) if str(array.dtype) in FLOATS else flat)
    return hashlib.sha256(f"{flat.dtype}{flat.size}".encode() + flat.tobytes()).hexdigest()[:16]
