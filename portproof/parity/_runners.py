"""Runners that were asked for by name, judged on the weights and rows of the rest of the chain."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.numpy import load_file

from portproof._errors import BadInput, PortproofError
from portproof.graphs._lowered import QUANTISED, calibration_file, claimed, graph_of, lowered
from portproof.graphs._tasks import GraphTasks
from portproof.judge._found import Found
from portproof.judge._hops import judge_outputs
from portproof.judge._report import Culprit, Hop
from portproof.parity._exports import FileJudge, exported
from portproof.ports._locate import artefact_path
from portproof.ports._port import Side
from portproof.runners import RunnerInfo
from portproof.runners._choice import Choice, parse
from portproof.sides._tasks import Tasks


def judge_runners(judge: FileJudge, names: Sequence[str]) -> Found:
    """Judge runners that were asked for by name, on the very weights and rows of the rest."""
    found = Found()
    for choice in map(parse, names):
        own = judge.of(choice.info.side)
        hop = _judge_runner(own, choice)
        if hop.verdict != "unavailable" and choice.info.source == "onnx" and hop.precision != "float32":
            hop, culprits, notes = _see_lower(own, hop, choice.info)
            found.culprits.extend(culprits)
            found.notes.extend(note for note in notes if note not in found.notes)
        found.hops.append(hop)
    return found


def _see_lower(judge: FileJudge, hop: Hop, info: RunnerInfo) -> tuple[Hop, list[Culprit], list[str]]:
    """Add to the hop of a graph in lower precision what its nodes, each on its own, show; they decide."""
    path, runtime = _artefact(judge, info), next(need for need in info.needs if need in ("onnxruntime", "openvino"))
    assert path is not None
    try:
        seen = judge.sides.do(
            "runtime", f"looking at {path.name}", GraphTasks.see_lower,
            artefact=path, inputs=judge.rows.few, runtime=runtime, per_channel="dynamic" not in info.artefact,
        ).result()  # fmt: skip
    except PortproofError as error:
        return hop, [], [f"{info.title}: its nodes were not looked at: {error}"]
    title = f"{Side(info.side).title} export, {info.artefact.partition('-')[2]}"
    culprits = [
        Culprit(info.side, fault.node, kind, "forward", f"{who}: {fault.node} {fault.text}", origins=fault.origins)
        for kind, who, faults in (("graph", title, seen.graph), ("runtime", info.title, seen.runtime))
        for fault in faults
    ]
    if culprits:
        hop = replace(hop, verdict="divergent", reason=culprits[0].message)
    elif hop.verdict == "inconclusive" and seen.units:
        reason = f"{hop.reason}; each of {seen.units} units, on right levels, rounds as it should"
        hop = replace(hop, verdict="equivalent", reason=reason)
    return hop, culprits, [f"{title}: {cost}" for cost in seen.costs]


def _judge_runner(judge: FileJudge, choice: Choice) -> Hop:
    info, precision = choice.info, choice.info.precisions[-1]
    out = judge.sides.folder / f"runner-{choice.name.replace(':', '-')}"
    try:
        judge.sides.do(
            info.process, f"running {choice.title}", Tasks.run, runner=info.name, inputs=judge.rows.judged,
            out=out, precisions=[precision], single=0, artefact=_artefact(judge, info),
            settings=choice.full_settings,
        ).result()  # fmt: skip
        path = _artefact(judge, info)
        oracle = claimed(judge.sides, path, judge.rows.judged) if path and precision in QUANTISED else judge.oracle
    except PortproofError as error:
        return judge.unavailable("numerics", choice.title, error)
    found, title = load_file(out / f"{precision}.safetensors"), f"{choice.title}, {precision}"
    hop = judge_outputs(
        "numerics", oracle.source, title, precision, judge.weights.label, found, oracle.outputs, oracle.floors
    )
    if hop.verdict != "divergent" or path is None or path.suffix != ".pt2":
        return hop
    graph = graph_of(path)
    said = judge.sides.do("runtime", f"looking at {graph.name}", GraphTasks.saturating, artefact=graph).result()
    return replace(hop, reason=f"{hop.reason}; {said}" if hop.reason and said else hop.reason or said)


def _artefact(judge: FileJudge, info: RunnerInfo) -> Path | None:
    """Return the file that a runner takes, made of the model where it is not there; None: it takes the model.

    Raises:
        BadInput: the side that it runs is no model.
    """
    located = judge.sides.sessions.located
    own = located.port.artefact(info.side) if info.side in located.port.sides else None
    if own and info.source == ("onnx" if own.endswith(".onnx") else "program"):
        return _as_taken(judge, info, artefact_path(located, info.side))
    if info.side not in judge.sides.live:
        raise BadInput(f"runner '{info.name}' has nothing to run in port '{located.port.name}'.")
    do = judge.sides.do
    if info.source == "onnx":
        path = exported(judge.sides, judge.weights, info.side)
        if not path.is_file():
            do(info.side, "exporting to ONNX", Tasks.export, inputs=judge.rows.all, out=path).result()
        return _as_taken(judge, info, path)
    if info.artefact == "program":
        path = judge.sides.folder / f"{judge.weights.kind}-program" / "inference.json"
        if not path.is_file():
            do(info.side, "saving the program", Tasks.save_program, out=path.with_suffix("")).result()
        return path
    return None if info.artefact == "model" else _lowered(judge, info, None)


def _as_taken(judge: FileJudge, info: RunnerInfo, path: Path) -> Path:
    """Return an export as a runner takes it: in lower precision where it asks for that."""
    if info.artefact == info.source:
        return path
    made = judge.sides.folder / path.name
    if made != path and not made.is_file():
        shutil.copyfile(path, made)  # what is made of it lies beside it, and a person's folder is not ours
    return _lowered(judge, info, made)


def _lowered(judge: FileJudge, info: RunnerInfo, export: Path | None) -> Path:
    port, judged = judge.sides.sessions.located.port, load_file(judge.rows.judged)
    return lowered(judge.sides, export, info, calibration_file(port, judged, judge.sides.folder), judge.rows.all)
