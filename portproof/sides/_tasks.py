"""What every side does when it is asked, in its own process; what only some packages ask for is beside them."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput, ModelRaised
from portproof._machine import host
from portproof._numbers import Arrays
from portproof.frameworks._entries import Entry
from portproof.frameworks._export import export, prepare_export
from portproof.frameworks._model import Model, whole_layers, written_at
from portproof.frameworks._settings import describe_module
from portproof.frameworks._steady import run_twice
from portproof.frameworks._tree import names_of
from portproof.ports._port import Port
from portproof.ports._weightmap import to_json
from portproof.runners import find_runner
from portproof.sides._capture import Manifest, write_manifest
from portproof.sides._roles import answers, changes, never_kept
from portproof.sides._sensitise import function_of, sensitise
from portproof.sides._workplace import Workplace, is_eager


@dataclass(frozen=True)
class Description:
    """What a side says of its model.

    Attributes:
        entries: of the state dict.
        modules: path, layer type and settings of every module.
        places: path to file, line and class of every module whose class no framework brought; None for code in no file.
    """

    entries: tuple[Entry, ...]
    modules: tuple[tuple[str, str, dict[str, Any]], ...]
    places: dict[str, tuple[str, int, str] | None]

    def written_at(self, path: str) -> tuple[str, int, str] | None:
        """Return file, line and class of a module, or of the nearest around it that has some."""
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path)


@dataclass(frozen=True)
class Ran:
    """What is to be said of a float64 run.

    Attributes:
        lifted: what would have been computed in float32: types of modules and kernels of Paddle's, and how many.
        unnamed: what the model returned that the port does not name.
    """

    lifted: dict[str, int]
    unnamed: list[str]


def described(model: Model) -> Description:
    """Describe a model's state dict and its modules."""
    modules = tuple((path, *describe_module(model, module)) for path, module in whole_layers(model))
    return Description(tuple(model.entries()), modules, written_at(model))


