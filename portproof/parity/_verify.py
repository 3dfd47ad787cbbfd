"""The main job: the chain from Paddle to PyTorch to both exports to the runtime, judged hop by hop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput, ModelRaised, PortproofError
from portproof._machine import host, package_versions, thread_budget
from portproof.faults._sight import look, sight
from portproof.judge._floor import FLOOR_MULTIPLE, LOWER_MULTIPLE, Floor, output_floors, slower_floors
from portproof.judge._hops import SideRun, judge_outputs, side_hops
from portproof.judge._report import (
    AcceptedDeviation,
    Culprit,
    Deviation,
    Hop,
    ModuleDetail,
    Modules,
    Report,
    Sight,
    Worst,
    gravest,
)
from portproof.parity._artefacts import ArtefactChain
from portproof.parity._blockwise import modules_hop, require_streamable, stream_replay
from portproof.parity._exports import FileJudge
from portproof.parity._options import Options
from portproof.parity._single_module import descend
from portproof.ports._inputs import Batch, few_rows, make_batch, take_rows
from portproof.ports._locate import Located, Project, artefact_path, resolve_callable
from portproof.ports._port import TITLE, Port, other
from portproof.replay._judge import settle_accepted
from portproof.replay._replay import Replay
from portproof.replay._tasks import ReplayTasks
from portproof.runners import EAGER, find_runner
from portproof.runners._choice import Choice, parse
from portproof.sides._given import given_weights
from portproof.sides._pairs import Pairs
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides, Watch
from portproof.sides._tasks import Tasks

Arrays = dict[str, np.ndarray[Any, Any]]

_EXPORT = {"torch": "onnxruntime-torch", "paddle": "onnxruntime-paddle"}
_QUICK_ROWS = 4


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
        Unavailable: a framework or the device is not there, or nothing can be the oracle.
    """
    located = port if isinstance(port, Located) else Located(port, None, Project())
    options = options or Options(**given)
    threads = options.threads or max(1, thread_budget() // max(1, len(located.port.sides)))
    with Sessions(located, options.kwargs, options.device, threads, options.blockwise) as sessions:
        return _Chain(Sides(sessions, watch), options).judge()


class _Chain:
    """One run of ``verify``: what is known so far, and the steps that add to it."""

    def __init__(self, sides: Sides, options: Options) -> None:
        self.sides, self.options, self.do = sides, options, sides.do
        self.folder = sides.folder
        self.port = sides.sessions.located.port
        self.hops: list[Hop] = []
        self.culprits: list[Culprit] = []
        self.notes: list[str] = []
        self.modules: Modules | None = None
        self.sight: Sight | None = None
        self.accepted: list[AcceptedDeviation] = []
        self.deviations: list[Deviation] = []
        self.details: tuple[ModuleDetail, ...] = ()
        self.edges: tuple[tuple[str, str], ...] = ()
        self.evidence: dict[str, Any] = {}
        self.harmless: dict[str, str] = {}
        self.replay: Replay | None = None

    def judge(self) -> Report:
        """Run every step and return the report."""
        begun = time.perf_counter()
        hello = {side: self.do(side, "importing the framework", Tasks.hello) for side in self.sides.live}
        batch = self._batch()
        for side in self.sides.live:
            self.evidence[side] = hello[side].result()
        if not self.sides.live and (self.options.weights or self.options.module or self.options.quick):
            raise BadInput(f"port '{self.port.name}' is made of files: leave out --weights, --module and --quick.")
        if (self.options.gradients or self.options.steps) and (len(self.sides.live) < 2 or self.options.blockwise):
            raise BadInput("--gradients and --steps compare two models; this port has one, or is judged --blockwise.")
        if self.options.steps:
            from portproof.training._learner import require_training

            require_training(self.port)
        if self.options.blockwise:
            require_streamable(self.sides, self.options.weights, self.options.module)
            for side in self.sides.live:
                self.do(side, "building the model", ReplayTasks.hollow)
        if self.options.module:
            received = descend(self.sides, self.options.module, batch.arrays, self.options.seed)
            batch = Batch(received, batch.families, batch.notes)
            self.port = self.sides.sessions.located.port
        self.inputs = self.folder / "inputs.safetensors"
        save_arrays(self.inputs, batch.arrays)
        self.few, self.quick_inputs = self.folder / "few.safetensors", self.folder / "quick.safetensors"
        self.families, self.rows = list(batch.families), len(batch.families)
        self.few_rows = few_rows(batch, quick=self.options.quick and not self.options.gradients)
        save_arrays(self.few, take_rows(self.port, batch.arrays, self.few_rows))
        if not self.sides.live:
            chain = ArtefactChain(self.sides, self.inputs, self.few, self.hops, self.culprits)
            chain.judge()
        elif self._match_weights():
            self._chain(batch)
        return self._report(batch, time.perf_counter() - begun)

    def _batch(self) -> Batch:
        batch = make_batch(
            self.port, seed=self.options.seed, images=self.options.images,
            resolve=lambda name: resolve_callable(name, "preprocess"),
        )  # fmt: skip
        self.notes += batch.notes
        return batch

    def _match_weights(self) -> bool:
        """Settle the bijection of the state dicts; what breaks it is a divergence with its culprits."""
        problems = self.sides.match().problems
        for problem in problems:
            side = problem.side or "unknown"
            self.culprits.append(Culprit(side, problem.module, "weights", "forward", problem.message))
        if problems:
            reason = f"{len(problems)} tensors have no equal: {problems[0].message}"
            self.hops.append(Hop("semantics", "torch", "Paddle", "float64", "none", "divergent", None, reason))
        return not problems

    def _chain(self, batch: Batch) -> None:
        """Judge on the weights at hand, then on those that make every channel matter."""
        given = self.options.weights
        if self.options.blockwise and given is not None:
            self._judge_blockwise(given)
            return
        if given is not None:
            tensors, side = given_weights(given, self.sides.open)
            files = self.sides.spread(tensors, side)
            self._judge_weights(f"given ({given.name})", files, exports=not self.options.quick)
            if any(hop.verdict == "inconclusive" for hop in self.hops):
                self.notes.append(
                    f"the given weights hide faults: some output hardly depends on the input ({given.name}); "
                    "the verdict on sensitised weights below is the one to trust"
                )
        if any(self.port.artefact(side) for side in self.port.sides):
            files = self.sides.spread(*self._factory_weights())
            self._judge_weights("factory", files, exports=False)
            return
        for follower in self.sides.live[1:]:
            self.do(follower, "building the float64 model", Tasks.prepare, precision="float64")
        tensors, side = self.sides.sensitise(self.inputs, self.options.seed, thread_budget())
        files = self.sides.spread(tensors, side)
        self._judge_weights("sensitised", files, exports=given is None and not self.options.quick)

    def _factory_weights(self) -> tuple[Arrays, str]:
        side, out = self.sides.live[0], self.folder / "factory.safetensors"
        self.sides.open[side].call(Tasks.save_state, out=out)
        return load_file(out), side

    def _raised(self, error: ModelRaised) -> None:
        text = f"raises where the other side runs: {error.reason}"
        self.culprits.append(Culprit(error.side, error.module, "raises", "forward", text))

    def _judge_weights(self, label: str, files: Mapping[str, Path], *, exports: bool) -> None:
        """Judge every hop under one set of weights."""
        lead = self.sides.live[0]
        quick = self.options.quick
        inputs = self._quick_inputs() if quick else self.inputs
        for side in self.sides.live:
            self.do(side, "loading weights", Tasks.load, weights=files[side])
        replay = self._submit_replay(label)
        captures: dict[str, Future[Any]] = {}
        for side in self.sides.live:
            captures[side] = self.do(
                side, "running in float64 and float32", Tasks.run,
                runner=EAGER[side], inputs=inputs, out=self._out(label, EAGER[side]),
                precisions=["float64", "float32"], single=0 if quick else 2,
            )  # fmt: skip
        slow = self.folder / "slow.safetensors"
        slow.unlink(missing_ok=True)
        slowly = self.do(lead, "adding term by term", ReplayTasks.capture_slowly, inputs=inputs, out=slow)
        if captures[lead].exception() is None:
            slowly.result()
            own = self._outputs(label, lead)
            chaotic = self._chaotic(own["float64"], [own["float32"], *([load_file(slow)] if slow.is_file() else [])])
            if chaotic:
                self._leave_out(chaotic)
                self._judge_weights(label, files, exports=exports)
                return
        rounded = self.do(lead, "loading weights", Tasks.rounded)
        if replay is not None:
            try:
                replay.submit()
            except ModelRaised as error:
                self._raised(error)
                replay = None
        looked = look(replay, self.options.seed) if replay is not None and not quick else None
        exported = self._submit_exports(label) if exports else {}
        outputs = self._collect(captures, label)
        if lead not in outputs:
            return
        for setting, count in rounded.result().items():
            where = f"{count} modules" if count > 1 else "one module"
            self.notes.append(f"Paddle keeps {setting} ({where}) in float32; the float64 oracle has it rounded alike")
        floors = output_floors(
            [(outputs[s]["float32"], outputs[s]["float64"]) for s in self.sides.live if s in outputs]
        )
        if slow.is_file():
            floors = slower_floors(floors, load_file(slow), outputs[lead]["float64"])
        self._judge_sides(label, outputs, floors)
        if replay is not None:
            self._judge_replay(replay)
            self.replay = replay
            if self.options.pictures and "torch" in self.sides.live:
                flow = self.do("torch", "following tensors", ReplayTasks.dataflow, inputs=self.few).result()
                self.edges = tuple((source, target) for source, target in flow)
        self._judge_lower(label, inputs, outputs[lead]["float64"], floors)
        if replay is not None and looked is not None and not self.culprits:
            self._see(sight(replay, looked, label), label)
        self._judge_files(label, exported, outputs[lead]["float64"], floors)
        self._judge_learning(label, files)

    def _judge_learning(self, label: str, files: Mapping[str, Path]) -> None:
        """Judge gradients, and trainings step by step, where they are asked for and both sides are there."""
        options = self.options
        if not (options.gradients or options.steps) or len(self.sides.live) < 2:
            return
        from portproof.lockstep._hops import judge_gradients, judge_training

        pairs = self._pairs()
        if self.replay is not None and self.modules is not None:
            pairs = self.replay.judged_pairs(self.modules.recut)
        alone = [path for path in pairs.unseen if "(Dropout" in path]
        if alone:
            more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
            self.notes.append(f"{alone[0]}{more} has no partner, so its mask is not the other side's: pair it in taps")
        found = []
        if options.gradients:
            found.append(judge_gradients(self.sides, pairs, self.few, files, options.seed, label))
        if options.steps and (label.startswith("given") or options.weights is None):
            found.append(
                judge_training(
                    self.sides, pairs, self.inputs, files, options.steps, options.training, options.seed, label
                )
            )
        for learned in found:
            self.hops += learned.hops
            self.culprits += learned.culprits
            known = {(deviation.module, deviation.cause) for deviation in self.deviations}
            self.deviations += [d for d in learned.deviations if (d.module, d.cause) not in known]

    def _out(self, label: str, runner: str) -> Path:
        return self.folder / f"{'given' if label.startswith('given') else label}-{runner}"

    def _quick_inputs(self) -> Path:
        if not self.quick_inputs.is_file():
            rows = load_file(self.inputs)
            chosen = list(range(0, self.rows, max(1, self.rows // _QUICK_ROWS)))
            save_arrays(self.quick_inputs, take_rows(self.port, rows, chosen))
            self.families, self.rows = [self.families[row] for row in chosen], len(chosen)
        return self.quick_inputs

    def _submit_replay(self, label: str) -> Replay | None:
        live = self.sides.live
        if len(live) < 2 or not self.options.modules:
            return None
        taps = self.folder / f"taps-{'given' if label.startswith('given') else label}-{self.rows}"
        return Replay(
            self.do, live[0], live[1], self._pairs(), self.few, taps, accepted=self.port.accepted,
            pictures=self.options.pictures,
        )  # fmt: skip

    def _pairs(self) -> Pairs:
        """Pair the modules, and note which are built otherwise, should it not show in what they compute."""
        pairs = self.sides.pairs()
        self.harmless = {d.key: d.text for d in pairs.settings if not d.training}
        return pairs

    def _judge_blockwise(self, weights: Path) -> None:
        """Judge every module by itself, without ever holding a model."""
        label = f"given ({weights.name})"
        try:
            replay = stream_replay(self.sides, self._pairs(), weights, self.few)
        except ModelRaised as error:
            raise BadInput(str(error)) from error
        self._judge_replay(replay, lambda modules: self.hops.append(modules_hop(self.sides, label, modules)))
        for side in self.sides.live:
            self.evidence[side] = {**self.evidence[side], "streamed": self.sides.open[side].call(ReplayTasks.streamed)}
        self.notes.append(
            "module by module: no runtime, no export and no planted fault was run; float32 is judged within modules"
        )

    def _see(self, seen: Sight, label: str) -> None:
        """Say what planted faults the check saw, and which of them these weights hide."""
        if label.startswith("given"):
            hidden = seen.without_effect
            if hidden:
                self.notes.append(
                    f"{len(hidden)} of {seen.planted + len(hidden)} planted faults would be invisible under the given "
                    f"weights ({hidden[0]}); sensitised weights, below, show them, and trained ones would"
                )
            return
        self.sight = seen

    def _submit_exports(self, label: str) -> dict[str, Future[Any]]:
        return {
            side: self.do(side, "exporting to ONNX", Tasks.export, inputs=self.inputs, out=self.folder / f"{side}.onnx")
            for side in self.sides.live
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
            outputs[side] = self._outputs(label, side)
        if len(raised) == len(captures):
            raise BadInput("; ".join(str(error) for error in raised))
        for one in raised:
            self._raised(one)
            source = TITLE[other(one.side)]
            reason = f"{TITLE[one.side]} raises where {source} runs: {one.reason}"
            self.hops.append(Hop("semantics", source, TITLE[one.side], "float64", label, "divergent", None, reason))
        return outputs

    def _outputs(self, label: str, side: str) -> dict[str, Arrays]:
        folder = self._out(label, EAGER[side])
        return {path.name.removesuffix(".safetensors"): load_file(path) for path in folder.glob("*.safetensors")}

    def _chaotic(self, oracle: Arrays, low: Sequence[Arrays]) -> list[int]:
        """Return the rows on which float32 itself cannot follow float64, where it can on others.

        A deep network may amplify rounding exponentially on a loud input. Such a row says nothing, and drowns the rest.
        """
        gone: set[int] = set()
        for name, wide in oracle.items():
            if self.port.batch_axes.get(name, 0) is None or len(wide) != self.rows or wide.dtype.kind != "f":
                continue
            scale = _row_scales(wide)
            for narrow in low:
                error = _row_scales(narrow[name] - wide)
                gone |= {row for row in range(self.rows) if FLOOR_MULTIPLE * error[row] >= scale[row] > 0}
        return sorted(gone) if len(gone) < self.rows - 1 else []

    def _leave_out(self, rows: list[int]) -> None:
        """Go on without some rows, and say so."""
        said = ", ".join(dict.fromkeys(self.families[row] for row in rows))
        self.notes.append(
            f"left out: {said}; float32 cannot follow float64 there, the network amplifies rounding so much"
        )
        kept = [row for row in range(self.rows) if row not in rows]
        path = self.quick_inputs if self.options.quick else self.inputs
        arrays = take_rows(self.port, load_file(path), kept)
        save_arrays(path, arrays)
        self.families, self.rows = [self.families[row] for row in kept], len(kept)
        self.few_rows = [0] if self.options.quick or self.rows < 2 else [0, self.rows // 2]
        save_arrays(self.few, take_rows(self.port, arrays, self.few_rows))

    def _judge_sides(self, label: str, outputs: dict[str, dict[str, Arrays]], floors: Mapping[str, Floor]) -> None:
        """Float64 between the sides, float32 of each against the oracle, and rows one by one against the batch."""
        runs = [
            SideRun(TITLE[side], find_runner(EAGER[side]).title, by["float32"], by["float64"], by.get("float32.single"))
            for side, by in sorted(outputs.items(), key=lambda item: self.sides.live.index(item[0]))
        ]
        self.hops += side_hops(runs, label, floors)

    def _judge_lower(self, label: str, inputs: Path, oracle: Arrays, floors: Mapping[str, Floor]) -> None:
        """Judge each side in the lower precisions that were asked for; where it has no kernels it is unavailable.

        A deep network amplifies bfloat16's rounding until its outputs can tell nothing; its modules, each on the
        recorded input, still can.
        """
        asked = [(precision, side) for precision in self.options.precisions for side in self.sides.live]
        running = {
            (precision, side): self.do(
                side, f"running in {precision}", Tasks.run, runner=EAGER[side], inputs=inputs,
                out=self._out(label, f"{side}-{precision}"), precisions=[precision], single=0,
            )
            for precision, side in asked
        }  # fmt: skip
        source = f"{TITLE[self.sides.live[0]]} float64 (oracle)"
        for (precision, side), future in running.items():
            title = f"{find_runner(EAGER[side]).title} {precision}"
            try:
                future.result()
            except PortproofError as error:
                self.hops.append(Hop("numerics", source, title, precision, label, "unavailable", None, str(error)))
                continue
            found = load_file(self._out(label, f"{side}-{precision}") / f"{precision}.safetensors")
            hop = judge_outputs("numerics", source, title, precision, label, found, oracle, floors)
            if self.replay is not None:
                culprits, modules = self.replay.in_precision(side, precision)
                hop = replace(hop, modules=modules)
                self.culprits += culprits
                if culprits and hop.verdict != "divergent":
                    hop = replace(hop, verdict="divergent", reason=f"in module '{culprits[0].module}'")
                elif hop.verdict == "inconclusive" and len(modules.blind) < modules.judged:
                    worst = Worst(modules.worst_module, modules.worst_ratio, None, None, None)
                    reason = f"{hop.reason}; each of {modules.judged} modules, on its own, rounds as it should"
                    hop = replace(hop, verdict="equivalent", worst=worst, reason=reason)
            self.hops.append(hop)

    def _judge_replay(self, replay: Replay, covered: Callable[[Modules], None] | None = None) -> None:
        """Name the modules that compute something else on the same input; ``covered`` hears what was judged first."""
        modules, culprits, found = replay.judge()
        if covered is not None:
            covered(modules)
        if self.modules is None or modules.first_divergence or not self.culprits:
            self.details = replay.details
        self.modules = modules if self.modules is None or modules.first_divergence else self.modules
        known = {culprit.module for culprit in culprits}
        alike: dict[str, list[str]] = {}
        for key, text in self.harmless.items():
            if key not in known:
                alike.setdefault(text, []).append(f"'{key}'")
        for text, keys in alike.items():
            which = f"{keys[0]} is" if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more are"
            self.notes.append(f"{which} built otherwise: {text}; it makes no difference on these inputs")
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
        source = f"{TITLE[self.sides.live[0]]} float64 (oracle)"
        few: Arrays = {}
        if exported:
            few = {n: a[self.few_rows] if a.shape[:1] == (self.rows,) else a for n, a in oracle.items()}
        judge = FileJudge(
            self.do, self.inputs, self.few, self.folder, label, source, oracle, few, floors, self.replay, self.culprits
        )
        for artefact in self.port.sides:
            if self.port.artefact(artefact):
                path = artefact_path(self.sides.sessions.located, artefact)
                runner = find_runner("onnxruntime-torch" if path.suffix == ".onnx" else "paddle-program")
                self.hops += judge.judge("numerics", path.name, path, runner)
        for side, future in exported.items():
            title = f"{TITLE[side]} export"
            try:
                fixed = future.result()
            except PortproofError as error:
                self.hops.append(judge.unavailable("export", title, error))
                continue
            if fixed:
                sizes = ", ".join(f"'{name}'" for name in fixed)
                self.notes.append(
                    f"the {title} has {sizes} fixed at the port's size: its exporter cannot leave it open"
                )
            path = self.folder / f"{side}.onnx"
            self.hops += judge.interpret(title, path)
            self.hops += judge.judge("export", title, path, find_runner(_EXPORT[side]))
            judge.blame(side, title, path, self.hops)
        for name in self.options.runners:
            self.hops.append(self._judge_runner(parse(name), judge))

    def _judge_runner(self, choice: Choice, judge: FileJudge) -> Hop:
        """Judge a runner that was asked for by name, on the very weights and inputs of the rest."""
        info, precision = choice.info, choice.info.precisions[-1]
        out = self.folder / f"runner-{choice.name.replace(':', '-')}"
        artefact: Path | None = None
        try:
            if info.side not in self.sides.live:
                raise BadInput(f"runner '{info.name}' has nothing to run in port '{self.port.name}'.")
            if info.artefact == "onnx":
                path = self.folder / f"{info.side}.onnx"
                if not path.is_file():
                    self.do(info.side, "exporting to ONNX", Tasks.export, inputs=self.inputs, out=path).result()
                artefact = path
            elif info.artefact == "program":
                path = self.folder / "program" / "inference.json"
                if not path.is_file():
                    prefix = path.with_suffix("")
                    self.do(info.side, "saving the program", Tasks.save_program, out=prefix).result()
                artefact = path
            self.do(
                info.process, f"running {choice.title}", Tasks.run, runner=info.name, inputs=self.inputs,
                out=out, precisions=[precision], single=0, artefact=artefact,
                settings=choice.full_settings,
            ).result()  # fmt: skip
        except PortproofError as error:
            return judge.unavailable("numerics", choice.title, error)
        found = load_file(out / f"{precision}.safetensors")
        return judge_outputs(
            "numerics", judge.source, f"{choice.title}, {precision}", precision, judge.weights, found, judge.oracle,
            judge.floors,
        )  # fmt: skip

    def _report(self, batch: Batch, seconds: float) -> Report:
        verdicts = [hop.verdict for hop in self.hops]
        if any(c.kind == "accepted" for c in self.culprits) or (self.culprits and "divergent" not in verdicts):
            verdicts.append("divergent")
        labels = tuple(dict.fromkeys(hop.weights for hop in self.hops))
        usable = [h.verdict for h in self.hops if not (h.verdict == "inconclusive" and h.weights.startswith("given"))]
        verdict = gravest(verdicts if self.options.weights is None else [*usable, *verdicts[len(self.hops) :]])
        names = ("onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "paddle2onnx")
        packages = package_versions(*names) if "runtime" in self.sides.open else {}
        return Report(
            port=self.port.name,
            verdict=verdict,
            hops=tuple(self.hops),
            culprits=tuple(self.culprits),
            sight=self.sight,
            modules=self.modules,
            details=self.details,
            edges=self.edges,
            weights=labels,
            ignored=self.sides.account.ignored,
            accepted=tuple(self.accepted),
            deviations=tuple(self.deviations),
            inputs=tuple(dict.fromkeys(batch.families)),
            notes=tuple(dict.fromkeys(self.notes)),
            environment={
                **host(),
                "packages": packages,
                "sides": self.evidence,
                "floor_multiple": FLOOR_MULTIPLE,
                "floor_multiple_lower": LOWER_MULTIPLE,
            },
            seconds={**self.sides.seconds, "total": round(seconds, 3)},
        )


def _row_scales(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the root mean square of every row."""
    return np.asarray(np.sqrt(np.mean(np.square(array.reshape(len(array), -1), dtype=np.float64), axis=1)))
