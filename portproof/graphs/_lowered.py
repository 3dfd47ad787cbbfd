"""Exports in lower precision as runners take them, and the function that a quantised one claims to be."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._numbers import Arrays
from portproof.graphs._tasks import GraphTasks
from portproof.judge._floor import Floor
from portproof.ports._inputs import calibration_rows
from portproof.ports._port import Port
from portproof.replay._oracle import Oracle
from portproof.runners import RunnerInfo
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks

#: Precisions whose runners are judged by the graph that they run, and not by the model that it was made from.
QUANTISED = ("int8",)
_CLAIM = "its quantised graph, interpreted in float64"

#: The file that ranges are read from; whoever has better rows than the port itself puts them there beforehand.
CALIBRATION = "calibration.safetensors"


def calibration_file(port: Port, judged: Arrays, folder: Path) -> Path:
    """Write the rows that ranges are read from, none of them one that is judged, and return the file."""
    path = folder / CALIBRATION
    if not path.is_file():
        save_arrays(path, calibration_rows(port, judged))
    return path


def lowered(sides: Sides, export: Path | None, info: RunnerInfo, calibration: Path, inputs: Path) -> Path:
    """Return what a runner takes, made of an export or, where there is none, of the model, if it is not there yet.

    Args:
        sides: with the weights.
        export: to make it of.
        info: of the runner.
        calibration: rows that ranges are read from; what is made of a model is put beside them.
        inputs: rows as an example.

    Raises:
        Unavailable: the tools of ONNX Runtime, or of the framework, make none.
    """
    kind = info.artefact.partition("-")[2]
    made = calibration.with_name(f"{info.side}-{kind}.pt2")
    out = made if export is None else export.with_name(f"{export.stem}-{kind}.onnx")
    doing = f"making the {info.precisions[-1]} graph"
    if out.is_file():
        return out
    if export is None:
        sides.do(info.side, doing, Tasks.quantise, inputs=inputs, calibration=calibration, out=out).result()
    else:
        sides.do(
            "runtime", doing, GraphTasks.lower, artefact=export, kind=info.artefact, calibration=calibration, out=out,
        ).result()  # fmt: skip
    return out


def graph_of(path: Path) -> Path:
    """Return the graph that a quantised file claims to be: itself, or the one beside a program."""
    return path if path.suffix == ".onnx" else path.with_name(f"{path.name}.onnx")


def claimed(sides: Sides, path: Path, inputs: Path) -> Oracle:
    """Interpret a quantised graph in float64: the function that it claims to be, with floors drawn from rounding.

    Args:
        sides: of the port.
        path: of the graph, or of a program with its graph beside it.
        inputs: rows.
    """
    path = graph_of(path)
    out = path.with_suffix(".claimed.safetensors")
    found = sides.do(
        "runtime", f"interpreting {path.name}", GraphTasks.quantised, artefact=path, inputs=inputs, out=out
    ).result()
    floors = {name: Floor(rms, tail=tail) for name, (rms, tail) in found.items()}
    return Oracle(_CLAIM, load_file(out), floors)


def is_dynamic(path: Path) -> bool:
    """Whether a quantised graph computes something else of a row that has others beside it."""
    from portproof.graphs._interpret import load_graph
    from portproof.graphs._quantised import depends_on_the_batch

    return depends_on_the_batch(load_graph(graph_of(path)))


def claimed_of(port: Port, path: Path, rows: Arrays) -> Oracle | None:
    """Interpret a quantised graph on one request, here; None where a row is the same whatever is beside it.

    Args:
        port: whose the graph is.
        path: of the graph.
        rows: of the request.
    """
    from portproof.graphs._interpret import load_graph
    from portproof.graphs._quantised import depends_on_the_batch, meaning_of

    proto = load_graph(graph_of(path))
    if not depends_on_the_batch(proto):
        return None
    found = meaning_of(proto, rows)
    return Oracle(_CLAIM, port.rows_first(found.outputs), found.floors)
