"""What a side's process answers to a search for lines: its forward recorded, and run with values of the other side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._numbers import Array
from portproof.judge._report import Line
from portproof.lines._calls import Recording
from portproof.lines._recorder import Carried, Carrying, Recorder, carry, record
from portproof.sides._roles import answers
from portproof.sides._workplace import Workplace


@dataclass(frozen=True)
class Recorded:
    """A recorded forward.

    Attributes:
        recording: of it.
        changed: outputs that are others when nobody looks on, which is a finding of its own.
    """

    recording: Recording
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Rerun:
    """A forward with results exchanged.

    Attributes:
        refused: by call, why its results could not be.
        done: calls whose results were.
    """

    refused: dict[int, str]
    done: tuple[int, ...]


class LineTasks:
    """Calls inside a forward. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place

    @answers("folder", "out", beside="float64")
    def record_calls(
        self, inputs: Path, folder: Path, out: Path, limit: int, carried: Sequence[Carried] = ()
    ) -> Recorded:
        """Record the float64 model's forward and write its outputs.

        Args:
            inputs: of a few rows.
            folder: for the values of calls.
            out: for the outputs.
            limit: bytes of values that are written.
            carried: results to exchange.
        """
        model, rows = self.place.model("float64"), load_file(inputs)
        unwatched = {} if carried else model.run(rows)
        recording, outputs = record(model, rows, Recorder(model, folder, limit, carried))
        save_arrays(out, outputs)
        changed = [name for name, array in unwatched.items() if not _same(array, outputs[name])]
        return Recorded(recording, tuple(changed))

    @answers(beside="float64")
    def built(self, paths: Sequence[str]) -> dict[str, Line]:
        """Return the lines that build some modules, where somebody's code does; see :func:`built_at`."""
        from portproof.lines._built import built_at

        found, side = built_at(self.place.job, self.place.model("float64")), self.place.job.side
        return {path: Line(side, place.file, place.line, place.text) for path, place in found.items() if path in paths}

    @answers("out", beside="float64")
    def carry_over(self, inputs: Path, out: Path, carried: Sequence[Carried]) -> Rerun:
        """Run the float64 model with some results exchanged and write its outputs."""
        model = self.place.model("float64")
        carrying = Carrying(model, carried)
        save_arrays(out, carry(model, load_file(inputs), carrying))
        return Rerun(carrying.refused, tuple(sorted(carrying.done)))


def _same(one: Array, other: Array) -> bool:
    scale = float(np.abs(one).max(initial=0.0, where=np.isfinite(one))) if one.dtype.kind == "f" else 0.0
    return bool(one.shape == other.shape and np.allclose(one, other, rtol=0.0, atol=1e-9 * scale, equal_nan=True))
