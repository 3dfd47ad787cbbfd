"""Module by module on the other side's input: taps recorded on one side, forced into the other.

One forward records, for every paired module, what it received and what it returned; each value handed on is rounded
to float32, so that a float64 and a float32 run of a module can be given exactly the same numbers. Another forward,
of either side and precision, is then *forced*: each module gets the recorded input in place of its own and hands on
the recorded output. So a fault shows in the module that has it and nowhere else, and several show in one pass: a
module that returns something else on the same input computes something else, and a module that receives something
else although every module before it was corrected has a parent that wires it otherwise.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from portproof._errors import ModelRaised, require_memory, told_with_line
from portproof._numbers import EPSILON, Array, Difference, compare, picture
from portproof.frameworks._calls import exchanged, given, matched, named, parameters, returned
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._tree import name_outputs
from portproof.ports._port import Side
from portproof.replay._reordered import reordered
from portproof.replay._rounding import least_bound, rounding_bound, term_by_term
from portproof.replay._taps import (
    LOUD,
    LOUDNESS,
    OTHER_COUNT,
    RECEIVED,
    RETURNED,
    SAME_ROWS,
    SAME_SIZE,
    WROTE,
    TapDifference,
    TapStore,
)
from portproof.replay._writes import Fed, write_back

#: A received tensor that is the recorded one, to the last bit.
_NOTHING = Difference(1, 0.0, 0.0, 0.0, 0.0, 0.0, None, 0.0, float("inf"))


class _Place:
    """Stands for a tensor in a structure whose tensors were taken out, wherever it stood: a skip is returned twice."""


@dataclass(frozen=True)
class Shape:
    """What a call returned, without its values.

    Attributes:
        tree: with a place for each tensor that a recorded one stands for.
        places: those, in their order.
        kept: which of the recorded tensors they are.
        sizes: of them, on this side.
        inside: the calls that it made itself, by key.
    """

    tree: Any
    places: list[_Place]
    kept: list[int]
    sizes: list[tuple[int, ...]]
    inside: list[str]


def record(model: Model, pairs: Mapping[str, str], inputs: Mapping[str, Array], store: TapStore) -> None:
    """Run a float64 model and write what every paired module receives and returns.

    Args:
        model: the side that leads.
        pairs: this side's module path to the module's key.
        inputs: a few rows.
        store: an empty store.

    Raises:
        ModelRaised: the forward raised.
    """
    counts: dict[str, int] = defaultdict(int)
    is_tensor, paired = model.framework.is_tensor, _paired(model, pairs)
    own = dict(paired)

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        layer, accepts = model.framework.layer(own[path]), parameters(forward)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            call, counts[path] = counts[path], counts[path] + 1
            names = named(layer, accepts, args, kwargs, is_tensor)
            tensors = given(layer, args, kwargs, is_tensor)
            received = _arrays(model, tensors)
            args, kwargs = _replaced(model, (args, kwargs), tensors, received)
            fed = Fed.now(model, given(layer, args, kwargs, is_tensor))
            result = forward(*args, **kwargs)
            outputs = _returned(model, path, layer, result)
            put_out = _arrays(model, outputs)
            rounded = [_tensor(model, array) for array in put_out]
            wrote, handed_on = write_back(model, tensors, fed, received, outputs, rounded)
            loud = _loud(model, layer, forward, args, kwargs, received) if path in silent else []
            taps = {RECEIVED: received, RETURNED: put_out, LOUD: loud}
            store.write(pairs[path], call, names=names, wrote=wrote, **taps)
            return exchanged(result, outputs, handed_on, is_tensor)

        return recorded

    silent = {
        path for path, module in paired if model.framework.is_leaf(module) and not model.framework.own_tensors(module)
    }
    with model.framework.sooner(), model.framework.module_by_module(), wrapped_forwards(paired, wrap):
        model.call(inputs)
    store.close()


def force(
    model: Model,
    pairs: Mapping[str, str],
    inputs: Mapping[str, Array],
    store: TapStore,
    *,
    shapes: dict[tuple[str, int], Shape] | None = None,
    only: Collection[str] | None = None,
    plain: bool = False,
    caps: bool = False,
    exactly: Collection[str] = (),
    pictures: bool = False,
) -> list[TapDifference]:
    """Run a model with every paired module on the recorded input, and compare what it received and returned.

    Args:
        model: either side, in either precision.
        pairs: this side's module path to the module's key.
        inputs: the rows of the recording.
        store: the recording.
        shapes: filled with the structure of what each call returned; together with ``only`` it is used.
        only: paths of modules on this side. Modules that neither hold one nor lie inside one are not run and hand on
            what was recorded: nothing that these modules do can reach them.
        plain: force nothing and compare what is returned end to end, as far as the first error reaches.
        caps: also say how far float32 can honestly carry each output, at least.
        exactly: keys of modules of which that is computed, at the cost of a second run of each.
        pictures: also count the values of each output, for a page.

    Returns:
        The differences, in the order of the calls.
    """
    paired = _paired(model, pairs)
    shapes = {} if shapes is None else shapes
    forced = _Forced(model, pairs, dict(paired), store, shapes, only, plain, caps, exactly, pictures)
    with model.framework.sooner(), model.framework.module_by_module(), wrapped_forwards(paired, forced.wrap):
        try:
            model.call(inputs)
        except ModelRaised as error:
            forced.cut |= {error.module, *(path for path in pairs if _holds(path, error.module))}
            forced.found.append(_unlike(pairs.get(error.module, ""), 0, RETURNED, f"raised {error.reason}"))
    if only is None:
        forced.found += _never_called(pairs, store, forced.counts, forced.cut)
    return forced.found


def _never_called(
    pairs: Mapping[str, str], store: TapStore, counts: Mapping[str, int], cut: Collection[str]
) -> list[TapDifference]:
    """Return the calls that the other side makes and this one does not, of modules whose whole makes all of its own.

    What lies in a module that is called less is called less for that, and what lies in one that raised may be.

    Args:
        pairs, store: see :func:`force`.
        counts: calls of each key.
        cut: paths of the modules that raised.
    """
    missing = [(key, call) for key, call in store.calls() if call >= counts[key]]
    short = {key for key, _ in missing}
    paths = {key: path for path, key in pairs.items()}

    def is_of_its_own(key: str) -> bool:
        wholes = [whole for whole in pairs if _holds(whole, paths[key])]
        return max(wholes, key=len, default="") not in cut and not any(pairs[whole] in short for whole in wholes)

    return [
        _unlike(key, call, RECEIVED, "never called where the other side calls it")
        for key, call in missing
        if key in paths and is_of_its_own(key)
    ]


def _holds(whole: str, path: str) -> bool:
    """Whether a module lies inside another."""
    return whole != path and (not whole or path.startswith(f"{whole}."))


@dataclass
class _Forced:
    """One forced forward; its modules, by path, and what :func:`force` is given; ``cut`` are the paths that raised."""

    model: Model
    pairs: Mapping[str, str]
    modules: Mapping[str, Any]
    store: TapStore
    shapes: dict[tuple[str, int], Shape]
    only: Collection[str] | None
    plain: bool
    caps: bool
    exactly: Collection[str]
    pictures: bool
    found: list[TapDifference] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)

    def wrap(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return what is called in place of a module's forward."""
        key, layer = self.pairs[path], self.model.framework.layer(self.modules[path])
        accepts = parameters(forward)

        def called(*args: Any, **kwargs: Any) -> Any:
            call, self.counts[key] = self.counts[key], self.counts[key] + 1
            self.calls.append(key)
            recorded = self.store.read(key, call)
            if recorded is None:
                text = f"call {call + 1} of a module that the other side calls less"
                self.found.append(_unlike(key, call, RECEIVED, text))
                return forward(*args, **kwargs)
            received, put_out, loud = recorded
            if self.plain:
                result = forward(*args, **kwargs)
                outputs = _returned(self.model, path, layer, result)
                self._note(key, call, RETURNED, _arrays(self.model, outputs), put_out)
                return result
            if self.only is not None and not any(_related(path, other) for other in self.only):
                for inner in self.shapes[key, call].inside:  # a module that is shared is called elsewhere, too
                    self.counts[inner] += 1
                return self._as_it_was(key, call, put_out)
            own = named(layer, accepts, args, kwargs, self.model.framework.is_tensor)
            pairs = matched(own, self.store.names(key, call))
            return self._run(path, call, forward, args, kwargs, pairs, received, put_out, loud)

        return called

    def _run(
        self, path: str, call: int, forward: Callable[..., Any], args: Any, kwargs: Any,
        pairs: Sequence[tuple[int, int]], received: list[Array], put_out: list[Array], loud: list[Array],
    ) -> Any:  # fmt: skip
        """Run a module on what was recorded, note what differs, and hand on what was recorded."""
        model, is_tensor, module = self.model, self.model.framework.is_tensor, self.modules[path]
        key, layer = self.pairs[path], model.framework.layer(module)
        own = given(layer, args, kwargs, is_tensor)
        self._note(
            key, call, RECEIVED, [model.framework.to_array(tensor, copy=False) for tensor in own], received, pairs
        )
        # From here on in the order of this side's call.
        pairs = sorted(pairs)
        tensors = [own[i] for i, _ in pairs]
        received = [_fitted(received[j], tuple(own[i].shape)) for i, j in pairs]
        is_whole = len(pairs) == len(own)
        args, kwargs = _replaced(model, (args, kwargs), tensors, received)
        now = given(layer, args, kwargs, is_tensor)
        begun = len(self.calls)
        fed = Fed.now(model, [now[i] for i, _ in pairs] if len(now) == len(own) else [])
        try:
            result = forward(*args, **kwargs)
        except Exception as error:  # a module that cannot take the other side's input is the finding itself
            require_memory(error)
            self.cut.add(path)
            # What did not fit was left as it is: then it raised on its own side's input, and its whole is at fault.
            if all(_fits(array, tensor) for tensor, array in zip(tensors, received, strict=True)):
                self.found.append(_unlike(key, call, RETURNED, f"raised {told_with_line(error)}"))
            if (key, call) in self.shapes:
                return self._as_it_was(key, call, put_out)
            made = [_tensor(model, array) for array in put_out]
            return made[0] if len(made) == 1 else tuple(made)
        outputs = _returned(model, path, layer, result)
        cap = self._cap(path, received, put_out[0], forward) if self.caps and put_out else None
        mine = _arrays(model, outputs)
        single = len(received) == len(mine) == len(put_out) == 1
        if model.precision == "float32" and single and received[0].dtype.kind == "f":
            mine = [_farther(mine[0], term_by_term(layer, received[0].astype(np.float32), mine[0]), put_out[0])]
        self._note(key, call, RETURNED, mine, put_out, cap=cap)
        if loud and is_whole:
            self._note_loud(key, call, _loud(model, layer, forward, args, kwargs, received), loud, received)
        kept = _exchangeable(outputs, put_out)
        shared, own_shapes = [outputs[i] for i, _ in kept], [tuple(outputs[i].shape) for i, _ in kept]
        if self.only is None:
            places = [_Place() for _ in shared]
            tree = exchanged(result, shared, places, is_tensor)
            self.shapes[key, call] = Shape(tree, places, [j for _, j in kept], own_shapes, self.calls[begun:])
        recorded = self._handed_on([put_out[j] for _, j in kept], own_shapes)
        wrote, handed_on = write_back(model, tensors, fed, received, shared, recorded)
        if wrote != self.store.wrote(key, call):
            side = Side(model.framework.side)
            does, does_not = (side.title, side.other.title)[:: 1 if wrote else -1]
            self.found.append(_unlike(key, call, WROTE, f"it writes into its input in {does} and not in {does_not}"))
        return exchanged(result, shared, handed_on, is_tensor)

    def _cap(self, path: str, received: list[Array], returned: Array, forward: Callable[..., Any]) -> float | None:
        if self.pairs[path] in self.exactly:
            return rounding_bound(self.model, self.modules[path], received, returned, forward)
        return least_bound(self.model, self.modules[path], received, returned)

    def _note_loud(self, key: str, call: int, mine: list[Array], theirs: list[Array], received: list[Array]) -> None:
        """Add how what a layer returns of a loud input differs, and from which input on."""
        self._note(key, call, LOUD, mine, theirs)
        if self.model.precision == "float64" and len(mine) == len(theirs) == len(received):
            self.found[-1] = replace(self.found[-1], acts_from=_acts_from(received[-1], mine[-1], theirs[-1]))

    def _as_it_was(self, key: str, call: int, put_out: list[Array]) -> Any:
        """Return what a call returned when nothing was planted, with what was recorded in it."""
        shape = self.shapes[key, call]
        made = self._handed_on([put_out[i] for i in shape.kept], shape.sizes)
        return exchanged(shape.tree, shape.places, made, _is_place)

    def _handed_on(self, put_out: list[Array], own_shapes: Sequence[tuple[int, ...]]) -> list[Any]:
        return [_tensor(self.model, _fitted(a, shape)) for a, shape in zip(put_out, own_shapes, strict=True)]

    def _note(
        self, key: str, call: int, role: str, mine: list[Array], theirs: list[Array],
        pairs: Sequence[tuple[int, int]] | None = None, cap: float | None = None,
    ) -> None:  # fmt: skip
        """Add how the tensors of one call differ from those that were recorded.

        Args:
            key, call, role: of the tap.
            mine, theirs: tensors of this side, and as they were recorded.
            pairs: which belong together, in the order of ``theirs``; None: in their order.
            cap: see :class:`TapDifference`.
        """
        if len(mine) != len(theirs):
            text = f"{len(mine)}{OTHER_COUNT}{len(theirs)} were expected"
            self.found.append(_unlike(key, call, role, text))
        pairs = _aligned(mine, theirs) if pairs is None else pairs
        for own, index in pairs:
            one, reference = _broadcast(mine[own], theirs[index])
            if role == RECEIVED and np.array_equal(one, reference):
                difference = _NOTHING
            else:
                difference = compare(one, reference, self.model.precision, detail=False)
            order = self._order(role, difference, one, reference)
            if one.shape != reference.shape and one.size == reference.size:
                rows = SAME_ROWS if one.shape[-1:] == reference.shape[-1:] else ""
                said = replace(difference, mismatch=f"{difference.mismatch}{SAME_SIZE}{rows}")
                self.found.append(TapDifference(key, call, role, index, said, order=order))
                difference = compare(one.reshape(reference.shape), reference, self.model.precision, detail=False)
            seen = picture(one, reference) if self.pictures and role == RETURNED and index == call == 0 else None
            self.found.append(TapDifference(key, call, role, index, difference, cap, seen, order=order))

    def _order(self, role: str, difference: Difference, one: Array, reference: Array) -> str:
        """Say in which order a tensor that is far out holds the recorded values."""
        near = difference.mismatch is None and difference.rms < EPSILON["float32"]
        if near or role == LOUD or self.plain or self.model.precision != "float64":
            return ""
        return reordered(one, reference)


