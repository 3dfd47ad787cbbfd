"""Hops of files, as they are written and as the runtime rewrites them, and who is to blame where one diverges."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors.numpy import load_file

from portproof._errors import PortproofError
from portproof._numbers import Arrays
from portproof.graphs._tasks import GraphTasks
from portproof.judge._found import Found
from portproof.judge._hops import batch_hop, judge_outputs
from portproof.judge._report import Culprit, Hop
from portproof.parity._rows import Rows
from portproof.ports._locate import artefact_path
from portproof.ports._port import Side
from portproof.replay._oracle import Oracle
from portproof.replay._replay import Replayed
from portproof.runners import RunnerInfo, find_runner
from portproof.sides._sides import Sides
from portproof.sides._tasks import Ran, Tasks
from portproof.sides._weights import Weights

_EXPORT = {"torch": "onnxruntime-torch", "paddle": "onnxruntime-paddle"}

#: Side to the export that is under way; it returns the free sizes that had to be fixed.
Exporting = dict[Side, "Future[tuple[str, ...]]"]


def submit_exports(sides: Sides, weights: Weights, rows: Rows, only: Sequence[Side]) -> Exporting:
    """Submit the export of some sides that are models."""
    return {
        side: sides.do(side, "exporting to ONNX", Tasks.export, inputs=rows.all, out=exported(sides, weights, side))
        for side in only
    }


def exported(sides: Sides, weights: Weights, side: str) -> Path:
    """Return where a side's export lies, or will."""
    return sides.folder / f"{weights.kind}-{side}.onnx"


@dataclass(frozen=True)
class _Meaning:
    """A graph that is being interpreted: what that is in words, and what its outputs should be."""

    target: str
    future: Future[str]
    out: Path
    expected: Arrays


@dataclass(frozen=True)
class _Way:
    """A file that is being run in one way: what that is in words, and whether the runtime may rewrite it."""

    how: str
    optimise: bool
    future: Future[Ran]
    out: Path


