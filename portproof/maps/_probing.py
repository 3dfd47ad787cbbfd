"""Both sides run on drawn values, and what each shows read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portproof._errors import BadInput
from portproof._numbers import EPSILON, Arrays, compare
from portproof.maps._tasks import Look, MapTasks
from portproof.maps._told import Run, Seen
from portproof.maps._values import Fill, outputs_sketched
from portproof.ports._port import LEADING, Side
from portproof.sides._sides import Sides
from portproof.sides._steady import unsteady


class Probing:
    """Runs both sides side by side on drawn values.

    Args:
        sides: of the port, both live.
        inputs: file of a few rows.
    """

    def __init__(self, sides: Sides, inputs: Path) -> None:
        self.sides, self.inputs = sides, inputs
        self.backward, self.passes = "", 0  # why there is no backward pass, and how many there were
        self._steady = False  # known of both sides

    def look(self) -> dict[Side, Look]:
        """Build both float64 models."""
        asked = {s: self.sides.do(s, "building the float64 model", MapTasks.look, inputs=self.inputs) for s in LEADING}
        return {side: future.result() for side, future in asked.items()}

    def run(
        self, fills: Mapping[Side, Sequence[Fill]], seed: int = 0, again: int = 0, *, backward: bool = True,
        like: Mapping[Side, Seen] | None = None, places: Mapping[Side, Sequence[int]] | None = None,
    ) -> dict[Side, Seen]:  # fmt: skip
        """Run both sides, and before that ``again`` so many times with every value nudged.

        Args:
            fills: of all units.
            seed: of what the outputs are projected on.
            again: runs that show what rounding does.
            backward: whether to ask for gradients.
            like: whose noise is taken over.
            places: of the units whose gradients are asked for; all unless they are given.

        Raises:
            BadInput: a side is no function, and its noise would pass for rounding.
        """
        wanted = backward and not self.backward
        places = places or {side: range(len(fills[side])) for side in LEADING}
        made: dict[tuple[Side, int], Path] = {}
        asked = {}
        for nudged in reversed(range(again + 1)):  # what holds its plain values keeps them for the next run
            for side in LEADING:
                made[side, nudged] = self.sides.folder / f"probe-{side}-{nudged}.safetensors"
                asked[side, nudged] = self.sides.do(
                    side, "telling tensors by their gradients" if wanted else "comparing outputs", MapTasks.probe,
                    fills=fills[side], places=list(places[side]), inputs=self.inputs, out=made[side, nudged],
                    seed=seed, nudged=nudged, backward=wanted,
                )  # fmt: skip
        reasons = [f"{side.title}: {said}" for (side, _), future in asked.items() if (said := future.result())]
        self.passes += again + 1
        if reasons:
            self.backward = reasons[0]
        found = {key: _read(path, len(fills[key[0]])) for key, path in made.items()}
        if any(_moved(found[side, 0][0], found[side, nudged][0]) for side, nudged in found if nudged):
            self._require_steady()
        seen = {
            side: like[side].on(*found[side, 0])
            if like
            else Seen.of(*found[side, 0], [found[side, nudged] for nudged in range(1, again + 1)])
            for side in LEADING
        }
        if backward and self.backward:
            seen = self.perturbed(fills, seen, places)
        return seen

    def _require_steady(self) -> None:
        """See that both sides are functions, where the last digit of the values has moved more than half of those."""
        reasons = {} if self._steady else unsteady(self.sides, self.inputs)
        self._steady = True
        for side, (path, what) in reasons.items():
            raise BadInput(
                f"{side.title} {what} in '{path or '(root)'}': two runs on the same rows differ, so nothing can be "
                "told from its outputs; switch that off in evaluation, or make it an input of the port."
            )

    def perturbed(
        self, fills: Mapping[Side, Sequence[Fill]], seen: Mapping[Side, Seen], places: Mapping[Side, Sequence[int]]
    ) -> dict[Side, Seen]:
        """Tell some units by what another value of each does to the outputs, one forward pass each.

        Args:
            fills: of all units.
            seen: with them in place.
            places: of the units in question.
        """
        made = {side: self.sides.folder / f"perturbed-{side}.safetensors" for side in LEADING}
        asked = [
            self.sides.do(
                side, "perturbing one tensor at a time", MapTasks.perturb,
                fills=fills[side], places=list(places[side]), inputs=self.inputs, out=made[side],
            )
            for side in LEADING
        ]  # fmt: skip
        for future in asked:
            future.result()
        found = {}
        for side in LEADING:
            told, noise = list(seen[side].told), list(seen[side].noise)
            rows, rounding = _read(made[side], len(told))[1], _rounding(seen[side])
            for place in places[side]:
                row = rows[place]
                size = 0.0 if row is None else float(np.linalg.norm(row))
                told[place] = row
                noise[place] = max(rounding / size, EPSILON["float64"] / 2) if size > 0 else np.inf
            found[side] = replace(seen[side], told=told, noise=noise)
        return found


def _moved(outputs: Arrays, nudged: Arrays) -> bool:
    """Whether a nudge moves outputs by as much as :func:`portproof.sides._steady.unsteady` asks of two runs."""
    differences = [compare(nudged[name], array, "float64", detail=False) for name, array in outputs.items()]
    return any(d.mismatch is not None or not d.rms <= EPSILON["float32"] for d in differences)


def _rounding(seen: Seen) -> float:
    """Return how far the sketch of a side's outputs lies off when every value is nudged."""
    off = [outputs_sketched({n: other[n] - array for n, array in seen.outputs.items()}) for other in seen.nudged]
    return max((float(np.linalg.norm(one)) for one in off), default=0.0)


def _read(path: Path, count: int) -> Run:
    arrays = load_file(path)
    outputs = {name.removeprefix("output|"): array for name, array in arrays.items() if name.startswith("output|")}
    floating = {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
    return floating, [arrays.get(f"gradient|{place}") for place in range(count)]
