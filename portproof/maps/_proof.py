"""The proof of a map: with every tensor random and distinct, both sides put out the same, and learn the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from portproof._numbers import Array
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.maps._search import PADDLE, TORCH, Searching
from portproof.maps._told import Pair, Seen, outputs_apart, tolerance
from portproof.ports._port import LEADING, Side


@dataclass(frozen=True)
class Proof:
    """What the last run showed.

    Attributes:
        outputs: noise floors between the sides, by output.
        gradients: the same for every pair that acts, by its place; infinity where one side alone is reached.
        silent: places of the pairs that reach no output on either side.
        beside: side and place of the units that reach none, though their pairs do.
    """

    outputs: dict[str, float]
    gradients: dict[int, float]
    silent: tuple[int, ...]
    beside: tuple[tuple[Side, int], ...] = ()

    @property
    def same(self) -> bool:
        """Whether the outputs agree."""
        return bool(self.outputs) and max(self.outputs.values()) <= FLOOR_MULTIPLE

    @property
    def learns(self) -> bool:
        """Whether every gradient agrees, too."""
        return all(value <= FLOOR_MULTIPLE for value in self.gradients.values())


def prove(search: Searching) -> Proof:
    """Give every pair values of its own and compare outputs and gradients, in units of what rounding does to each."""
    fills = search.fills(draw=-1)  # values that nothing was told by
    seen = search.probing.run(fills, seed=1, again=1)
    gradients: dict[int, float] = {}
    silent, beside = [], []
    for place, pair in enumerate(search.pairs):
        quiet = {side: all(seen[side].is_silent(unit) for unit, _ in pair.of(side)) for side in LEADING}
        if all(quiet.values()):
            silent.append(place)
        elif any(quiet.values()):
            gradients[place] = np.inf
        else:
            gradients[place] = _apart(pair, seen)
            beside += [(side, unit) for side in LEADING for unit, _ in pair.of(side) if seen[side].is_silent(unit)]
    return Proof(outputs_apart(seen[TORCH], seen[PADDLE]), gradients, tuple(silent), tuple(beside))


def _apart(pair: Pair, seen: Mapping[Side, Seen]) -> float:
    """Return how many noise floors the gradients of a pair are apart."""
    told, noise = {}, {}
    for side in LEADING:
        acting = [unit for unit, _ in pair.of(side) if not seen[side].is_silent(unit)]
        told[side] = np.sum([_row(seen[side], unit) for unit in acting], axis=0)
        noise[side] = np.asarray(max(seen[side].noise[unit] for unit in acting))
    size = max(float(np.linalg.norm(row)) for row in told.values())
    apart = float(np.linalg.norm(told[TORCH] - told[PADDLE])) / size if size else 0.0
    return apart / float(tolerance(noise[TORCH], noise[PADDLE])) * FLOOR_MULTIPLE


def _row(seen: Seen, unit: int) -> Array:
    told = seen.told[unit]
    assert told is not None
    return np.asarray(told[0])
