"""Whether a model is a function: two runs on the same rows put out the same."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portproof._numbers import Array, Arrays
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._tree import leaves


@dataclass(frozen=True)
class Twice:
    """What two runs of one model on the same rows showed.

    Attributes:
        first, second: outputs.
        path: of the innermost module that returned something else for the same input; "" for the model, or none.
        draws: whether a run draws random numbers.
    """

    first: Arrays
    second: Arrays
    path: str
    draws: bool


def run_twice(model: Model, inputs: Mapping[str, Array]) -> Twice:
    """Run a model twice and, where its outputs differ, twice more to find the module where the two runs part.

    Raises:
        ModelRaised: the forward raised.
    """
    before = _random_state(model)
    first, second = model.run(dict(inputs)), model.run(dict(inputs))
    draws = _random_state(model) != before
    if all(np.array_equal(second[name], array, equal_nan=True) for name, array in first.items()):
        return Twice(first, second, "", draws)
    runs = [_Run(model), _Run(model)]
    for run in runs:
        with run.followed():  # which costs several times a run
            model.run(dict(inputs))
    parted = (
        path for (path, given, made), (other, same, again) in zip(*(run.calls for run in runs), strict=False)
        if path == other and given == same and made != again
    )  # fmt: skip
    return Twice(first, second, next(parted, ""), draws)


@dataclass
class _Run:
    """One run: every call of a module with digests of what it received and returned, the innermost first."""

    model: Model
    calls: list[tuple[str, bytes, bytes]] = field(default_factory=list)

    @contextmanager
    def followed(self) -> Iterator[None]:
        def follow(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: Any, **kwargs: Any) -> Any:
                received = self._digest((args, kwargs))
                result = forward(*args, **kwargs)
                self.calls.append((path, received, self._digest(result)))
                return result

            return called

        with wrapped_forwards(self.model.framework.modules(self.model.root), follow):
            yield

    def _digest(self, tree: Any) -> bytes:
        framework, told = self.model.framework, hashlib.blake2b(digest_size=16)
        for tensor in leaves(tree, framework.is_tensor):
            told.update(np.ascontiguousarray(framework.to_array(tensor)).tobytes())
        return told.digest()


def _random_state(model: Model) -> Sequence[Any]:
    """Return what changes as soon as a forward draws a number, from the framework, from Python or from NumPy."""
    numpys = np.random.get_state(legacy=False)["state"]
    return model.framework.random_state(), random.getstate(), numpys["pos"], numpys["key"].tobytes()
