"""Models too large to hold twice, or at all: one module's weights in memory at a time.

A streamed model is built without its parameters. While a module runs, its own tensors are read from a checkpoint, in
float64 and, for modules without children, in float32 too; then they are dropped. What float32 made of the
module's input is kept, so that the float32 pass that measures noise floors reads no weight again.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from portproof._numbers import Array
from portproof.checkpoints import open_checkpoint
from portproof.convert._account import Account, TensorRow
from portproof.convert._transfer import transfer
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._tree import leaves, rebuild
from portproof.replay._taps import TapStore

_PLACE = object()


class StreamedWeights:
    """A side's state dict, read tensor by tensor from a file in either side's names and layouts.

    Args:
        path: of the checkpoint.
        target: the side that reads.
        source: the side whose names and layouts the file has.
        rows: how the two state dicts correspond; needed where the two differ.
        names: in the model to those in the file, where they differ.

    Attributes:
        reads: how often each tensor of the file was read.
    """

    def __init__(
        self, path: Path, target: str, source: str, rows: Sequence[TensorRow] = (),
        names: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._checkpoint, self._target, self._source, self._names = open_checkpoint(path), target, source, names or {}
        self._rows = {name: row for row in rows for name in row.names(target)} if source != target else {}
        self._parts: dict[str, Array] = {}
        self.reads: dict[str, int] = defaultdict(int)

    def read(self, name: str) -> Array:
        """Return one tensor in the target's layout. Parts of one tensor of the file are cut from one read."""
        if self._target == self._source:
            return self._load(name)
        if name not in self._parts:
            row = self._rows[name]
            whole = {source: self._load(source) for source in row.names(self._source)}
            self._parts |= transfer(whole, Account((row,), (), ()), self._target, {})
        return self._parts.pop(name)

    def _load(self, name: str) -> Array:
        self.reads[name] += 1
        return np.array(
            self._checkpoint.tensors[self._names.get(name, name)].read()
        )  # a copy: pages that stay mapped count as memory


class Streaming:
    """Runs the models of one side without ever holding their weights.

    Args:
        weights: where they are read from.
        own: values of the tensors that the file has not, by name.
        stash: folder for what float32 made of each module's input.
    """

    def __init__(self, weights: StreamedWeights, own: Mapping[str, Array], stash: Path) -> None:
        self.weights, self.own = weights, own
        stash.mkdir(parents=True, exist_ok=True)
        self._store = TapStore(stash)
        self._shapes: dict[tuple[str, int], Any] = {}

    @contextmanager
    def over(self, model: Model) -> Iterator[None]:
        """Read, run and drop, module by module, for the time of the block.

        Args:
            model: built without parameters. In float64 every module runs; in float32, modules that have tensors and
                no children hand on what they put out in the float64 pass, which must have come before.
        """
        framework = model.framework
        holders = [(path, m) for path, m in framework.modules(model.root) if framework.own_tensors(m)]
        modules, counts = dict(holders), defaultdict[str, int](int)
        low = model.precision == "float32"

        def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            module = modules[path]
            leaf = framework.is_leaf(module)

            def streamed(*args: Any, **kwargs: Any) -> Any:
                call, counts[path] = counts[path], counts[path] + 1
                if low and leaf and (path, call) in self._shapes:
                    return self._stashed(model, path, call)
                arrays = self._read(path, list(framework.own_tensors(module)))
                with framework.lent(module, _cast(arrays, model.precision)):
                    result = forward(*args, **kwargs)
                if leaf and not low:
                    with framework.lent(module, _cast(arrays, "float32")):
                        rounded = forward(*_narrow(model, args), **_narrow(model, kwargs))
                    self._keep(model, path, call, rounded)
                return result

            return streamed

        with wrapped_forwards(holders, wrap):
            yield

    def _read(self, path: str, names: Sequence[str]) -> dict[str, Array]:
        full = {name: f"{path}.{name}" if path else name for name in names}
        return {name: self.own[key] if key in self.own else self.weights.read(key) for name, key in full.items()}

    def _keep(self, model: Model, path: str, call: int, result: Any) -> None:
        is_tensor = model.framework.is_tensor
        self._shapes[path, call] = rebuild(result, is_tensor, itertools.repeat(_PLACE))
        self._store.write(path, call, returned=[model.framework.to_array(t) for t in leaves(result, is_tensor)])

    def _stashed(self, model: Model, path: str, call: int) -> Any:
        recorded = self._store.read(path, call)
        assert recorded is not None
        tensors = (model.framework.to_tensor(array) for array in recorded[1])
        return rebuild(self._shapes[path, call], lambda value: value is _PLACE, tensors)


def _cast(arrays: Mapping[str, Array], precision: str) -> dict[str, Array]:
    return {name: a.astype(precision, copy=False) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def _narrow(model: Model, tree: Any) -> Any:
    """Return the same arguments with floating tensors in float32."""
    is_tensor = model.framework.is_tensor
    arrays = [model.framework.to_array(tensor) for tensor in leaves(tree, is_tensor)]
    narrow = (model.framework.to_tensor(a.astype(np.float32) if a.dtype.kind == "f" else a) for a in arrays)
    return rebuild(tree, is_tensor, narrow)