@dataclass(frozen=True)
class FileJudge:
    """Runs files and judges them against one oracle.

    Attributes:
        sides: submit the tasks.
        rows: that are run.
        weights: that are in the files.
        oracle: of these rows and weights.
        replayed: with the recorded taps; None where there is none.
        own: side to its own float64 outputs where the sides differ: what is made of a side is judged by it alone.
        precision: that the files are written in.
    """

    sides: Sides
    rows: Rows
    weights: Weights
    oracle: Oracle
    replayed: Replayed | None = None
    own: Mapping[str, Oracle] = field(default_factory=dict)
    precision: str = "float32"

    def of(self, side: str) -> FileJudge:
        """Return the judge of what is made of a side."""
        return replace(self, oracle=self.own.get(side, self.oracle))

    def judge_sides(self) -> Found:
        """Judge the sides that are files, each with what runs it."""
        located = self.sides.sessions.located
        found = Found()
        for side in located.port.sides:
            if located.port.artefact(side):
                path = artefact_path(located, side)
                judge = replace(self, precision=self._written(path))
                runner = find_runner("onnxruntime-torch" if path.suffix == ".onnx" else "paddle-program")
                found.hops.extend(judge.judge("numerics", path.name, path, runner))
        return found

    def _written(self, path: Path) -> str:
        """Return the precision that a file is written in; a program says nothing of it."""
        if path.suffix != ".onnx":
            return self.precision
        return self.sides.do("runtime", f"reading {path.name}", GraphTasks.precision, artefact=path).result()

    def judge_exports(self, exporting: Exporting) -> Found:
        """Judge what the sides are exported to: what it means, as it is written, and as the runtime rewrites it."""
        found = Found()
        sides = {future: side for side, future in exporting.items()}
        submitted: dict[Side, tuple[_Meaning, list[_Way]]] = {}
        for future in as_completed(sides):
            if future.exception() is None:
                side = sides[future]
                title, path, judge = f"{side.title} export", exported(self.sides, self.weights, side), self.of(side)
                runner = find_runner(_EXPORT[side])
                submitted[side] = judge.submit_meaning(title, path), judge.submit_ways(title, path, runner)
        for side in (side for side in self.sides.live if side in exporting):
            title = f"{side.title} export"
            try:
                fixed = exporting[side].result()
            except PortproofError as error:
                found.hops.append(self.unavailable("export", title, error))
                continue
            if fixed:
                sizes = ", ".join(f"'{name}'" for name in fixed)
                found.notes.append(
                    f"the {title} has {sizes} fixed at the port's size: its exporter cannot leave it open"
                )
            path, judge = exported(self.sides, self.weights, side), self.of(side)
            interpreting, running = submitted[side]
            meaning, run = judge.judge_meaning(interpreting), judge.judge_ways("export", title, running)
            if meaning.verdict == "unavailable" and run[0].verdict != "unavailable":
                # What the runtime runs has an answer, and that can be judged; what it cannot say is who is to blame.
                reason = f"judged by the runtime's own answer alone: {meaning.reason}"
                found.hops.extend([replace(run[0], reason=reason), *run[1:]])
                continue
            found.hops.extend([meaning, *run])
            found.culprits.extend(self.blame(side, title, path, [meaning, *run]))
        return found

    def submit_meaning(self, title: str, path: Path) -> _Meaning:
        """Submit what an export itself means: the graph interpreted in float64, without any runtime."""
        out = self.sides.folder / f"{path.stem}-interpreted.safetensors"
        inputs, expected = self.rows.few_of(self.oracle.outputs)
        future = self.sides.do(
            self.sides.interpreter, f"interpreting {title}", GraphTasks.interpret,
            artefact=path, inputs=inputs, out=out,
        )  # fmt: skip
        return _Meaning(f"{title}, interpreted", future, out, expected)

    def judge_meaning(self, meaning: _Meaning) -> Hop:
        """Judge what an export itself means."""
        try:
            meaning.future.result()
        except PortproofError as error:
            return self.unavailable("graph", meaning.target, error)
        # Exporters fold BatchNorm into weights and write attributes in float32: those constants are rounded, honestly.
        return self._hop("graph", self.oracle.source, meaning.target, load_file(meaning.out), meaning.expected)

    def blame(self, side: str, title: str, path: Path, hops: Sequence[Hop]) -> list[Culprit]:
        """Where a hop of an export is divergent, name the node, the pass or the runtime that is wrong."""
        wrong = [hop.kind for hop in hops if hop.verdict == "divergent"]
        doing, do, few = "locating the divergence", self.sides.do, self.rows.few
        if "graph" in wrong and self.replayed is not None:
            return blame_export(self.replayed, side, path)
        if "export" in wrong:
            nodes = do("runtime", doing, GraphTasks.blame_runtime, artefact=path, inputs=few).result()
            text = f"of the {title} wrongly, from right inputs"
            return [
                Culprit(
                    side, n.named, "runtime", "forward", f"ONNX Runtime computes {n.named} {text}", origins=n.origins
                )
                for n in nodes
            ]
        if "runtime" in wrong:
            found = do("runtime", doing, GraphTasks.blame_optimiser, artefact=path, inputs=few).result()
            passes = ", ".join(found.passes) or "no single pass"
            text = f"ONNX Runtime's optimiser ({passes}) changes what {found.nodes.named} of the {title} computes"
            return [Culprit(side, found.first, "runtime", "forward", text, origins=found.nodes.origins)]
        return []

    def unavailable(self, kind: str, title: str, error: PortproofError) -> Hop:
        """Return the hop of a file that could not be made or run."""
        source = self.oracle.source
        return Hop(kind, source, title, self.precision, self.weights.label, "unavailable", None, str(error))

    def judge(self, kind: str, title: str, path: Path, runner: RunnerInfo) -> list[Hop]:
        """Run one file; each way to run it is a hop of its own, and a way that fails is the last.

        Args:
            kind: of the first hop, ``export`` or ``numerics``.
            title: of the file.
            path: the file.
            runner: what runs it.
        """
        return self.judge_ways(kind, title, self.submit_ways(title, path, runner))

    def submit_ways(self, title: str, path: Path, runner: RunnerInfo) -> list[_Way]:
        """Submit the ways to run a file; see :meth:`judge`."""
        found = []
        for optimise, how in _ways(title, runner):
            out = self.sides.folder / f"{path.stem}-run-{optimise}"
            future = self.sides.do(
                runner.process, f"running {title}", Tasks.run, runner=runner.name, inputs=self.rows.judged,
                out=out, precisions=["float32"], artefact=path, optimise=optimise, single=2 if optimise else 0,
            )  # fmt: skip
            found.append(_Way(how, optimise, future, out))
        return found

    def judge_ways(self, kind: str, title: str, ways: Sequence[_Way]) -> list[Hop]:
        """Judge the ways to run a file; see :meth:`judge`."""
        hops: list[Hop] = []
        before: Arrays | None = None
        for way in ways:
            try:
                way.future.result()
            except PortproofError as error:
                return [*hops, self.unavailable(kind, way.how, error)]
            found = load_file(way.out / "float32.safetensors")
            if before is None:
                hops.append(self._hop(kind, self.oracle.source, way.how, found, self.oracle.outputs, self.precision))
            else:
                hops.append(self._hop("runtime", f"{title}, as written", way.how, found, before, self.precision))
            before = found
            if way.optimise:
                single = load_file(way.out / "float32.single.safetensors")
                hops += batch_hop(way.how, self.weights.label, found, single, self.oracle.floors, self.precision)
        return hops

    def _hop(
        self, kind: str, source: str, target: str, found: Arrays, expected: Arrays, precision: str = "float32"
    ) -> Hop:
        return judge_outputs(
            kind, source, target, precision, self.weights.label, found, expected, self.oracle.floors
        )  # fmt: skip


