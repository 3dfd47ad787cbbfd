"""The rows under judgement, on disk, and those of them that float32 cannot follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import ModelRaised
from portproof._numbers import Array, Arrays
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.ports._inputs import GIVEN, Batch, few_rows, loud_rows, take_rows
from portproof.ports._port import Port, Side
from portproof.replay._oracle import Measuring

_QUICK_ROWS = 4


@dataclass(frozen=True)
class Rows:
    """Rows for every input of a port; whoever wants others makes a new value.

    Attributes:
        port: whose inputs these are.
        all: file of every row, which weights are made on.
        judged: file of those that are judged, the same but in a quick run.
        few: file of those that are replayed module by module.
        families: what each judged row is.
        chosen: which of ``all`` the few are.
    """

    port: Port
    all: Path
    judged: Path
    few: Path
    families: tuple[str, ...]
    chosen: tuple[int, ...]

    @classmethod
    def write(cls, port: Port, batch: Batch, folder: Path, *, least: bool) -> Rows:
        """Write the rows of a batch; ``least``: replay one alone."""
        every, few, chosen = folder / "inputs.safetensors", folder / "few.safetensors", few_rows(batch, quick=least)
        save_arrays(every, batch.arrays)
        save_arrays(few, take_rows(port, batch.arrays, chosen))
        return cls(port, every, every, few, batch.families, tuple(chosen))

    def quick(self) -> Rows:
        """Return the same with few rows that are judged: those that were given, and a loud one, among them."""
        few = range(0, len(self.families), max(1, len(self.families) // _QUICK_ROWS))
        given = [row for row, family in enumerate(self.families) if family == GIVEN]
        kept = sorted({*few, *given, *loud_rows(self.families)[:1]})
        judged = self.all.with_name("quick.safetensors")
        save_arrays(judged, take_rows(self.port, load_file(self.all), kept))
        return replace(self, judged=judged, families=tuple(self.families[row] for row in kept))

    def without(self, rows: Sequence[int]) -> Rows:
        """Return the same without some of the rows that are judged; others may be replayed then."""
        kept = [row for row in range(len(self.families)) if row not in rows]
        is_quick = self.judged != self.all
        chosen = [0] if is_quick or len(kept) < 2 else [0, len(kept) // 2]
        arrays = take_rows(self.port, load_file(self.judged), kept)
        judged, few = (self.all.with_name(f"{name}-{len(kept)}.safetensors") for name in (self.judged.stem, "few"))
        save_arrays(judged, arrays)
        save_arrays(few, take_rows(self.port, arrays, chosen))
        families = tuple(self.families[row] for row in kept)
        return Rows(self.port, self.all if is_quick else judged, judged, few, families, tuple(chosen))

    def left_out(self, rows: Sequence[int]) -> str:
        """Say which rows are judged no more, and why."""
        said = ", ".join(dict.fromkeys(self.families[row] for row in rows))
        return f"left out: {said}; float32 cannot follow float64 there, the network amplifies rounding so much"

    def few_of(self, outputs: Arrays) -> tuple[Path, Arrays]:
        """Return a file of few rows and their outputs, of those that were computed on all rows.

        All of them where an output has no rows: a mean over the batch is another one over a part of it.
        """
        if any(array.shape[:1] != (len(self.families),) for array in outputs.values()):
            return self.judged, outputs
        return self.few, {name: array[list(self.chosen)] for name, array in outputs.items()}


def chaotic_rows(rows: Rows, measuring: Measuring, lead: Side) -> list[int]:
    """Return the rows on which float32 itself cannot follow float64, where it can on others.

    A deep network may amplify rounding exponentially on a loud input. Such a row says nothing, and drowns the rest.

    Args:
        rows: that are judged.
        measuring: the runs on them.
        lead: the side whose own runs tell; where it raises, none is returned.
    """
    try:
        own = measuring.outputs(lead)
    except ModelRaised:
        return []
    slow, count = measuring.slow(), len(rows.families)
    gone: set[int] = set()
    for name, wide in own["float64"].items():
        rowwise = rows.port.batch_axes.get(name, 0) is not None and wide.shape[:1] == (count,)
        if not rowwise or wide.dtype.kind != "f" or not wide.size:
            continue
        scale = _row_scales(wide)
        for narrow in (own["float32"], *([slow] if slow is not None else [])):
            error = _row_scales(narrow[name] - wide)
            gone |= {row for row in range(count) if FLOOR_MULTIPLE * error[row] >= scale[row] > 0}
    return sorted(gone) if len(gone) < count - 1 else []


def _row_scales(array: Array) -> Array:
    """Return the root mean square of every row."""
    return np.asarray(np.sqrt(np.mean(np.square(array.reshape(len(array), -1), dtype=np.float64), axis=1)))
