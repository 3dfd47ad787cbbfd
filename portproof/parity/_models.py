"""A port made of two models that a person has at hand, and of inputs for them: names are told by one forward."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._errors import BadInput, ModelRaised
from portproof._numbers import Array, Arrays
from portproof.frameworks import load_framework
from portproof.frameworks._model import Model
from portproof.frameworks._tree import names_of
from portproof.judge._found import Found
from portproof.judge._report import Culprit
from portproof.ports._hints import framework_of
from portproof.ports._port import LEADING, Input, Port
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks
from portproof.sides._weights import factory

#: Rows of the forward that tells the outputs: few, and a number that few axes have by chance.
TRIAL_ROWS = 3


@dataclass(frozen=True)
class Models:
    """Two models as a port.

    Attributes:
        port: whose factories copy the models that were given, so that those are never written to.
        rows: input name to array, the first rows that the port is judged on.
        alive: whether both are models that hold weights, and no factories.
    """

    port: Port
    rows: dict[str, Array]
    alive: bool


def models_as_port(torch: Any, paddle: Any, inputs: Any) -> Models:
    """Return two models as a port.

    Args:
        torch, paddle: a model, or a callable without arguments that makes one; None for no such side.
        inputs: an array or a tensor of either framework, ``(rows, …)``; a tuple or list of them in the order of the
            models' arguments; or a dict, which is handed over by keyword where both forwards have parameters of those
            names, whole where they take one argument of another name, and by position else. What has no first axis of
            as many rows as the first input is the same for all rows.

    Raises:
        BadInput: what was given is no model or no inputs, or the two return different outputs.
        ModelRaised: no model can be run on the inputs.
        Unavailable: a framework is not installed.
    """
    given = {side: model for side, model in (("torch", torch), ("paddle", paddle)) if model is not None}
    for side, model in given.items():
        _require_side(side, model)
    factories = {side: _factory(side, model) for side, model in given.items()}
    arrays = _arrays(inputs)
    provisional = Port("models", factories.get("paddle"), factories.get("torch"), {"x": Input((1,))})
    built: dict[str, Model] = {
        side: Model(load_framework(side), provisional, factories[side], "float32") for side in LEADING if side in given
    }
    parameters = {side: _parameters(model.root) for side, model in built.items()}
    named, call = _named(arrays, list(parameters.values()))
    counts = {name: array.shape[0] for name, array in named.items() if array.ndim}
    if not counts:
        raise BadInput("inputs: expected an array whose first axis counts rows, found numbers alone; add that axis.")
    rows = next(iter(counts.values()))
    declared = {name: _declared(name, array, rows) for name, array in named.items()}
    port = replace(provisional, inputs=declared, call=call)
    trial = {
        name: np.resize(array, (TRIAL_ROWS, *array.shape[1:])) if declared[name].has_rows else array
        for name, array in named.items()
    }
    outputs = _outputs(port, built, trial)
    axes = {name: axis for name, axis in outputs.items() if axis != 0}
    alive = len(given) == 2 and all(map(_is_alive, given.values()))
    return Models(replace(port, outputs=tuple(outputs), batch_axes=axes), named, alive)


def _is_alive(model: Any) -> bool:
    """Whether this is a model that holds weights, and nothing that makes one."""
    return framework_of(model) is not None and not isinstance(model, type)


def _require_side(side: str, model: Any) -> None:
    kind = framework_of(model)
    if kind is not None and kind != side:
        raise BadInput(f"expected the {side} model, found one of {kind}: verify(torch_model, paddle_model, inputs).")
    if kind is None and not callable(model):
        raise BadInput(
            f"expected a {side} model or a callable that makes one, found a {type(model).__name__}: "
            "verify(torch_model, paddle_model, inputs)."
        )


def _factory(side: str, model: Any) -> Callable[..., Any]:
    """Return what makes a model; of one that is alive, a copy each time."""
    if not _is_alive(model):
        factory: Callable[..., Any] = model
        return factory

    def copied() -> Any:
        try:
            return copy.deepcopy(model)
        except Exception as error:
            raise BadInput(
                f"the {side} model cannot be copied ({type(error).__name__}), and it may not be written to; "
                "give a factory: verify(lambda: …)"
            ) from error

    return copied


def _arrays(inputs: Any) -> dict[str | None, Array] | list[Array]:
    """Return what was given as arrays, floats in float32: by name where they have names."""
    if isinstance(inputs, Mapping):
        return {str(name): _array(f"inputs['{name}']", value) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return [_array(f"inputs[{place}]", value) for place, value in enumerate(inputs)]
    if inputs is None:
        raise BadInput("inputs are missing: verify(torch_model, paddle_model, inputs), an array of a few rows.")
    return [_array("inputs", inputs)]


def _array(what: str, value: Any) -> Array:
    tensor = value.detach().cpu() if hasattr(value, "detach") else value
    if "bfloat16" in str(getattr(tensor, "dtype", "")):
        tensor = tensor.float() if hasattr(tensor, "float") else tensor.astype("float32")
    array = np.asarray(tensor.numpy() if hasattr(tensor, "numpy") else tensor)
    if array.dtype.kind not in "fiub" or array.size == 0:
        raise BadInput(f"{what}: expected an array or a tensor of numbers, found {type(value).__name__} {array.dtype}.")
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _parameters(model: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(model.forward).parameters.values())


def _named(arrays: Any, forwards: Sequence[list[inspect.Parameter]]) -> tuple[dict[str, Array], Any]:
    """Return the inputs by name, and how they are handed over."""
    if not isinstance(arrays, Mapping):
        places = [p.name for p in forwards[0] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        names = [*places[: len(arrays)], *(f"x{place}" for place in range(len(places), len(arrays)))]
        return dict(zip(names, arrays, strict=True)), "positional"
    if all(_takes(parameters, arrays) for parameters in forwards):
        return dict(arrays), "keyword"
    alone = all(sum(p.default is p.empty for p in parameters) == len(parameters) == 1 for parameters in forwards)
    return dict(arrays), "dictionary" if alone and len(arrays) > 1 else "positional"


def _takes(parameters: list[inspect.Parameter], names: Mapping[str, Any]) -> bool:
    """Whether a forward has parameters of these names."""
    known = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return set(names) <= known


def _declared(name: str, array: Array, rows: int) -> Input:
    """Declare an input: other rows are drawn from where those that were given lie."""
    shape = ("batch", *array.shape[1:]) if array.ndim and array.shape[0] == rows else array.shape
    few = np.unique(array)[:3]
    if array.dtype.kind in "fb":
        drawn = {"values": tuple(few.tolist())} if len(few) == 2 and array.dtype.kind == "f" else {}
        low, high = (float(array.min()), float(array.max())) if array.dtype.kind == "f" else (0.0, 0.0)
        if not drawn and 0 <= low < high:
            drawn = {"range": (low, high)}
        return Input(shape, "float32" if array.dtype.kind == "f" else "bool", **drawn)  # type: ignore[arg-type]
    if len(few) == 1 and array.size > 1:
        raise BadInput(
            f"inputs: '{name}' holds {few[0]} alone, which shows nothing; give values as the models meet them."
        )
    return Input(shape, str(array.dtype), range=(int(array.min()), int(array.max())))


def _outputs(port: Port, built: Mapping[str, Model], trial: Arrays) -> dict[str, int | None]:
    """Return the names of what the models return, each with the axis that counts its rows; None where none does."""
    told: dict[str, Mapping[str, Sequence[int]]] = {}
    raised: list[ModelRaised] = []
    for side, model in built.items():
        model.port = port
        try:
            result = model.returned(trial)
        except ModelRaised as error:  # the other side says what there is; the verdict will say this
            raised.append(error)
            continue
        found = names_of(result, model.framework.is_tensor)
        told[side] = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if not told:
        raise raised[0]
    return outputs_of(told)


def outputs_of(shapes: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, int | None]:
    """Return the names of what two models return, each with the axis that counts its rows; None where none does.

    Args:
        shapes: side to its outputs on :data:`TRIAL_ROWS` rows; one of those that could be run, at least.

    Raises:
        BadInput: they return other outputs.
    """
    told = {side: {name: _row_axis(shape) for name, shape in found.items()} for side, found in shapes.items()}
    first, *rest = told.values()
    last = rest[0] if rest else first
    by_name = [name for name in first if name in last]
    if by_name and _are_keys(first) and _are_keys(last):
        return {name: first[name] for name in by_name}
    if not first or len(first) != len(last):
        said = " and ".join(f"{side} {len(names)} ({', '.join(names)})" for side, names in told.items())
        raise BadInput(f"the models return other outputs: {said}; write a Port that names those to be compared.")
    return first if _are_keys(first) else last


def _are_keys(names: Mapping[str, Any]) -> bool:
    """Whether outputs have names of their own."""
    return not all(name.removeprefix("out").isdecimal() or name == "out" for name in names)


def _row_axis(shape: Sequence[int]) -> int | None:
    return list(shape).index(TRIAL_ROWS) if TRIAL_ROWS in shape else None


def other_weights(sides: Sides) -> Found:
    """Compare the weights that the two models hold as they were given, each tensor under the map.

    Returns:
        One culprit where they are not the same.
    """
    follower = sides.live[1]
    expected = load_file(factory(sides).files[follower])
    out = sides.folder / "own-weights.safetensors"
    sides.open[follower].call(Tasks.save_state, out=out)
    found = load_file(out)
    alone = {name for side, name, _ in sides.account.ignored if side == follower}
    compared = [name for name in found if name not in alone]
    differ = [name for name in compared if not np.array_equal(found[name], expected[name], equal_nan=True)]
    if not differ:
        return Found()
    message = (
        f"the two models hold other weights: {len(differ)} of {len(compared)} tensors, first {follower}'s "
        f"'{differ[0]}'; load one's into the other (portproof.convert_state), or give factories to judge the "
        "functions alone"
    )
    return Found(culprits=[Culprit("unknown", differ[0].rpartition(".")[0], "weights", "forward", message)])
