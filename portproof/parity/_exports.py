"""Hops of files, as they are written and as the runtime rewrites them, and who is to blame where one diverges."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._errors import PortproofError
from portproof.graphs._tasks import GraphTasks
from portproof.judge._floor import Floor
from portproof.judge._hops import batch_hop, judge_outputs
from portproof.judge._report import Culprit, Hop
from portproof.replay._replay import Replay
from portproof.runners import RunnerInfo
from portproof.sides._sides import Do
from portproof.sides._tasks import Tasks

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class FileJudge:
    """Runs files and judges them against one oracle.

    Attributes:
        do: submits a task to a process.
        inputs: file of the rows.
        few: file of the few rows that are replayed.
        folder: for captures.
        weights: label of the weights in the files.
        source: title of the oracle.
        oracle: its outputs.
        few_oracle: its outputs on the few rows.
        floors: by output.
        replay: with the recorded taps; None where there is none.
        culprits: added to, where an export or a run of it is divergent.
    """

    do: Do
    inputs: Path
    few: Path
    folder: Path
    weights: str
    source: str
    oracle: Arrays
    few_oracle: Arrays
    floors: Mapping[str, Floor]
    replay: Replay | None
    culprits: list[Culprit]

    def interpret(self, title: str, path: Path) -> list[Hop]:
        """Judge an export's own meaning: the graph interpreted in float64, without any runtime."""
        out, target = self.folder / f"{path.stem}-interpreted.safetensors", f"{title}, interpreted"
        try:
            self.do(
                "runtime", f"interpreting {title}", GraphTasks.interpret,
                artefact=path, inputs=self.few, out=out,
            ).result()  # fmt: skip
        except PortproofError as error:
            return [self.unavailable("graph", target, error)]
        # Exporters fold BatchNorm into weights and write attributes in float32: those constants are rounded, honestly.
        return [self._hop("graph", self.source, target, load_file(out), self.few_oracle)]

    def blame(self, side: str, title: str, path: Path, hops: list[Hop]) -> None:
        """Where a hop of an export is divergent, name the node, the pass or the runtime that is wrong."""
        wrong = [hop.kind for hop in hops if hop.verdict == "divergent" and hop.target.startswith(title)]
        doing = "locating the divergence"
        if "graph" in wrong and self.replay is not None:
            self.culprits.extend(blame_export(self.replay, side, path))
        elif "export" in wrong:
            for node in self.do("runtime", doing, GraphTasks.blame_runtime, artefact=path, inputs=self.few).result():
                text = f"ONNX Runtime computes {node} of the {title} wrongly, from right inputs"
                self.culprits.append(Culprit(side, node, "runtime", "forward", text))
        elif "runtime" in wrong:
            found = self.do("runtime", doing, GraphTasks.blame_optimiser, artefact=path, inputs=self.few).result()
            passes = ", ".join(found.passes) or "no single pass"
            text = f"ONNX Runtime's optimiser ({passes}) changes what {found.nodes} of the {title} computes"
            self.culprits.append(Culprit(side, found.first, "runtime", "forward", text))

    def unavailable(self, kind: str, title: str, error: PortproofError) -> Hop:
        """Return the hop of a file that could not be made or run."""
        return Hop(kind, self.source, title, "float32", self.weights, "unavailable", None, str(error))

    def judge(self, kind: str, title: str, path: Path, runner: RunnerInfo) -> list[Hop]:
        """Run one file; each way to run it is a hop of its own, and a way that fails is the last.

        Args:
            kind: of the first hop, ``export`` or ``numerics``.
            title: of the file.
            path: the file.
            runner: what runs it.
        """
        hops: list[Hop] = []
        before: Arrays | None = None
        for optimise, how in self._ways(title, runner):
            out = self.folder / f"{path.stem}-{kind}-{optimise}"
            try:
                self.do(
                    runner.process, f"running {title}", Tasks.run, runner=runner.name, inputs=self.inputs,
                    out=out, precisions=["float32"], artefact=path, optimise=optimise,
                ).result()  # fmt: skip
            except PortproofError as error:
                return [*hops, self.unavailable(kind, how, error)]
            found = load_file(out / "float32.safetensors")
            if before is None:
                hops.append(self._hop(kind, self.source, how, found, self.oracle))
            else:
                hops.append(self._hop("runtime", f"{title}, as written", how, found, before))
            before = found
            if optimise:
                single = load_file(out / "float32.single.safetensors")
                hops += batch_hop(how, self.weights, found, single, self.floors)
        return hops

    @staticmethod
    def _ways(title: str, runner: RunnerInfo) -> list[tuple[bool, str]]:
        if runner.artefact == "program":
            return [(True, f"{title}, {runner.title}")]
        return [(False, f"{title}, ONNX Runtime as written"), (True, f"{title}, ONNX Runtime optimised")]

    def _hop(self, kind: str, source: str, target: str, found: Arrays, expected: Arrays) -> Hop:
        return judge_outputs(kind, source, target, "float32", self.weights, found, expected, self.floors)


def blame_export(replay: Replay, side: str, path: Path) -> list[Culprit]:
    """Name the modules whose exported nodes compute something else on the recorded input."""
    assert replay.floors is not None
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
    for answer in answers:
        tap = answer.tap
        if replay.floors.is_divergent(tap, "float32"):
            amount = tap.difference.mismatch or f"differ by {tap.difference.rms:.1e} of their scale"
            text = f"on the same input the exported nodes ({answer.nodes}) {amount}"
            culprits.append(Culprit(side, tap.key, "export", "forward", text))
    return culprits
