"""Whether a planted fault had any effect at all: decided on the planted side alone, and without the comparison.

The outputs of the clean and the faulty float64 run of one side are held side by side, in units in the last place of the
largest element of a row: what reaches no output is no fault of the function. Nothing here is imported from the code
whose sight is being measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portproof._errors import ModelRaised
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._tree import leaves, rebuild

#: Not from ``_numbers``: a fault's effect is decided without the comparison.
Array = np.ndarray[Any, Any]

#: Units in the last place of a row's largest element beyond which a fault is effective.
EFFECTIVE_ULP = 1000.0

_PLACE = object()


@dataclass(frozen=True)
class Effect:
    """What a fault did.

    Attributes:
        effective: whether an output moved by more than ``EFFECTIVE_ULP``, changed its shape, or the model raised.
        tap: the output that moved farthest, or where the model raised; "" where none moved.
        ulp: how far it moved; None where it cannot be counted.
        outputs: of the faulty run, by name; None where it raised.
    """

    effective: bool
    tap: str
    ulp: float | None
    outputs: dict[str, Array] | None = None


class CleanRun:
    """The clean float64 run of a side, and the runs of faults beside it.

    Args:
        model: in float64; it is run once.
        inputs: a few rows.

    Attributes:
        first: per module path, what its first call received and returned.
        outputs: by name.
    """

    def __init__(self, model: Model, inputs: Mapping[str, Array]) -> None:
        self._model, self._inputs = model, inputs
        self._modules = model.framework.modules(model.root)
        self._calls: dict[tuple[str, int], tuple[list[Array], list[Array], Any]] = {}
        counts: dict[str, int] = defaultdict(int)

        def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def kept(*args: Any, **kwargs: Any) -> Any:
                call, counts[path] = counts[path], counts[path] + 1
                received = self._arrays((args, kwargs))
                result = forward(*args, **kwargs)
                returned = self._arrays(result)
                shape = rebuild(result, model.framework.is_tensor, iter([_PLACE] * len(returned)))
                self._calls[path, call] = received, returned, shape
                return result

            return kept

        with wrapped_forwards(self._modules, wrap):
            self.outputs = self._named(model.call(inputs))
        self.first = {path: calls[:2] for (path, call), calls in self._calls.items() if call == 0}

    def effect(self, planted: Sequence[str]) -> Effect:
        """Run the model as it is now, with faults in the modules named, and say what they did.

        A module that neither holds nor is a planted one, and receives what it received in the clean run to the last
        bit, returns what it returned then: it is not run again.
        """
        counts: dict[str, int] = defaultdict(int)

        def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            touched = any(path == p or not path or p.startswith(f"{path}.") for p in planted)

            def followed(*args: Any, **kwargs: Any) -> Any:
                call, counts[path] = counts[path], counts[path] + 1
                clean = self._calls.get((path, call))
                if touched or clean is None:
                    return forward(*args, **kwargs)
                received, returned, shape = clean
                if not _same(self._arrays((args, kwargs)), received):
                    return forward(*args, **kwargs)
                tensors = (self._model.framework.to_tensor(array) for array in returned)
                return rebuild(shape, lambda value: value is _PLACE, tensors)

            return followed

        try:
            with wrapped_forwards(self._modules, wrap):
                outputs = self._named(self._model.call(self._inputs))
        except ModelRaised as error:
            return Effect(True, error.module, None)
        most, tap = 0.0, ""
        for name, array in outputs.items():
            moved = _ulps([array], [self.outputs[name]])
            if moved is None:
                return Effect(True, name, None, outputs)
            if moved > most:
                most, tap = moved, name
        return Effect(most > EFFECTIVE_ULP, tap, most, outputs)

    def _named(self, outputs: Mapping[str, Any]) -> dict[str, Array]:
        return self._model.arrays(outputs)

    def _arrays(self, tree: Any) -> list[Array]:
        framework = self._model.framework
        return [framework.to_array(tensor) for tensor in leaves(tree, framework.is_tensor)]


def _same(one: list[Array], two: list[Array]) -> bool:
    return len(one) == len(two) and all(
        np.array_equal(a, b) or (a.dtype.kind == "f" and np.array_equal(a, b, equal_nan=True))
        for a, b in zip(one, two, strict=True)
    )


def _ulps(found: list[Array], clean: list[Array]) -> float | None:
    """Return the largest distance in ULP of the row's largest element, None where it cannot be counted.

    Of the row's and not its own: an element near zero moves by thousands of its own where terms are only added in
    another order, as in the mean of a map that is shifted by a pixel.
    """
    if len(found) != len(clean):
        return None
    most = 0.0
    for one, two in zip(found, clean, strict=True):
        if one.shape != two.shape or one.dtype != two.dtype:
            return None
        if one.dtype.kind != "f":
            if not np.array_equal(one, two):
                return None
            continue
        finite = np.isfinite(two)
        if not np.array_equal(finite, np.isfinite(one)):
            return None
        if not finite.any():
            continue
        one, two = np.where(finite, one, 0), np.where(finite, two, 0)
        within = tuple(range(1, one.ndim))
        largest = np.maximum(np.abs(one), np.abs(two)).max(axis=within, keepdims=True)
        most = max(most, float((np.abs(one - two) / np.spacing(largest)).max()))
    return most
