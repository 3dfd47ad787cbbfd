"""What a side's process answers to a replay: taps recorded, forced, streamed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import ModelRaised
from portproof._machine import peak_memory, return_memory
from portproof._numbers import Arrays
from portproof.convert._account import TensorRow
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._tree import leaves
from portproof.ports._inputs import take_rows
from portproof.ports._port import Part
from portproof.replay._force import Shape, force, record
from portproof.replay._stream import StreamedWeights, Streaming
from portproof.replay._taps import TapDifference, TapStore
from portproof.sides._roles import answers, changes, never_kept
from portproof.sides._workplace import Workplace


class ReplayTasks:
    """Modules on the other side's input, recorded or streamed. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._streaming: Streaming | None = None

    @changes()
    def hollow(self) -> None:
        """From now on, build models without their parameters."""
        self.place.job = replace(self.place.job, hollow=True)
        return_memory()  # what a layer makes and drops while it is built leaves holes, and they count as held

    @never_kept
    def stream(
        self, weights: Path, source: str, names: dict[str, str], rows: Sequence[TensorRow], own: Path | None,
        folder: Path,
    ) -> None:  # fmt: skip
        """Read weights module by module from a file; see :mod:`portproof.replay._stream`."""
        self._weights = StreamedWeights(weights, self.place.job.side, source, rows, names)
        self._streaming = Streaming(self._weights, load_file(own) if own else {}, folder)

    @never_kept
    def streamed(self) -> dict[str, int]:
        """Say how many tensors were read, how often the one read most, and this process's peak memory in bytes."""
        reads = self._weights.reads
        return {"tensors": len(reads), "most_reads": max(reads.values(), default=0), "peak_memory": peak_memory()}

    def _streamed(self, model: Model) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._streaming is None else self._streaming.over(model)

    @answers("out")
    def capture_slowly(self, inputs: Path, out: Path) -> int:
        """Run in float32 with long sums added term by term; returns how many were, and writes nothing for none.

        One row tells whether there are any; most models have none, and are not run on all rows once more.
        """
        model, rows, port = self.place.model("float32"), load_file(inputs), self.place.job.port
        with model.framework.adding_term_by_term() as adding:
            if adding is None:
                return 0
            try:
                model.run(take_rows(port, rows, [0]))
            except ModelRaised:  # of a model that takes no single row, all rows tell
                adding.done = 1
            if not adding.done:
                return 0
            outputs = model.run(rows)
        save_arrays(out, port.rows_first(outputs))
        return int(adding.done)

    @answers("out", beside="float64")
    def module_inputs(self, path: str, inputs: Path, out: Path) -> Part | None:
        """Run the whole float64 model and write what one module receives; returns its signature, None if not called."""
        model = self.place.model("float64")
        modules = [(p, m) for p, m in model.framework.modules(model.root) if p == path]
        caught: list[Arrays] = []
        returned: list[int] = []

        def wrap(_: str, forward: Any) -> Any:
            def caught_forward(*args: Any, **kwargs: Any) -> Any:
                tensors = leaves((args, kwargs), model.framework.is_tensor)
                caught.append({f"input{i}": model.framework.to_array(tensor) for i, tensor in enumerate(tensors)})
                result = forward(*args, **kwargs)
                returned.append(len(list(leaves(result, model.framework.is_tensor))))
                return result

            return caught_forward

        with wrapped_forwards(modules, wrap):
            model.call(load_file(inputs))
        if not caught:
            return None
        arrays = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in caught[0].items()}
        save_arrays(out, arrays)
        return Part({name: (array.shape[1:], str(array.dtype)) for name, array in arrays.items()}, returned[0])

    @answers("folder", beside="float64")
    def record(self, pairs: dict[str, str], inputs: Path, folder: Path) -> None:
        """Record the taps of the float64 model."""
        folder.mkdir(parents=True, exist_ok=True)
        model = self.place.model("float64")
        with self._streamed(model):
            record(model, pairs, load_file(inputs), TapStore(folder))

    @answers()
    def force(
        self,
        pairs: dict[str, str],
        inputs: Path,
        folder: Path,
        precision: str,
        plain: bool = False,
        pictures: bool = False,
    ) -> list[TapDifference]:
        """Force recorded taps into this side's model (or, ``plain``, only compare) and return the differences."""
        model, rows, store = self.place.model(precision), load_file(inputs), TapStore(folder)
        whole = precision == "float64" and not plain and self._streaming is None
        shapes: dict[tuple[str, int], Shape] = {}
        with self._streamed(model):
            found = force(model, pairs, rows, store, shapes=shapes, plain=plain, caps=whole, pictures=pictures)
        if whole:
            self.place.passed[folder] = self.place.job, shapes
        return found

    @answers(beside="float64")
    def bound(self, pairs: dict[str, str], inputs: Path, folder: Path, keys: Sequence[str]) -> list[TapDifference]:
        """Force taps into the float64 model for the sake of some modules, and return how far float32 can carry each."""
        shapes = self.place.shapes(folder)
        only = None if shapes is None else [path for path, key in pairs.items() if key in keys]
        model, rows, store = self.place.model("float64"), load_file(inputs), TapStore(folder)
        found = force(model, pairs, rows, store, shapes=shapes, only=only, caps=True, exactly=keys)
        return [entry for entry in found if entry.key in keys]

    @answers()
    def dataflow(self, inputs: Path) -> list[tuple[str, str]]:
        """Say which module hands a tensor to which, as far as the framework can be asked."""
        from portproof.replay._dataflow import dataflow

        return dataflow(self.place.model("float32"), load_file(inputs))

    @answers(beside="float64")
    def drifted(self, inputs: Path) -> list[str]:
        """Name the tensors that are not what was loaded into them once the model has run."""
        assert self.place.job.weights is not None
        model, loaded = self.place.model("float64"), load_file(self.place.job.weights)
        if not model.was_called:
            with contextlib.suppress(ModelRaised):  # which is told elsewhere
                model.run(load_file(inputs))
        state = model.state()
        return [name for name in loaded if not np.array_equal(state[name], loaded[name].astype(state[name].dtype))]