def _exchangeable(outputs: Sequence[Any], put_out: Sequence[Array]) -> list[tuple[int, int]]:
    """Return which outputs a recorded one can stand for: all, or those that fit where their numbers differ."""
    pairs = _aligned(outputs, put_out)
    if len(outputs) == len(put_out):
        return pairs
    return [(i, j) for i, j in pairs if _fitted(put_out[j], tuple(outputs[i].shape)).shape == tuple(outputs[i].shape)]


def _aligned(mine: Sequence[Any], theirs: Sequence[Any]) -> list[tuple[int, int]]:
    """Pair tensors in their order; by their shapes where those tell which: a backbone's maps, the last one first."""
    if len(mine) == len(theirs):
        own, others = ([tuple(tensor.shape) for tensor in tensors] for tensors in (mine, theirs))
        if own != others and sorted(own) == sorted(others):  # those of one shape follow each other
            ranked = (sorted(range(len(shapes)), key=shapes.__getitem__) for shapes in (own, others))
            return sorted(zip(*ranked, strict=True), key=lambda pair: pair[1])
    if len(mine) > len(theirs):
        return [(i, j) for j, i in _aligned(theirs, mine)]
    few, many = [tuple(tensor.shape) for tensor in mine], [tuple(tensor.shape) for tensor in theirs]
    first, last = _places(few, many), _places(few[::-1], many[::-1])
    told = first is not None and last is not None and first == [len(many) - 1 - place for place in reversed(last)]
    return list(enumerate(first if told and first is not None else range(len(few))))


