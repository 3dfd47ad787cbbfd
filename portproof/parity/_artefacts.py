"""Ports whose sides are files alone: the first graph, interpreted in float64, is the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._errors import PortproofError, Unavailable
from portproof.graphs._tasks import GraphTasks
from portproof.judge._floor import output_floors
from portproof.judge._hops import judge_outputs
from portproof.judge._report import Culprit, Hop
from portproof.parity._exports import FileJudge
from portproof.ports._locate import artefact_path
from portproof.runners import find_runner
from portproof.sides._sides import Sides

Arrays = dict[str, np.ndarray[Any, Any]]

#: What files are judged on: the weights that are in them.
LABEL = "in the file"


@dataclass
class ArtefactChain:
    """The hops of files: each graph's meaning, the two graphs against each other, each file in its runtime.

    Attributes:
        sides: of the port; none of them is a model.
        inputs: file of the rows.
        few: file of a few rows.
        hops, culprits: what was found.
    """

    sides: Sides
    inputs: Path
    few: Path
    hops: list[Hop] = field(default_factory=list)
    culprits: list[Culprit] = field(default_factory=list)

    def judge(self) -> None:
        """Run every hop.

        Raises:
            Unavailable: no side is a graph that can be interpreted, so there is no oracle.
            BadInput: a file is none, or has other inputs and outputs than the port.
        """
        port = self.sides.sessions.located.port
        sides = sorted(port.sides, key=lambda side: side != "torch")
        paths: dict[str, Path] = {side: artefact_path(self.sides.sessions.located, side) for side in sides}
        graphs = {side: path for side, path in paths.items() if path.suffix == ".onnx"}
        if not graphs:
            raise Unavailable(
                f"port '{port.name}' is a Paddle program alone, which nothing here runs in float64, so there is no "
                "oracle; give a side as a factory or as an .onnx file."
            )
        outputs = {side: self._interpret(path) for side, path in graphs.items()}
        floors = output_floors([(low, high) for high, low in outputs.values()])
        lead = next(iter(graphs))
        oracle, source = outputs[lead][0], f"{graphs[lead].name}, interpreted in float64 (oracle)"
        for side, path in graphs.items():
            if side != lead:
                found = outputs[side][0]
                # Two graphs may have folded constants, each rounded to float32 once: float32's floors are what counts.
                target = f"{path.name}, interpreted in float64"
                self.hops.append(judge_outputs("semantics", source, target, "float32", LABEL, found, oracle, floors))
                if self.hops[-1].verdict == "divergent":
                    self._say_what_differs(graphs)
        judge = FileJudge(
            self.sides.do, self.inputs, self.few, self.sides.folder, LABEL, source, oracle, {}, floors, None,
            self.culprits,
        )  # fmt: skip
        for side, path in paths.items():
            # A file is judged against what it means itself; whether the two mean the same is the hop above.
            own = judge
            if side in graphs:
                high, low = outputs[side]
                source = judge.source if side == lead else f"{path.name}, interpreted in float64"
                own = replace(judge, source=source, oracle=high, floors=output_floors([(low, high)]))
            runner = find_runner("onnxruntime-torch" if side in graphs else "paddle-program")
            hops = own.judge("export" if side in graphs else "numerics", path.name, path, runner)
            self.hops += hops
            if side in graphs:
                own.blame(side, path.name, path, hops)

    def _interpret(self, path: Path) -> tuple[Arrays, Arrays]:
        """Return a graph's outputs in float64 and in float32."""
        found: list[Arrays] = []
        for precision in ("float64", "float32"):
            out = self.sides.folder / f"{path.stem}-{precision}.safetensors"
            self.sides.do(
                "runtime", f"interpreting {path.name}", GraphTasks.interpret,
                artefact=path, inputs=self.inputs, out=out, precision=precision,
            ).result()  # fmt: skip
            found.append(load_file(out))
        return found[0], found[1]

    def _say_what_differs(self, graphs: Mapping[str, Path]) -> None:
        """Match the two graphs and make a culprit of each difference."""
        paths = [graphs[side] for side in ("torch", "paddle")]
        try:
            found = self.sides.do(
                "runtime", "matching the graphs", GraphTasks.match, artefacts=paths, inputs=self.few
            ).result()
        except PortproofError as error:
            found = [f"the graphs cannot be matched: {error}"]
        self.culprits += [Culprit("unknown", "", "graph", "forward", text) for text in found]