class Tasks:
    """What every side answers. Arguments and results go over a line (``_wire.py``); tensors go through files.

    Args:
        place: of this side.
    """

    def __init__(self, place: Workplace) -> None:
        self.place = place

    @answers()
    def hello(self) -> dict[str, Any]:
        """Import the framework and say its versions."""
        from portproof.frameworks import load_framework

        framework = load_framework(self.place.job.side)
        framework.use_device(self.place.job.device)
        return framework.versions()

    @answers()
    def describe(self) -> Description:
        """Describe the state dict and the modules of the float32 model."""
        return described(self.place.model("float32"))

    @answers("out", beside="float64")
    def tables(self, inputs: Path, out: Path) -> bool:
        """Write the tensors that the float64 model made itself, as a run leaves them; returns whether there are any."""
        model = self.place.model("float64")
        if not model.was_called:
            with contextlib.suppress(ModelRaised):  # which is told elsewhere
                model.run(load_file(inputs))
        tables = model.tables()
        if tables:
            save_arrays(out, tables)
        return bool(tables)

    @answers()
    def returned(self, inputs: Path) -> dict[str, tuple[int, ...]]:
        """Say what the float32 model returns on inputs: the names of all its outputs, and their shapes."""
        model = self.place.model("float32")
        found = names_of(model.returned(load_file(inputs)), model.framework.is_tensor)
        return {name: tuple(tensor.shape) for name, tensor in found.items()}

    @answers()
    def prepare(self, precision: str) -> None:
        """Build the model of a precision, so that it is ready when it is needed."""
        self.place.runner(precision)

    @answers("out", beside="float64")
    def run_twice(self, inputs: Path, out: Path) -> tuple[str, bool]:
        """Run the float64 model twice; writes ``first|NAME`` and ``second|NAME``.

        Returns:
            The path of the module where the two runs part, and whether a run draws random numbers.
        """
        found = run_twice(self.place.model("float64"), load_file(inputs))
        both = {"first": found.first, "second": found.second}
        port = self.place.job.port
        save_arrays(
            out,
            {f"{which}|{name}": array for which, run in both.items() for name, array in port.rows_first(run).items()},
        )
        return found.path, found.draws

    @answers("out")
    def save_state(self, out: Path, names: list[str] | None = None, precision: str = "float32") -> None:
        """Write the model's own weights, all or those named, as they are built in a precision."""
        save_arrays(out, self.place.model(precision).state(names))

    @answers()
    def function(self, inputs: Path, seed: int, threads: int | None = None, keep: Sequence[str] = ()) -> str:
        """Return a digest of what the model computes, "" where nothing tells; arguments are those of `sensitise`."""
        model = self.place.model("float32")
        with self._threads(threads):
            return function_of(model, load_file(inputs), seed, keep)

    @changes("out", function="function")
    def sensitise(
        self, inputs: Path, out: Path, seed: int, threads: int | None = None, keep: Sequence[str] = (),
        function: str = "",
    ) -> None:  # fmt: skip
        """Write sensitised weights; raises ModelRaised.

        Args:
            inputs: rows.
            out: the file.
            seed: of all draws.
            threads: for this task alone, while the others wait.
            keep: names of tensors that stay as the model made them.
            function: what the model computes, as :meth:`function` says; "" where it does not.
        """
        model = self.place.model("float32")
        with self._threads(threads):
            save_arrays(out, sensitise(model, load_file(inputs), seed, keep))

    @contextlib.contextmanager
    def _threads(self, threads: int | None) -> Iterator[None]:
        framework = self.place.model("float32").framework
        framework.set_threads(threads or self.place.job.threads)
        try:
            yield
        finally:
            framework.set_threads(self.place.job.threads)

    @changes(undoes=("load", "sensitise", "point"))
    def load(self, weights: Path) -> None:
        """Load a state dict into every model built so far and into those still to be built."""
        self.place.job = replace(self.place.job, weights=weights)
        state = load_file(weights)
        for runner in self.place.runners.values():
            runner.model.load(state)

    @answers("out")
    def run(
        self, runner: str, inputs: Path, out: Path, precisions: Sequence[str], single: int = 2,
        artefact: Path | None = None, optimise: bool = True, settings: Mapping[str, Any] | None = None,
    ) -> Ran:  # fmt: skip
        """Run a runner in each precision, in one batch and its first ``single`` rows one by one; writes outputs."""
        self._run(runner, inputs, out, precisions, single, artefact, optimise, settings)
        if not is_eager(find_runner(runner)) or "float64" not in precisions:
            return Ran({}, [])
        model = self.place.model("float64")
        names = {path: type(module).__name__ for path, module in model.framework.modules(model.root)}
        return Ran(dict(Counter(names.get(where, where) for where in model.lifted)), model.unnamed)

    @never_kept
    def capture(
        self, runner: str, inputs: Path, out: Path, precisions: Sequence[str], state: Path, described: Description,
        hashes: Mapping[str, str], artefact: Path | None = None,
    ) -> None:  # fmt: skip
        """Run a runner as :meth:`run` does, and write what the other side needs beside: a capture that travels."""
        info, port = find_runner(runner), self.place.job.port
        seconds, evidence = self._run(runner, inputs, out, precisions, 2, artefact, True, None)
        shutil.copyfile(inputs, out / "inputs.safetensors")
        shutil.copyfile(state, out / "weights.safetensors")
        write_manifest(
            out,
            Manifest(
                port=port.name,
                side=info.side,
                runner=runner,
                title=info.title,
                inputs_hash=hashes["inputs"],
                weights_hash=hashes["weights"],
                outputs=tuple(port.outputs),
                runs=dict.fromkeys(precisions, True),
                environment={**host(), **evidence},
                entries=described.entries,
                modules=tuple((path, layer) for path, layer, _ in described.modules),
                weight_map=to_json(port.weights),
                seconds=seconds,
            ),
        )

    def _run(
        self, runner: str, inputs: Path, out: Path, precisions: Sequence[str], single: int, artefact: Path | None,
        optimise: bool, settings: Mapping[str, Any] | None,
    ) -> tuple[dict[str, float], dict[str, Any]]:  # fmt: skip
        """Return the seconds of each precision, and what the runner says of itself."""
        info, rows = find_runner(runner), load_file(inputs)
        out.mkdir(parents=True, exist_ok=True)
        options = {"artefact": artefact, "optimise": optimise, "settings": dict(settings or {})}
        seconds: dict[str, float] = {}
        evidence: dict[str, Any] = {}
        for precision in precisions:
            with contextlib.ExitStack() as stack:
                built = self.place.build(info, precision, options, stack)
                begun = time.perf_counter()
                save_arrays(out / f"{precision}.safetensors", self.place.job.port.rows_first(built.run(rows)))
                seconds[precision] = time.perf_counter() - begun
                evidence = built.evidence()
                if single:
                    save_arrays(out / f"{precision}.single.safetensors", _row_by_row(built, rows, single))
        return seconds, evidence

    @changes(undoes=("point",))
    def point(self, weights: Path | None) -> None:
        """Name the weights that a runner to be built takes; answering says that this process has started."""
        self.place.job = replace(self.place.job, weights=weights)

    @answers("out")
    def save_program(self, out: Path) -> None:
        """Save the Paddle model as a program."""
        from portproof.frameworks._paddle_export import paddle_program

        paddle_program(self.place.model("float32").root, self.place.job.port, out)

    @answers("out")
    def quantise(self, inputs: Path, calibration: Path, out: Path) -> None:
        """Write the torch model in int8, and the graph that it claims to be beside it."""
        from portproof.frameworks._torch_int8 import quantise

        quantise(self.place.model("float32"), self._two_rows(inputs), load_file(calibration), out)

    @answers(beside="export")
    def prepare_export(self) -> None:
        """Build the float32 model and import what exports it, so that both are there when it is exported."""
        self.place.model("float32")
        prepare_export(self.place.job.side)

    @answers("out", beside="export")
    def export(self, inputs: Path, out: Path) -> tuple[str, ...]:
        """Export the float32 model; returns the free sizes that had to be fixed."""
        return tuple(export(self.place.model("float32"), self._two_rows(inputs), out))

    def _two_rows(self, inputs: Path) -> Arrays:
        """Return two rows as an example: one is a constant to some tracers."""
        port = self.place.job.port
        return {n: array[:2] if port.inputs[n].has_rows else array for n, array in load_file(inputs).items()}


def _row_by_row(runner: Any, rows: Arrays, count: int) -> Arrays:
    """Run the first rows one at a time and join the results.

    Raises:
        BadInput: an output of one row is not one row: the port has to say where its rows are.
    """
    port: Port = runner.job.port
    batched = {name for name, declared in port.inputs.items() if declared.has_rows}
    if not batched:
        return {}
    count = min(count, len(rows[next(iter(batched))]))
    results = [
        runner.run({name: array[i : i + 1] if name in batched else array for name, array in rows.items()})
        for i in range(count)
    ]
    joined: Arrays = {}
    for name, array in results[0].items():
        if port.batch_axes.get(name, 0) is None or array.ndim == 0:
            continue
        axis = port.batch_axes.get(name) or 0
        if array.ndim <= axis or array.shape[axis] != 1:
            raise BadInput(
                f"output '{name}' of one row has shape {list(array.shape)}: its rows do not lie along axis {axis}; "
                f"add batch_axes={{'{name}': AXIS}} to the port, None for an output without rows."
            )
        joined[name] = np.concatenate([result[name] for result in results], axis)
    return port.rows_first(joined)
