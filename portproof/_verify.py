"""The main job: the chain from Paddle to PyTorch to both exports to the runtime, judged hop by hop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._account import Account, Entry, match_states
from portproof._capture import save_arrays
from portproof._environment import host, package_versions, thread_budget
from portproof._errors import BadInput, ModelRaised, PortproofError, Unavailable
from portproof._files import NO_HASHES, FileJudge, artefact_path
from portproof._hops import SideRun, side_hops
from portproof._inputs import Batch, make_batch
from portproof._judge import FLOOR_MULTIPLE, Floor, output_floors
from portproof._model import unknown_module
from portproof._port import Part, Port, other
from portproof._replay import Replay, pair_modules, settle_accepted
from portproof._report import AcceptedDeviation, Culprit, Hop, Modules, Report, Sight, gravest
from portproof._resolve import Located, Project, resolve_callable
from portproof._session import Session, Sessions
from portproof._weights import given_weights, transfer
from portproof.runners import find_runner

Arrays = dict[str, np.ndarray[Any, Any]]
Watch = Callable[[str, str | None], None]

#: The runner that is each side's reference.
EAGER = {"torch": "torch-eager", "paddle": "paddle-dygraph"}
_EXPORT = {"torch": "onnxruntime-torch", "paddle": "onnxruntime-paddle"}
_TITLE = {"torch": "torch", "paddle": "Paddle"}
_QUICK_ROWS = 4


@dataclass(frozen=True)
class Options:
    """What ``verify`` is asked for.

    Attributes:
        weights: a checkpoint to judge the port on, beside sensitised weights.
        images: folder of photographs in place of the packaged ones.
        module: path of the part that is judged, "" for all.
        quick: without exports, planted faults and batch checks: for the edit loop.
        seed: of weights and probes.
        device: ``"cpu"`` or ``"cuda"``.
        kwargs: for both factories, over the port's own.
        threads: compute threads of each process; None shares the machine among the sides.
    """

    weights: Path | None = None
    images: Path | None = None
    module: str = ""
    quick: bool = False
    seed: int = 0
    device: str = "cpu"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None


def verify(port: Port | Located, options: Options | None = None, watch: Watch | None = None, **given: Any) -> Report:
    """Judge a port.

    Args:
        port: the port. One that was found by name runs each side in a process of its own, side by side; a bare
            :class:`Port` runs in this process.
        options: what to do; or give the fields of :class:`Options` as keyword arguments.
        watch: called with a process's name and what it is doing now, None when it is done.

    Returns:
        The report, true only where the verdict holds.

    Raises:
        BadInput: a factory raises, a file or an argument is wrong.
        Unavailable: a framework or the device is not there.
    """
    located = port if isinstance(port, Located) else Located(port, None, Project())
    options = options or Options(**given)
    threads = options.threads or max(1, thread_budget() // max(1, len(located.port.sides)))
    with Sessions(located, options.kwargs, options.device, threads) as sessions:
        return _Chain(sessions, options, watch or (lambda *_: None)).judge()


class _Chain:
    """One run of ``verify``: what is known so far, and the steps that add to it."""

    def __init__(self, sessions: Sessions, options: Options, watch: Watch) -> None:
        self.sessions, self.options, self.watch = sessions, options, watch
        self.port = sessions.located.port
        self.folder = sessions.folder
        self.live: list[str] = [
            side for side in ("torch", "paddle") if side in self.port.sides and not self.port.artefact(side)
        ]
        self.hops: list[Hop] = []
        self.culprits: list[Culprit] = []
        self.notes: list[str] = []
        self.modules: Modules | None = None
        self.sight: Sight | None = None
        self.accepted: list[AcceptedDeviation] = []
        self.account = Account((), (), ())
        self.described: dict[str, Any] = {}
        self.evidence: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.sides: dict[str, Session] = {}
        self.prefix = dict.fromkeys(self.live, "")  # path of the judged part on each side

    # Steps are submitted through here, so that a person sees what each process does and the report where time went.
    def do(self, who: str, doing: str, task: str, **arguments: Any) -> Future[Any]:
        """Submit a task to a process."""
        started: list[float] = []

        def begun() -> None:
            started.append(time.perf_counter())
            self.watch(who, doing)

        def done(_: Future[Any]) -> None:
            if started:  # else it was cancelled before its turn
                key = f"{who}: {doing}"
                self.seconds[key] = round(self.seconds.get(key, 0.0) + time.perf_counter() - started[0], 3)
            self.watch(who, None)

        if who not in self.sides:
            self.sides[who] = self.sessions.open(who)
        future = self.sides[who].submit(task, begun, **arguments)
        future.add_done_callback(done)
        return future

    def judge(self) -> Report:
        """Run every step and return the report."""
        begun = time.perf_counter()
        if not self.live:
            raise Unavailable(
                f"port '{self.port.name}' has artefacts alone: without a side that runs in float64 there is no oracle. "
                "Give one side as a factory."
            )
        whole = self.options.module
        self.sides = {side: self.sessions.open(side) for side in self.live}
        hello = {side: self.do(side, "importing the framework", "hello") for side in self.live}
        batch = self._batch()
        for side in self.live:
            self.evidence[side] = hello[side].result()
        if whole:
            batch = self._descend(batch)
        self.inputs = self.folder / "inputs.safetensors"
        save_arrays(self.inputs, batch.arrays)
        self.few = self.folder / "few.safetensors"
        save_arrays(self.few, self._few(batch.arrays, len(batch.families)))
        described = {side: self.do(side, "building the model", "describe") for side in self.live}
        self.described = {side: future.result() for side, future in described.items()}
        if self._match_weights():
            self._chain(batch)
        return self._report(batch, time.perf_counter() - begun)

    def _batch(self) -> Batch:
        batch = make_batch(
            self.port, seed=self.options.seed, images=self.options.images,
            resolve=lambda name: resolve_callable(name, "preprocess"),
        )  # fmt: skip
        self.notes += batch.notes
        return batch

    def _few(self, arrays: Arrays, rows: int) -> Arrays:
        """Return the rows for the module-by-module replay: a photograph and a probe, or more where rows are cheap."""
        chosen = list(range(16)) if rows >= 64 else [0, rows // 2] if rows > 1 and not self.options.quick else [0]
        return {name: array[chosen] if self.port.inputs[name].has_rows else array for name, array in arrays.items()}

    def _descend(self, batch: Batch) -> Batch:
        """Make one module the whole of the port: its inputs are what it receives inside the first side that runs."""
        path, tapped = self.options.module, self.folder / "module.safetensors"
        known = [known for known, _ in self.sides[self.live[0]].call("describe")["modules"]]
        if path not in known:
            raise BadInput(unknown_module(self.live[0], path, known))
        save_arrays(tapped, batch.arrays)
        sensitised, received = self.folder / "whole.safetensors", self.folder / "module-inputs.safetensors"
        signature: dict[str, Any] | None = None
        failures: list[str] = []
        for side in self.live:
            local = path if side == "torch" else self._paddle_path(path)
            whole = self.sides[side]
            try:
                whole.call("sensitise", inputs=str(tapped), out=str(sensitised), seed=self.options.seed)
                whole.call("load", weights=str(sensitised))
                signature = whole.call("module_inputs", path=local, inputs=str(tapped), out=str(received))
            except PortproofError as error:
                failures.append(str(error))
            if signature is not None:
                break
        if signature is None:
            why = failures[0] if failures else "no side calls it in its forward"
            raise BadInput(f"--module '{path}': no side gives it an input ({why}).")
        arrays = load_file(received)
        self.port = self.sessions.narrow(Part(signature["inputs"], signature["outputs"])).port
        for side in self.live:
            self.prefix[side] = path if side == "torch" else self._paddle_path(path)
            self.sides[side] = self.sessions.open(side, self.prefix[side])
        return Batch(arrays, batch.families, batch.notes)

    def _paddle_path(self, torch_path: str) -> str:
        return self.port.taps.get(torch_path) or self.port.weights.paddle_path(torch_path)

    def _local_paddle_path(self, path: str) -> str:
        """Translate a path inside the judged part."""
        whole = self._paddle_path(_join(self.prefix["torch"], path)) if path else self.prefix["paddle"]
        return _strip(self.prefix["paddle"], whole)

    def _match_weights(self) -> bool:
        """Settle the bijection of the state dicts; what breaks it is a divergence with its culprits."""
        if len(self.live) < 2:
            return True
        entries = {
            side: [_inside(self.prefix[side], Entry.from_json(e)) for e in self.described[side]["entries"]]
            for side in self.live
        }
        account = match_states(entries["torch"], entries["paddle"], self.port.weights)
        rows = tuple(
            replace(
                row,
                torch=tuple(_strip(self.prefix["torch"], name) for name in row.torch),
                paddle=tuple(_strip(self.prefix["paddle"], name) for name in row.paddle),
            )
            for row in account.rows
        )
        ignored = tuple((side, _strip(self.prefix[side], name), reason) for side, name, reason in account.ignored)
        self.account = replace(account, rows=rows, ignored=ignored)
        for problem in self.account.problems:
            side = problem.side or "unknown"
            self.culprits.append(Culprit(side, problem.module, "weights", "forward", problem.message))
        if self.account.problems:
            first = self.account.problems[0].message
            reason = f"{len(self.account.problems)} tensors have no equal: {first}"
            self.hops.append(Hop("semantics", "torch", "Paddle", "float64", "none", "divergent", None, reason))
        return not self.account.problems

    def _chain(self, batch: Batch) -> None:
        """Judge on the weights at hand, then on those that make every channel matter."""
        given = self.options.weights
        if given is not None:
            label = f"given ({given.name})"
            tensors, side = given_weights(given, self.options, self.sides, self.folder)
            files = self._write_weights(tensors, side)
            self._judge_weights(label, files, exports=not self.options.quick)
            if any(hop.verdict == "inconclusive" for hop in self.hops):
                self.notes.append(
                    f"the given weights hide faults: some output hardly depends on the input ({given.name}); "
                    "the verdict on sensitised weights below is the one to trust"
                )
        if any(self.port.artefact(side) for side in self.port.sides):
            files = self._write_weights(*self._factory_weights())
            self._judge_weights("factory", files, exports=False)
            return
        files = self._write_weights(*self._sensitised())
        self._judge_weights("sensitised", files, exports=given is None and not self.options.quick)

    def _factory_weights(self) -> tuple[Arrays, str]:
        side, out = self.live[0], self.folder / "factory.safetensors"
        self.sides[side].call("save_state", out=str(out))
        return load_file(out), side

    def _sensitised(self) -> tuple[Arrays, str]:
        """Return sensitised weights and the side that made them: the first that runs."""
        out = self.folder / "sensitised.safetensors"
        failures: list[ModelRaised] = []
        for follower in self.live[1:]:
            self.do(follower, "building the float64 model", "prepare", precision="float64")
        for side in self.live:
            try:
                self.do(
                    side, "sensitising weights", "sensitise",
                    inputs=str(self.inputs), out=str(out), seed=self.options.seed, threads=thread_budget(),
                ).result()  # fmt: skip
            except ModelRaised as error:
                failures.append(error)
                continue
            # A side that raises follows: the replay on the side that runs names what is wrong with it.
            self.live = [side, *(other_side for other_side in self.live if other_side != side)]
            return load_file(out), side
        raise BadInput("; ".join(str(error) for error in failures))

    def _raised(self, error: ModelRaised) -> None:
        text = f"raises where the other side runs: {error.reason}"
        self.culprits.append(Culprit(error.side, error.module, "raises", "forward", text))

    def _write_weights(self, tensors: Arrays, side: str) -> dict[str, Path]:
        """Write one file of weights a side, each in its own names and layouts."""
        files: dict[str, Path] = {}
        for target in self.live:
            own = tensors
            if target != side:
                own = transfer(tensors, self.account, target, self._own_buffers(target))
            files[target] = self.folder / f"weights-{target}.safetensors"
            save_arrays(files[target], own)
        return files

    def _own_buffers(self, side: str) -> Arrays:
        """Return zeros for the buffers that only this side has."""
        names = {name for ignored_side, name, _ in self.account.ignored if ignored_side == side}
        entries = [Entry.from_json(e) for e in self.described[side]["entries"]]
        return {e.name: np.zeros(e.shape, e.dtype) for e in entries if e.name in names}

    def _judge_weights(self, label: str, files: Mapping[str, Path], *, exports: bool) -> None:
        """Judge every hop under one set of weights."""
        lead = self.live[0]
        quick = self.options.quick
        inputs = self._quick_inputs() if quick else self.inputs
        for side in self.live:
            self.do(side, "loading weights", "load", weights=str(files[side]))
        replay = self._submit_replay(label)
        captures: dict[str, Future[Any]] = {}
        for side in self.live:
            captures[side] = self.do(
                side, "running in float64 and float32", "capture",
                runner=EAGER[side], inputs=str(inputs), out=str(self._out(label, EAGER[side])),
                precisions=["float64", "float32"], hashes=NO_HASHES, single=0 if quick else 2,
            )  # fmt: skip
        rounded = self.do(lead, "loading weights", "rounded")
        if replay is not None:
            try:
                replay.submit(look=not quick and label == "sensitised", seed=self.options.seed)
            except ModelRaised as error:
                self._raised(error)
                replay = None
        exported = self._submit_exports(label) if exports else {}
        outputs = self._collect(captures, label)
        if lead not in outputs:
            return
        for setting, count in rounded.result().items():
            where = f"{count} modules" if count > 1 else "one module"
            self.notes.append(f"Paddle keeps {setting} ({where}) in float32; the float64 oracle has it rounded alike")
        floors = output_floors([(outputs[s]["float32"], outputs[s]["float64"]) for s in self.live if s in outputs])
        self._judge_sides(label, outputs, floors)
        if replay is not None:
            self._judge_replay(replay)
            self.sight = self.sight or (replay.sight() if not self.culprits else None)
        self._judge_files(label, exported, outputs[lead]["float64"], floors)

    def _out(self, label: str, runner: str) -> Path:
        return self.folder / f"{'given' if label.startswith('given') else label}-{runner}"

    def _quick_inputs(self) -> Path:
        path, rows = self.folder / "quick.safetensors", load_file(self.inputs)
        step = max(1, len(next(iter(rows.values()))) // _QUICK_ROWS)
        save_arrays(path, {n: a[::step] if self.port.inputs[n].has_rows else a for n, a in rows.items()})
        return path

    def _submit_replay(self, label: str) -> Replay | None:
        if len(self.live) < 2:
            return None
        described = {side: self.described[side]["modules"] for side in self.live}
        pairs = pair_modules(described, self._local_paddle_path)
        taps = self.folder / f"taps-{'given' if label.startswith('given') else label}"
        return Replay(self.do, self.live[0], self.live[1], pairs, self.few, taps)

    def _submit_exports(self, label: str) -> dict[str, Future[Any]]:
        return {
            side: self.do(
                side, "exporting to ONNX", "export", inputs=str(self.inputs), out=str(self.folder / f"{side}.onnx")
            )
            for side in self.live
        }

    def _collect(self, captures: Mapping[str, Future[Any]], label: str) -> dict[str, dict[str, Arrays]]:
        """Wait for the sides' captures; a side that raises alone is a culprit."""
        outputs: dict[str, dict[str, Arrays]] = {}
        raised: list[ModelRaised] = []
        for side, future in captures.items():
            try:
                future.result()
            except ModelRaised as error:
                raised.append(error)
                continue
            folder = self._out(label, EAGER[side])
            outputs[side] = {
                path.name.removesuffix(".safetensors"): load_file(path) for path in folder.glob("*.safetensors")
            }
        if len(raised) == len(captures):
            raise BadInput("; ".join(str(error) for error in raised))
        for one in raised:
            self._raised(one)
            source = _TITLE[other(one.side)]
            reason = f"{_TITLE[one.side]} raises where {source} runs: {one.reason}"
            self.hops.append(Hop("semantics", source, _TITLE[one.side], "float64", label, "divergent", None, reason))
        return outputs

    def _judge_sides(self, label: str, outputs: dict[str, dict[str, Arrays]], floors: Mapping[str, Floor]) -> None:
        """Float64 between the sides, float32 of each against the oracle, and rows one by one against the batch."""
        runs = [
            SideRun(
                _TITLE[side], find_runner(EAGER[side]).title, by["float32"], by["float64"], by.get("float32.single")
            )
            for side, by in sorted(outputs.items(), key=lambda item: self.live.index(item[0]))
        ]
        self.hops += side_hops(runs, label, floors)

    def _judge_replay(self, replay: Replay) -> None:
        """Name the modules that compute something else on the same input."""
        modules, culprits, found = replay.judge()
        self.modules = self.modules or modules
        kept, accepted = settle_accepted(self.port.accepted, culprits, found)
        self.accepted = self.accepted or accepted
        if culprits:  # the replay says where a model that raised went wrong; where it raised is a consequence
            self.culprits = [culprit for culprit in self.culprits if culprit.kind != "raises"]
        known = {culprit.module for culprit in self.culprits}
        self.culprits += [culprit for culprit in kept if culprit.module not in known]
        for index, hop in enumerate(self.hops):
            if hop.kind != "semantics":
                continue
            if kept and hop.verdict != "divergent":
                reason = f"module '{kept[0].module}' differs on the same input, though the outputs hardly show it"
                self.hops[index] = replace(hop, verdict="divergent", reason=reason)
            if not kept and accepted and hop.verdict == "divergent" and hop.worst is not None:
                reason = "every module agrees but for the accepted deviations, which reach the outputs"
                self.hops[index] = replace(hop, verdict="equivalent", reason=reason)

    def _judge_files(
        self, label: str, exported: Mapping[str, Future[Any]], oracle: Arrays, floors: Mapping[str, Floor]
    ) -> None:
        """Judge the sides that are files, then the exports of those that are models."""
        source = f"{_TITLE[self.live[0]]} float64 (oracle)"
        judge = FileJudge(self.do, self.inputs, self.folder, label, source, oracle, floors)
        for artefact in self.port.sides:
            if self.port.artefact(artefact):
                path = artefact_path(self.sessions.located, artefact)
                runner = find_runner("onnxruntime-torch" if path.suffix == ".onnx" else "paddle-program")
                self.hops += judge.judge("numerics", path.name, path, runner)
        for side, future in exported.items():
            title = f"{_TITLE[side]} export"
            try:
                future.result()
            except PortproofError as error:
                self.hops.append(judge.unavailable("export", title, error))
                continue
            self.hops += judge.judge("export", title, self.folder / f"{side}.onnx", find_runner(_EXPORT[side]))

    def _report(self, batch: Batch, seconds: float) -> Report:
        verdicts = [hop.verdict for hop in self.hops]
        if any(c.kind == "accepted" for c in self.culprits) or (self.culprits and "divergent" not in verdicts):
            verdicts.append("divergent")
        labels = tuple(dict.fromkeys(hop.weights for hop in self.hops))
        usable = [h.verdict for h in self.hops if not (h.verdict == "inconclusive" and h.weights.startswith("given"))]
        verdict = gravest(verdicts if self.options.weights is None else [*usable, *verdicts[len(self.hops) :]])
        packages = (
            package_versions("onnx", "onnxruntime", "onnxruntime-gpu", "paddle2onnx") if "runtime" in self.sides else {}
        )
        return Report(
            port=self.port.name,
            verdict=verdict,
            hops=tuple(self.hops),
            culprits=tuple(self.culprits),
            sight=self.sight,
            modules=self.modules,
            weights=labels,
            ignored=self.account.ignored,
            accepted=tuple(self.accepted),
            inputs=tuple(dict.fromkeys(batch.families)),
            notes=tuple(dict.fromkeys(self.notes)),
            environment={**host(), "packages": packages, "sides": self.evidence, "floor_multiple": FLOOR_MULTIPLE},
            seconds={**self.seconds, "total": round(seconds, 3)},
        )


def _join(prefix: str, path: str) -> str:
    return ".".join(filter(None, (prefix, path)))


def _strip(prefix: str, path: str) -> str:
    return path.removeprefix(prefix).removeprefix(".") if prefix else path


def _inside(prefix: str, entry: Entry) -> Entry:
    """Return an entry under its name in the whole model, which the port's weight map speaks of."""
    return replace(entry, name=_join(prefix, entry.name), module=_join(prefix, entry.module))
