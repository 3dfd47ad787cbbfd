"""Whether the sides are functions at all: a model that draws random numbers, or keeps something, cannot be compared."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file

from portproof._errors import ModelRaised
from portproof._numbers import EPSILON, Arrays, compare
from portproof.ports._port import Side
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks


def unsteady(sides: Sides, inputs: Path) -> dict[Side, tuple[str, str]]:
    """Run every side twice on the same rows, in float64.

    Args:
        sides: with their weights loaded.
        inputs: file of a few rows.

    Returns:
        Of the sides whose two runs differ: the module where they part ("" for the model), and what it does, in words.
    """
    files = {side: sides.folder / f"{inputs.stem}-{side}-twice.safetensors" for side in sides.live}
    asked = {side: sides.do(side, "running twice", Tasks.run_twice, inputs=inputs, out=files[side]) for side in files}
    found: dict[Side, tuple[str, str]] = {}
    for side, future in asked.items():
        try:
            path, draws = future.result()
        except ModelRaised:  # which is told elsewhere
            continue
        if _differ(load_file(files[side])):
            found[side] = path, "draws random numbers" if draws else "keeps something from one call to the next"
    return found


def _differ(both: Arrays) -> bool:
    """Whether two float64 runs differ by more than rounding could make of nine digits' reserve."""
    names = [name.partition("|")[2] for name in both if name.startswith("first|")]
    differences = [compare(both[f"second|{n}"], both[f"first|{n}"], "float64", detail=False) for n in names]
    return any(d.mismatch is not None or not d.rms <= EPSILON["float32"] for d in differences)
