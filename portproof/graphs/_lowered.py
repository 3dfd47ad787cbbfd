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

#: Precisions whose runners are judged by the graph that they run, and not by the model that it was made from.
QUANTISED = ("int8",)


def calibration_file(port: Port, judged: Arrays, folder: Path) -> Path:
    """Write the rows that ranges are read from, none of them one that is judged, and return the file."""
    path = folder / "calibration.safetensors"
    if not path.is_file():
        save_arrays(path, calibration_rows(port, judged))
    return path


def lowered(sides: Sides, export: Path, info: RunnerInfo, calibration: Path) -> Path:
    """Return what a runner takes, made of an export where it is not there yet.

    Raises:
        Unavailable: ONNX Runtime's tools make none.
    """
    out = export.with_name(f"{export.stem}-{info.artefact.partition('-')[2]}.onnx")
    if not out.is_file():
        sides.do(
            "runtime", f"making the {info.precisions[-1]} graph", GraphTasks.lower,
            artefact=export, kind=info.artefact, calibration=calibration, out=out,
        ).result()  # fmt: skip
    return out


def claimed(sides: Sides, path: Path, inputs: Path) -> Oracle:
    """Interpret a quantised graph in float64: the function that it claims to be, with floors drawn from rounding."""
    out = path.with_suffix(".claimed.safetensors")
    found = sides.do(
        "runtime", f"interpreting {path.name}", GraphTasks.quantised, artefact=path, inputs=inputs, out=out
    ).result()
    floors = {name: Floor(rms, tail=tail) for name, (rms, tail) in found.items()}
    return Oracle("its quantised graph, interpreted in float64", load_file(out), floors)