def _places(few: Sequence[tuple[int, ...]], many: Sequence[tuple[int, ...]]) -> list[int] | None:
    """Return the first places at which some shapes stand among others, in their order; None where they do not."""
    places: list[int] = []
    for shape in few:
        found = next((i for i in range(places[-1] + 1 if places else 0, len(many)) if many[i] == shape), None)
        if found is None:
            return None
        places.append(found)
    return places


def _broadcast(one: Array, other: Array) -> tuple[Array, Array]:
    """Return two arrays in one shape where an axis of 1 on one side stands for any number on the other."""
    sizes = list(zip(one.shape, other.shape, strict=False))
    if one.shape == other.shape or one.ndim != other.ndim:
        return one, other
    if all(a in (1, b) for a, b in sizes):
        return np.broadcast_to(one, other.shape), other
    return (one, np.broadcast_to(other, one.shape)) if all(b in (1, a) for a, b in sizes) else (one, other)


def _farther(one: Array, other: Array | None, reference: Array) -> Array:
    """Return the one of two honest results that lies farther from a reference."""
    if other is None or one.shape != reference.shape:
        return one
    distances = [float(np.square(array.astype(np.float64) - reference).sum()) for array in (one, other)]
    return other if distances[1] > distances[0] else one


def _related(path: str, other: str) -> bool:
    """Whether one of two module paths holds the other."""
    return not path or not other or path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")