def _ways(title: str, runner: RunnerInfo) -> list[tuple[bool, str]]:
    if runner.artefact == "program":
        return [(True, f"{title}, {runner.title}")]
    return [(False, f"{title}, ONNX Runtime as written"), (True, f"{title}, ONNX Runtime optimised")]


def blame_export(replayed: Replayed, side: str, path: Path) -> list[Culprit]:
    """Name the modules whose exported nodes compute something else on the recorded input."""
    replay = replayed.replay
    keys = replay.pairs.keys[side]
    holders = {path.rpartition(".")[0] for path in keys if path}
    # A convolution before a BatchNorm may have it folded in; then its output in the graph is not its own.
    listed = list(replay.pairs.described[side].items())
    folded = {
        key for (key, _), (_, (layer, _)) in itertools.pairwise(listed) if layer.startswith(("BatchNorm", "Sync"))
    }
    paths = {path: key for path, key in keys.items() if path not in holders and key not in folded}
    answers = replay.do(
        "runtime", "locating the divergence", GraphTasks.blame_export,
        artefact=path, exporter=side, keys=paths, inputs=replay.inputs, folder=replay.taps,
    ).result()  # fmt: skip
    culprits: list[Culprit] = []
    # What differs between the sides is no exporter's fault: the taps are the leading side's.
    differing = replayed.absolved | {culprit.module for culprit in replayed.culprits}
    for answer in answers:
        tap = answer.tap
        if tap.key not in differing and replayed.floors.is_divergent(tap, "float32"):
            amount = tap.difference.mismatch or f"differ by {tap.difference.rms:.1e} of their scale"
            text = f"on the same input the exported nodes ({answer.nodes.named}) {amount}"
            culprits.append(Culprit(side, tap.key, "export", "forward", text, origins=answer.nodes.origins))
    return culprits
