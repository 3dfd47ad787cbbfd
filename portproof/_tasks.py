"""What a side does when it is asked: the only code that touches a framework. It runs in the side's own process."""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof import _taps
from portproof._account import Entry, Row
from portproof._capture import Manifest, save_arrays, write_manifest
from portproof._environment import host, peak_memory, return_memory, trim_memory
from portproof._errors import BadInput, Unavailable
from portproof._export import export
from portproof._model import Model, count_work, whole_layers, wrapped_forwards
from portproof._pools import adding_term_by_term, averages
from portproof._port import Port
from portproof._sensitise import sensitise
from portproof._settings import read_settings
from portproof._stream import StreamedWeights, Streaming
from portproof._taps import TapStore, force, record
from portproof._tree import leaves
from portproof._weightmap import to_json
from portproof.faults._catalogue import Catalogue, sample
from portproof.faults._effect import CleanRun
from portproof.faults._kinds import Fault, Kind, author_kinds, survey
from portproof.runners import RunnerInfo, RunnerJob, find_runner

Arrays = dict[str, np.ndarray[Any, Any]]


#: Predictions between two returns of freed memory: it then costs nothing to speak of.
_TRIM_EVERY = 8


class Tasks:
    """Tasks on one side of one port. Arguments and results are JSON; tensors go through files.

    Args:
        port: with its keyword arguments filled in.
        side: ``"paddle"``, ``"torch"``, or ``"runtime"`` for runners of exported files.
        module: path of the part that is judged, "" for all of it.
        device: ``"cpu"`` or ``"cuda"``.
        threads: compute threads of this process.
    """

    def __init__(self, port: Port, side: str, module: str = "", device: str = "cpu", threads: int = 1) -> None:
        self.job = RunnerJob(port, side, module=module, device=device, threads=threads)
        self._runners: dict[str, Any] = {}
        self._open = contextlib.ExitStack()
        self._rounded: dict[str, int] = {}
        self._planting: tuple[str, _Planting] | None = None
        self._streaming: Streaming | None = None
        self._predicting: Any = None
        self._predictions = 0

    @functools.cached_property
    def training(self) -> Any:
        """Tasks of trainings."""
        from portproof.training._tasks import TrainingTasks

        return TrainingTasks(self.job)

    @functools.cached_property
    def gradients(self) -> Any:
        """Tasks of gradients."""
        from portproof.training._gradient_tasks import GradientTasks

        return GradientTasks(self.job)

    @functools.cached_property
    def trajectory(self) -> Any:
        """Tasks of trajectories."""
        from portproof.training._trajectory_tasks import TrajectoryTasks

        return TrajectoryTasks(self.job)

    @functools.cached_property
    def pictures(self) -> Any:
        """Tasks of images."""
        from portproof.agree._decode import Pictures

        return Pictures(self.job.port)

    def close(self) -> None:
        """Release the models."""
        self._open.close()

    def _runner(self, precision: str) -> Any:
        """Return the framework's own runner, built once a precision."""
        if precision not in self._runners:
            from portproof.runners._eager import Eager

            runner = self._open.enter_context(Eager(replace(self.job, precision=precision)))
            if precision == "float64" and len(self.job.port.sides) == 2:
                self._rounded = runner.model.framework.round_settings(runner.model.root)
            self._runners[precision] = runner
        return self._runners[precision]

    def _model(self, precision: str) -> Model:
        model: Model = self._runner(precision).model
        return model

    def hello(self) -> dict[str, Any]:
        """Import the framework and say its versions."""
        from portproof.frameworks import load_framework

        framework = load_framework(self.job.side)
        framework.use_device(self.job.device)
        return framework.versions()

    def describe(self) -> dict[str, Any]:
        """Describe the state dict and the modules of the float32 model."""
        model = self._model("float32")
        modules = [(path, *_described(model, module)) for path, module in whole_layers(model)]
        return {"entries": [asdict(entry) for entry in model.entries()], "modules": modules}

    def hollow(self) -> None:
        """From now on, build models without their parameters."""
        self.job = replace(self.job, hollow=True)
        return_memory()  # what a layer makes and drops while it is built leaves holes, and they count as held

    def stream(self, weights: str, source: str, rows: list[dict[str, Any]], own: str | None, folder: str) -> None:
        """Read weights module by module from a file; see :mod:`portproof._stream`."""
        self._weights = StreamedWeights(Path(weights), self.job.side, source, [Row.from_json(row) for row in rows])
        self._streaming = Streaming(self._weights, load_file(own) if own else {}, Path(folder))

    def streamed(self) -> dict[str, int]:
        """Say how many tensors were read, how often the one read most, and this process's peak memory in bytes."""
        reads = self._weights.reads
        return {"tensors": len(reads), "most_reads": max(reads.values(), default=0), "peak_memory": peak_memory()}

    def _streamed(self, model: Model) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._streaming is None else self._streaming.over(model)

    def prepare(self, precision: str) -> None:
        """Build the model of a precision, so that it is ready when it is needed."""
        self._runner(precision)

    def rounded(self) -> dict[str, int]:
        """Say which settings were rounded to float32 in the float64 model, as the other side keeps them."""
        return self._rounded

    def save_state(self, out: str, names: list[str] | None = None) -> None:
        """Write the model's own weights, all or those named."""
        save_arrays(Path(out), self._model("float32").state(names))

    def sensitise(self, inputs: str, out: str, seed: int, threads: int | None = None, keep: Sequence[str] = ()) -> None:
        """Write sensitised weights; raises ModelRaised. ``threads``: for this task alone, while the others wait."""
        model = self._model("float32")
        model.framework.set_threads(threads or self.job.threads)
        try:
            save_arrays(Path(out), sensitise(model, load_file(inputs), seed, keep))
        finally:
            model.framework.set_threads(self.job.threads)

    def load(self, weights: str) -> None:
        """Load a state dict into every model built so far and into those still to be built."""
        self.job, self._planting = replace(self.job, weights=Path(weights)), None
        state = load_file(weights)
        for runner in self._runners.values():
            runner.model.load(state)

    def capture(
        self, runner: str, inputs: str, out: str, precisions: list[str], hashes: dict[str, str], **options: Any
    ) -> None:
        """Run a runner in each precision, in one batch and row by row, and write the capture."""
        info = find_runner(runner)
        folder, rows = Path(out), load_file(inputs)
        folder.mkdir(parents=True, exist_ok=True)
        single = options.get("single", 2)
        seconds: dict[str, float] = {}
        evidence: dict[str, Any] = {}
        for precision in precisions:
            with contextlib.ExitStack() as stack:
                built = self._build(info, precision, options, stack)
                begun = time.perf_counter()
                save_arrays(folder / f"{precision}.safetensors", self.job.port.rows_first(built.run(rows)))
                seconds[precision] = time.perf_counter() - begun
                evidence = built.evidence()
                if single:
                    save_arrays(folder / f"{precision}.single.safetensors", _row_by_row(built, rows, single))
        described = options.get("described") or {"entries": [], "modules": []}
        if options.get("state"):  # a capture that travels carries what the other side needs
            shutil.copyfile(inputs, folder / "inputs.safetensors")
            shutil.copyfile(options["state"], folder / "weights.safetensors")
        write_manifest(
            folder,
            Manifest(
                port=self.job.port.name,
                side=info.side,
                runner=runner,
                title=info.title,
                inputs_hash=hashes["inputs"],
                weights_hash=hashes["weights"],
                outputs=tuple(self.job.port.outputs),
                runs={precision: bool(single) for precision in precisions},
                environment={**host(), **evidence},
                entries=tuple(Entry.from_json(entry) for entry in described["entries"]),
                modules=tuple((path, layer) for path, layer, _ in described["modules"]),
                weight_map=to_json(self.job.port.weights),
                seconds=seconds,
            ),
        )

    def capture_slowly(self, inputs: str, out: str) -> list[str]:
        """Run in float32 with averages added term by term; returns the pools that were, and writes nothing for none."""
        model = self._model("float32")
        if not averages(model):
            return []
        with adding_term_by_term(model) as done:
            outputs = model.run(load_file(inputs))
        if done:
            save_arrays(Path(out), self.job.port.rows_first(outputs))
        return done

    def _build(self, info: RunnerInfo, precision: str, options: dict[str, Any], stack: contextlib.ExitStack) -> Any:
        """Return a runner on the weights at hand: the framework's own, which the other tasks share, or another."""
        if info.path == "portproof.runners._eager:Eager":
            return self._runner(precision)
        artefact = options.get("artefact")
        job = replace(
            self.job,
            side=info.side,
            precision=precision,
            artefact=Path(artefact) if artefact else None,
            optimise=options.get("optimise", True),
            settings=options.get("settings", {}),
            rows=options.get("rows"),
        )
        return stack.enter_context(info.load()(job))

    def time(self, runner: str, inputs: str, out: str, seconds: float, **options: Any) -> dict[str, Any]:
        """Time a runner that this fresh process builds; see :func:`portproof.bench._timed.time_runner`."""
        from portproof.bench._timed import time_runner

        info = find_runner(runner)
        artefact, cache = options.pop("artefact", None), options.pop("cache", None)
        job = replace(
            self.job,
            side=info.side,
            precision=info.precisions[-1],
            artefact=Path(artefact) if artefact else None,
            settings=options.pop("settings", {}),
            cache=Path(cache) if cache else None,
        )
        return time_runner(info, job, Path(inputs), Path(out), seconds, **options)

    def predict(
        self, runner: str, precision: str, inputs: str, out: str, batch: int, output: str, **options: Any
    ) -> float:
        """Write one output of a runner, which is kept, for rows in batches of a size; returns the seconds it took."""
        from portproof.agree._decode import predict

        if self._predicting is None:
            self._predicting = self._build(find_runner(runner), precision, {"rows": batch, **options}, self._open)
        self._predictions += 1
        if self._predictions % _TRIM_EVERY == 0:
            trim_memory()
        return predict(self._predicting, Path(inputs), Path(out), batch, output)

    def point(self, weights: str | None) -> None:
        """Name the weights that a runner to be built takes; answering says that this process has started."""
        self.job = replace(self.job, weights=Path(weights) if weights else None)

    def probe(self, threads: int, seconds: float) -> dict[str, float]:
        """Measure the machine's peak."""
        from portproof.bench._probe import probe

        return asdict(probe(threads, seconds))

    def work(self, inputs: str) -> float:
        """Count the multiply-adds of one row in linear and convolutional layers, times two, in 1e9."""
        model, rows = self._model("float32"), load_file(inputs)
        one = {n: a[:1] if self.job.port.inputs[n].has_rows else a for n, a in rows.items()}
        return count_work(model, one) / 1e9

    def save_program(self, out: str) -> None:
        """Save the Paddle model as a program."""
        from portproof._export import paddle_program

        paddle_program(self._model("float32").root, self.job.port, Path(out))

    def module_inputs(self, path: str, inputs: str, out: str) -> dict[str, Any] | None:
        """Run the whole float64 model and write what one module receives; returns its signature, None if not called."""
        model = self._model("float64")
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
        save_arrays(Path(out), arrays)
        return {
            "inputs": {name: (array.shape[1:], str(array.dtype)) for name, array in arrays.items()},
            "outputs": returned[0],
        }

    def record(self, pairs: dict[str, str], inputs: str, folder: str) -> None:
        """Record the taps of the float64 model."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        model = self._model("float64")
        with self._streamed(model):
            record(model, pairs, load_file(inputs), TapStore(Path(folder)))

    def force(
        self,
        pairs: dict[str, str],
        inputs: str,
        folder: str,
        precision: str,
        plain: bool = False,
        pictures: bool = False,
    ) -> list[dict[str, Any]]:
        """Force recorded taps into this side's model (or, ``plain``, only compare) and return the differences."""
        model, rows, store = self._model(precision), load_file(inputs), TapStore(Path(folder))
        bounds = precision == "float64" and not plain and self._streaming is None
        with self._streamed(model):
            return _taps.to_json(force(model, pairs, rows, store, plain=plain, bounds=bounds, pictures=pictures))

    def dataflow(self, inputs: str) -> list[tuple[str, str]]:
        """Say which module hands a tensor to which, as far as the framework can be asked."""
        from portproof._dataflow import dataflow

        return dataflow(self._model("float32"), load_file(inputs))

    def drifted(self, paths: list[str]) -> list[str]:
        """Name the tensors of some modules that are not what was loaded into them."""
        assert self.job.weights is not None
        model, loaded = self._model("float64"), load_file(self.job.weights)
        state = model.state()
        wanted = [name for name in loaded if name.rpartition(".")[0] in paths]
        return [name for name in wanted if not np.array_equal(state[name], loaded[name].astype(state[name].dtype))]

    def catalogue(self, pairs: dict[str, str], inputs: str, folder: str) -> list[dict[str, Any]]:
        """List every fault that applies to this side's model."""
        return [asdict(fault) for fault in self._plants(pairs, inputs, folder).faults]

    def plant(
        self, pairs: dict[str, str], inputs: str, folder: str, faults: list[list[dict[str, Any]]], seed: int
    ) -> list[dict[str, Any]]:
        """Plant faults, one group at a time, and return what the replay showed and whether there was an effect."""
        planting = self._plants(pairs, inputs, folder)
        return [planting.answer([Fault.from_json(fault) for fault in group], seed) for group in faults]

    def look(self, pairs: dict[str, str], inputs: str, folder: str, count: int, seed: int) -> list[dict[str, Any]]:
        """Plant a sample of single faults; see :meth:`plant`."""
        planting = self._plants(pairs, inputs, folder)
        return [planting.answer([fault], seed) for fault in sample(planting.faults, count, seed)]

    def _plants(self, pairs: dict[str, str], inputs: str, folder: str) -> _Planting:
        if self._planting is None or self._planting[0] != folder:
            extra = author_kinds(self.job.port)
            store = TapStore(Path(folder))
            self._planting = folder, _Planting(self._model("float64"), pairs, load_file(inputs), store, extra)
        return self._planting[1]

    def export(self, inputs: str, out: str) -> dict[str, Any]:
        """Export the float32 model; returns the seconds that it took, and the free sizes that had to be fixed."""
        begun = time.perf_counter()
        rows = {
            name: array[:2] if self.job.port.inputs[name].has_rows else array
            for name, array in load_file(inputs).items()
        }
        fixed = export(self._model("float32"), rows, Path(out))
        return {"seconds": time.perf_counter() - begun, "fixed": list(fixed)}

    def interpret(self, artefact: str, inputs: str, out: str, precision: str = "float64") -> None:
        """Interpret a graph and write its outputs."""
        from portproof.graphs._interpret import Graph, load_graph

        graph = Graph(load_graph(Path(artefact)), precision)
        graph.require_interface(artefact, self.job.port)
        found = self.job.port.rows_first(graph.run(load_file(inputs)))
        save_arrays(Path(out), {name: np.asarray(array) for name, array in found.items()})

    def match(self, artefacts: list[str], inputs: str) -> list[str]:
        """Match two graphs node by node and return what differs, in words."""
        from portproof.graphs._interpret import load_graph
        from portproof.graphs._match import match_graphs

        one, two = (load_graph(Path(path)) for path in artefacts)
        return list(match_graphs(one, two, load_file(inputs), ("torch", "paddle")).differences)

    def blame_export(
        self, artefact: str, exporter: str, keys: dict[str, str], inputs: str, folder: str
    ) -> list[dict[str, Any]]:
        """Interpret a graph on recorded taps; returns how each module's nodes differ from it."""
        from portproof.graphs._blame import force_graph, pair_tensors
        from portproof.graphs._interpret import Graph, load_graph

        proto = load_graph(Path(artefact))
        taps = pair_tensors(proto, exporter, keys)
        found = force_graph(Graph(proto), taps, load_file(inputs), TapStore(Path(folder)))
        return [asdict(tap) for tap in found]

    def blame_runtime(self, artefact: str, inputs: str) -> list[str]:
        """Name the nodes that ONNX Runtime computes wrongly although their inputs are right."""
        from portproof.graphs._blame import blame_runtime
        from portproof.runners._onnxruntime import run_bytes

        return blame_runtime(artefact, load_file(inputs), run_bytes)

    def blame_optimiser(self, artefact: str, inputs: str) -> dict[str, Any]:
        """Name ONNX Runtime's optimiser passes, and the first subgraph, that change what a model computes."""
        from portproof.graphs._blame import blame_optimiser, passes_that_acted
        from portproof.runners._onnxruntime import optimiser_log, run_bytes

        acted = passes_that_acted(optimiser_log(artefact))
        return asdict(blame_optimiser(artefact, load_file(inputs), run_bytes, acted))

    def providers(self) -> dict[str, str]:
        """Say which of ONNX Runtime's providers truly load."""
        try:
            import onnxruntime
        except ImportError as error:
            raise Unavailable("onnxruntime is not installed: pip install 'portproof[cpu]'") from error
        return dict.fromkeys(onnxruntime.get_available_providers(), onnxruntime.__version__)