def _is_place(value: object) -> bool:
    return isinstance(value, _Place)


def _paired(model: Model, pairs: Mapping[str, str]) -> list[tuple[str, Any]]:
    return [(path, module) for path, module in model.framework.modules(model.root) if path in pairs]


def _returned(model: Model, path: str, layer: str, result: Any) -> list[Any]:
    """Return the tensors that a module returns, each once; of the whole model those that the port names."""
    if path:
        return returned(layer, result, model.framework.is_tensor)
    named = name_outputs(result, tuple(model.port.outputs), model.framework.is_tensor)
    return returned("", list(named.values()), model.framework.is_tensor)


def _arrays(model: Model, tensors: Sequence[Any]) -> list[Array]:
    return [model.framework.to_array(tensor) for tensor in tensors]


def _loud(
    model: Model, layer: str, forward: Callable[..., Any], args: Any, kwargs: Any, received: list[Array]
) -> list[Array]:
    """Return what a layer puts out for its input times ``LOUDNESS``; nothing where it takes no such input."""
    louder = [array * np.float32(LOUDNESS) if array.dtype.kind == "f" else array for array in received]
    is_tensor = model.framework.is_tensor
    args, kwargs = _replaced(model, (args, kwargs), given(layer, args, kwargs, is_tensor), louder)
    try:
        return _arrays(model, returned(layer, forward(*args, **kwargs), is_tensor))
    except Exception as error:  # a layer may refuse values beyond its domain; what it does within it is judged
        require_memory(error)
        return []


