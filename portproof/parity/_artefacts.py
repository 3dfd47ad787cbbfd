"""Ports whose sides are files alone: the first graph, interpreted in float64, is the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portproof._errors import PortproofError, Unavailable
from portproof._numbers import EPSILON, Arrays
from portproof.graphs._blamed import Nodes
from portproof.graphs._tasks import GraphTasks
from portproof.judge._floor import output_floors
from portproof.judge._found import Found
from portproof.judge._hops import judge_outputs
from portproof.judge._report import Culprit
from portproof.parity._exports import FileJudge
from portproof.parity._rows import Rows
from portproof.ports._locate import artefact_path
from portproof.replay._oracle import Oracle
from portproof.runners import find_runner
from portproof.sides._sides import Sides
from portproof.sides._weights import Weights


def judge_artefacts(sides: Sides, rows: Rows) -> Found:
    """Judge each graph's meaning, the two graphs against each other, and each file in its runtime.

    Args:
        sides: of the port; none of them is a model.
        rows: that are run.

    Raises:
        Unavailable: no side is a graph that can be interpreted, so there is no oracle.
        BadInput: a file is none, or has other inputs and outputs than the port.
    """
    port = sides.sessions.located.port
    ordered = sorted(port.sides, key=lambda side: side != "torch")
    paths: dict[str, Path] = {side: artefact_path(sides.sessions.located, side) for side in ordered}
    graphs = {side: path for side, path in paths.items() if path.suffix == ".onnx"}
    if not graphs:
        raise Unavailable(
            f"port '{port.name}' is a Paddle program alone, which nothing here runs in float64, so there is no "
            "oracle; give a side as a factory or as an .onnx file."
        )
    weights = Weights("file", "in the file", paths)
    read = {side: _interpret(sides, rows, path) for side, path in graphs.items()}
    lead = next(iter(graphs))
    source = f"{graphs[lead].name}, interpreted in float64 (oracle)"
    oracle = Oracle(
        source, read[lead].outputs, output_floors([(graph.float32, graph.outputs) for graph in read.values()])
    )
    found = Found(notes=[note for side, path in graphs.items() for note in _not_numbers(path, read[side].outputs)])
    for side, path in graphs.items():
        if side != lead:
            # Two graphs may have folded constants, each rounded once to what it is written in: those floors count.
            lower = max(read[lead].precision, read[side].precision, key=EPSILON.__getitem__)
            title = f"{path.name}, interpreted in float64"
            hop = judge_outputs(
                "semantics", source, title, lower, weights.label, read[side].outputs, oracle.outputs, oracle.floors
            )
            found.hops.append(hop)
            if hop.verdict == "divergent":
                found.culprits.extend(_what_differs(sides, rows, graphs))
    for side, path in paths.items():
        if side not in graphs:
            judge = FileJudge(sides, rows, weights, oracle)
            found.hops.extend(judge.judge("numerics", path.name, path, find_runner("paddle-program")))
            continue
        # A graph is judged against what it means itself; whether the two mean the same is the hop above.
        own, title = read[side], source if side == lead else f"{path.name}, interpreted in float64"
        itself = Oracle(title, own.outputs, output_floors([(own.float32, own.outputs)]))
        judge = FileJudge(sides, rows, weights, itself, precision=own.precision)
        hops = judge.judge("export", path.name, path, find_runner("onnxruntime-torch"))
        found.hops.extend(hops)
        found.culprits.extend(judge.blame(side, path.name, path, hops))
    return found


@dataclass(frozen=True)
class _Read:
    """What a graph means: interpreted in float64 and in float32, and the precision that it is written in."""

    outputs: Arrays
    float32: Arrays
    precision: str


def _interpret(sides: Sides, rows: Rows, path: Path) -> _Read:
    """Return a graph's outputs in float64 and in float32."""
    found: list[Arrays] = []
    for precision in ("float64", "float32"):
        out = sides.folder / f"{path.stem}-{precision}.safetensors"
        written = sides.do(
            "runtime", f"interpreting {path.name}", GraphTasks.interpret,
            artefact=path, inputs=rows.judged, out=out, precision=precision,
        ).result()  # fmt: skip
        found.append(load_file(out))
    return _Read(found[0], found[1], written)


def _not_numbers(path: Path, outputs: Arrays) -> list[str]:
    """Say which outputs of a graph hold what is no number, in how many rows."""
    notes = []
    for name, array in outputs.items():
        if array.dtype.kind == "f" and array.ndim and not np.isfinite(array).all():
            rows = int((~np.isfinite(array).reshape(len(array), -1).all(axis=1)).sum())
            notes.append(f"{path.name}: '{name}' holds NaN or infinity in {rows} of {len(array)} rows")
    return notes


def _what_differs(sides: Sides, rows: Rows, graphs: Mapping[str, Path]) -> list[Culprit]:
    """Match the two graphs and return a culprit of each difference."""
    paths = [graphs[side] for side in ("torch", "paddle")]
    try:
        found = sides.do("runtime", "matching the graphs", GraphTasks.match, artefacts=paths, inputs=rows.few).result()
    except PortproofError as error:
        found = [Nodes(f"the graphs cannot be matched: {error}")]
    return [Culprit("unknown", "", "graph", "forward", one.named, origins=one.origins) for one in found]