class _Planting:
    """A clean model with everything that is needed to plant one fault after the other."""

    def __init__(self, model: Model, pairs: dict[str, str], rows: Arrays, store: TapStore, extra: list[Kind]) -> None:
        self.model, self.pairs, self.rows, self.store = model, pairs, rows, store
        self.clean = CleanRun(model, rows)
        self.catalogue = Catalogue(survey(model, self.clean.first), extra)
        self.faults = [fault for fault in self.catalogue.faults if all(path in pairs for path in fault.modules)]
        self.modules = dict(model.framework.modules(model.root))
        self.shapes: dict[tuple[str, int], Any] = {}
        force(model, pairs, rows, store, shapes=self.shapes)

    def answer(self, group: list[Fault], seed: int) -> dict[str, Any]:
        """Plant a group of faults together, look, and take them out again."""
        # In a group, a fault that has no effect where it stands alone is not one that could be located.
        alone = [self._effect(fault, seed) for fault in group] if len(group) > 1 else [True]
        acting = [fault for fault, effective in zip(group, alone, strict=True) if effective]
        paths = list(dict.fromkeys(path for fault in group for path in fault.modules))
        with contextlib.ExitStack() as stack:
            for fault in group:
                stack.enter_context(self.catalogue.plant(fault, seed))
            differences = force(self.model, self.pairs, self.rows, self.store, shapes=self.shapes, only=paths)
            settings = {self.pairs[path]: _described(self.model, self.modules[path]) for path in paths}
            effect = self.clean.effect(paths)
        return {
            "faults": [asdict(fault) for fault in group],
            "planted": [self.pairs[path] for path in paths],
            "modules": [self.pairs[path] for fault in acting for path in fault.modules],
            "differences": _taps.to_json(differences),
            "settings": settings,
            "effect": asdict(effect),
            "why": [] if effect.effective else [self.catalogue.why(fault) for fault in group],
        }

    def _effect(self, fault: Fault, seed: int) -> bool:
        with self.catalogue.plant(fault, seed):
            return self.clean.effect(fault.modules).effective


def _described(model: Model, module: Any) -> tuple[str, dict[str, Any]]:
    """Return a module's layer type and settings, by torch's names."""
    layer = model.framework.layer(module)
    return layer, read_settings(model.framework.side, layer, module)


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
        if port.batch_axes.get(name, 0) is None:
            continue
        axis = port.batch_axes.get(name) or 0
        if array.ndim <= axis or array.shape[axis] != 1:
            raise BadInput(
                f"output '{name}' of one row has shape {list(array.shape)}: its rows do not lie along axis {axis}; "
                f"add batch_axes={{'{name}': AXIS}} to the port, None for an output without rows."
            )
        joined[name] = np.concatenate([result[name] for result in results], axis)
    return port.rows_first(joined)