def _acts_from(received: Array, one: Array, other: Array) -> float | None:
    """Return the smallest loud input at which two elementwise results differ by more than float32 rounds."""
    if not received.shape == one.shape == other.shape or received.dtype.kind != "f":
        return None
    apart = np.abs(one - other) > EPSILON["float32"] * np.maximum(np.abs(one), np.abs(other))
    return float(np.abs(received[apart]).min() * LOUDNESS) if apart.any() else None


def _replaced(model: Model, tree: Any, tensors: Sequence[Any], arrays: Sequence[Array]) -> Any:
    """Return a structure with some tensors replaced by arrays.

    An array that does not fit leaves the tensor as it is: a mask of another meaning, say, which a difference of shape
    gives away.
    """
    made = [
        _tensor(model, _fitted(array, tuple(tensor.shape))) if _fits(array, tensor) else tensor
        for tensor, array in zip(tensors, arrays, strict=True)
    ]
    return exchanged(tree, tensors, made, model.framework.is_tensor)


def _fits(array: Array, tensor: Any) -> bool:
    """Whether an array can stand for a tensor."""
    return bool(_fitted(array, tuple(tensor.shape)).shape == tuple(tensor.shape))


def _fitted(array: Array, shape: tuple[int, ...]) -> Array:
    """Return an array in a shape: broadcast, or one of the rows that are all the same, or of as many floats.

    As it is where it does not fit.
    """
    if array.shape == shape:
        return array
    if array.ndim == len(shape) and all(a == b or 1 in (a, b) for a, b in zip(array.shape, shape, strict=True)):
        alike = array[tuple(slice(0, 1) if size == 1 else slice(None) for size in shape)]
        if np.array_equal(np.broadcast_to(alike, array.shape), array):
            return np.broadcast_to(alike, shape)
    return array.reshape(shape) if array.dtype.kind in "fc" and array.size == math.prod(shape) else array


def _tensor(model: Model, array: Array) -> Any:
    if array.dtype.kind in "fc":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32 if array.dtype.kind == "f" else np.complex64, copy=False)
    return model.framework.to_tensor(array, model.precision)


def _unlike(key: str, call: int, role: str, text: str) -> TapDifference:
    infinite = float("inf")
    nothing = Difference(0, infinite, infinite, infinite, infinite, infinite, None, 0.0, 0.0, text)
    return TapDifference(key, call, role, 0, nothing)
