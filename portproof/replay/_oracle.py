"""The oracle and the floors: each side's own float64 and float32 runs on the same rows and weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof.judge._floor import Floor, output_floors, slower_floors
from portproof.replay._tasks import ReplayTasks
from portproof.runners import EAGER
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks

Arrays = dict[str, np.ndarray[Any, Any]]


class Measuring:
    """Runs that are under way, side by side.

    Args:
        sides: matched.
        weights: side to its state dict.
        inputs: file of the rows.
        folder: for captures.
    """

    def __init__(self, sides: Sides, weights: Mapping[str, Path], inputs: Path, folder: Path) -> None:
        self._sides, self._folder = sides, folder
        self._captured = {}
        for side in sides.live:
            sides.do(side, "loading weights", Tasks.load, weights=weights[side])
            self._captured[side] = sides.do(
                side, "running in float64 and float32", Tasks.run,
                runner=EAGER[side], inputs=inputs, out=folder / side,
                precisions=["float64", "float32"], single=0,
            )  # fmt: skip
        lead = sides.live[0]
        self._slow_file = folder / "slow.safetensors"
        self._slow = sides.do(
            lead, "adding term by term", ReplayTasks.capture_slowly, inputs=inputs, out=self._slow_file
        )

    def result(self) -> tuple[Arrays, dict[str, Floor]]:
        """Return the leading side's float64 outputs, and the floor of each."""
        outputs: dict[str, dict[str, Arrays]] = {}
        for side in self._sides.live:
            self._captured[side].result()
            outputs[side] = {p: load_file(self._folder / side / f"{p}.safetensors") for p in ("float64", "float32")}
        floors = output_floors([(outputs[side]["float32"], outputs[side]["float64"]) for side in self._sides.live])
        oracle = outputs[self._sides.live[0]]["float64"]
        if self._slow.result():
            floors = slower_floors(floors, load_file(self._slow_file), oracle)
        return oracle, floors
