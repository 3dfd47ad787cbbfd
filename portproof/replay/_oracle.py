"""The oracle and the floors: each side's own float64 and float32 runs on the same rows and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file

from portproof._numbers import Arrays
from portproof.judge._floor import Floor, output_floors, slower_floors
from portproof.ports._port import Side
from portproof.replay._tasks import ReplayTasks
from portproof.sides._sides import Sides
from portproof.sides._tasks import Ran, Tasks

#: What each side is run in.
PRECISIONS = ("float64", "float32")


@dataclass(frozen=True)
class Oracle:
    """What other runs are judged by.

    Attributes:
        source: what it is, for people.
        outputs: in float64.
        floors: by output.
    """

    source: str
    outputs: Arrays
    floors: Mapping[str, Floor]

    def of_each(self, outputs: Mapping[Side, Mapping[str, Arrays]]) -> dict[str, Oracle]:
        """Return each side's own float64 outputs as what is made of it is judged by; see :meth:`Measuring.outputs`."""
        return {side: Oracle(f"{side.title} float64", by["float64"], self.floors) for side, by in outputs.items()}


class Measuring:
    """Runs that are under way, side by side.

    Args:
        sides: matched, their weights loaded.
        inputs: file of the rows.
        folder: for captures.
        single: how many rows each side also runs one at a time in float32.
    """

    def __init__(self, sides: Sides, inputs: Path, folder: Path, *, single: int = 0) -> None:
        self._live, self._folder = tuple(sides.live), folder
        self._captured = {
            (side, precision): sides.do(
                side, f"running in {precision}", Tasks.run, runner=side.eager, inputs=inputs,
                out=folder / f"{side}-{precision}", precisions=[precision], single=rows,
            )
            for side in self._live
            for precision, rows in zip(PRECISIONS, (0, single), strict=True)
        }  # fmt: skip
        self._slow_file = folder / "slow.safetensors"
        self._slow = sides.do(
            self._live[0], "adding term by term", ReplayTasks.capture_slowly, inputs=inputs, out=self._slow_file
        )

    def outputs(self, side: Side) -> dict[str, Arrays]:
        """Return what a side put out, by precision; rows that were run one at a time are ``float32.single``.

        Raises:
            ModelRaised: the side did.
        """
        self.ran(side)
        self._captured[side, "float32"].result()
        files = [file for precision in PRECISIONS for file in (self._folder / f"{side}-{precision}").iterdir()]
        return {file.name.removesuffix(".safetensors"): load_file(file) for file in files}

    def ran(self, side: Side) -> Ran:
        """Return what is to be said of a side's float64 run; raises as :meth:`outputs` does."""
        return self._captured[side, "float64"].result()

    def slow(self) -> Arrays | None:
        """Return what the leading side put out in float32 with long sums added term by term; None: it has none."""
        return load_file(self._slow_file) if self._slow.result() else None

    def oracle(self, outputs: Mapping[Side, Mapping[str, Arrays]]) -> Oracle:
        """Return the leading side's float64 outputs as the oracle, with floors from the sides that ran.

        Args:
            outputs: side to what it put out, see :meth:`outputs`; the leading side among them.
        """
        lead, slow = self._live[0], self.slow()
        floors = output_floors([(by["float32"], by["float64"]) for by in outputs.values()])
        if slow is not None:
            floors = slower_floors(floors, slow, outputs[lead]["float64"])
        return Oracle(f"{lead.title} float64 (oracle)", outputs[lead]["float64"], floors)

    def result(self) -> Oracle:
        """Wait for all sides, none of which may raise."""
        return self.oracle({side: self.outputs(side) for side in self._live})
