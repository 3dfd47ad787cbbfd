"""Which units of two sides are told alike: gradients compared, each in units of its own measured noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from portproof._numbers import EPSILON, Array, Arrays, compare
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.lockstep._spread import Spread, between
from portproof.maps._units import Sizes
from portproof.ports._port import Side

#: The outputs of one run, and by unit what its gradient is told by.
Run = tuple[Arrays, Sequence[Array | None]]


@dataclass(frozen=True)
class Seen:
    """What one side showed.

    Attributes:
        outputs: floating ones, by name.
        spreads: how far each lies off when every value is moved by a unit in the last place; empty where that was not
            looked at.
        told: by unit, what its gradient is told by, ``(orders, SKETCH)``; None where no gradient reaches it.
        noise: by unit, how far the gradient lies off then, relative to it; at least half a unit in the last place.
        nudged: the outputs of those runs.
    """

    outputs: Arrays
    spreads: Mapping[str, Spread]
    told: Sequence[Array | None]
    noise: Sequence[float]
    nudged: Sequence[Arrays] = ()

    @classmethod
    def of(cls, outputs: Arrays, told: Sequence[Array | None], again: Sequence[Run]) -> Seen:
        """Return what a run showed, with the noise of some nudged runs of it."""
        spreads = {
            name: Spread.of([compare(other[name], array, "float64", detail=False) for other, _ in again], "float64")
            for name, array in outputs.items()
            if again
        }
        noise = [_noise(own, [told[unit] for _, told in again]) for unit, own in enumerate(told)]
        return cls(outputs, spreads, told, noise, [other for other, _ in again])

    def on(self, outputs: Arrays, told: Sequence[Array | None]) -> Seen:
        """Return what another run of the side showed, with the noise of this one."""
        noise = [np.inf if own is None else known for own, known in zip(told, self.noise, strict=True)]
        return Seen(outputs, self.spreads, told, noise)

    def is_silent(self, unit: int) -> bool:
        """Whether a unit's gradient is nothing but rounding."""
        return not self.noise[unit] * FLOOR_MULTIPLE < 1


def _noise(own: Array | None, others: Sequence[Array | None]) -> float:
    size = 0.0 if own is None else float(np.linalg.norm(own[0]))
    if own is None or not size > 0 or not np.isfinite(size):
        return np.inf
    off = [float(np.linalg.norm(other[0] - own[0])) for other in others if other is not None]
    return max(float(np.sqrt(np.mean(np.square(off)))) / size if off else 0.0, EPSILON["float64"] / 2)


def outputs_apart(one: Seen, other: Seen, like: tuple[Seen, Seen] | None = None) -> dict[str, float]:
    """Return how many noise floors apart the outputs of two sides are, by name; infinity where they are no numbers.

    ``like``: runs that the floors are taken from, where these were not nudged.
    """
    found = {}
    for name, expected in one.outputs.items():
        floor = between(*(seen.spreads[name] for seen in like or (one, other)))
        finite = bool(np.isfinite(expected).all())
        found[name] = floor.ratio(compare(other.outputs[name], expected, "float64", detail=False)) if finite else np.inf
    return found


def tolerance(one: Array, other: Array) -> Array:
    """Return how far two gradients of one function may lie apart, from the noise of each.

    See :func:`portproof.lockstep._spread.between`: a side that computes in less must not raise what it is judged with.
    """
    small, large = np.minimum(one, other), np.maximum(one, other)
    return np.asarray(FLOOR_MULTIPLE * np.minimum(large, FLOOR_MULTIPLE * small))


@dataclass(frozen=True)
class Distances:
    """How unlike the gradients of some units of two sides are.

    Attributes:
        apart: ``(torch, paddle)``, relative to the larger of the two; of the best order of axes.
        order: which of Paddle's orders that is.
        every: ``(torch, paddle, orders)``.
        within: ``(torch, paddle)``, the most that two gradients of one function are apart.
    """

    apart: Array
    order: Array
    every: Array
    within: Array

    @property
    def alike(self) -> Array:
        """Which are one as far as rounding lets us see."""
        return np.asarray(self.apart <= self.within)

    def fitting(self, i: int, j: int) -> list[int]:
        """Return the orders of Paddle's axes in which two are one as far as rounding lets us see."""
        return [int(order) for order in np.flatnonzero(self.every[i, j] <= self.within[i, j])]


def distances(torch: Seen, paddle: Seen, ours: Sequence[int], theirs: Sequence[int]) -> Distances:
    """Compare the gradients of units of the same sizes, none of them None."""
    mine = np.stack([_rows(torch, unit)[0] for unit in ours])
    yours = np.stack([_rows(paddle, unit) for unit in theirs])
    size = np.maximum(np.linalg.norm(mine, axis=-1)[:, None], np.linalg.norm(yours[:, 0], axis=-1)[None, :])
    every = np.linalg.norm(mine[:, None, None, :] - yours[None], axis=-1) / np.where(size > 0, size, 1)[..., None]
    every = np.where(np.isfinite(every), every, np.inf)
    one, other = (np.array([seen.noise[unit] for unit in units]) for seen, units in ((torch, ours), (paddle, theirs)))
    within = tolerance(one[:, None], other[None, :])
    return Distances(every.min(-1), every.argmin(-1), every, within)


def _rows(seen: Seen, unit: int) -> Array:
    told = seen.told[unit]
    assert told is not None
    return told


def mutual(costs: Array) -> list[tuple[int, int]]:
    """Return the pairs of which each is the other's nearest."""
    rows, columns = costs.argmin(1), costs.argmin(0)
    return [(i, int(j)) for i, j in enumerate(rows) if columns[j] == i and np.isfinite(costs[i, j])]


def components(alike: Array) -> list[tuple[list[int], list[int]]]:
    """Return the rows and columns of which every one is like every other: as many of each, and at least two."""
    kinds: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(alike):
        kinds.setdefault(tuple(np.flatnonzero(row).tolist()), []).append(i)
    return [(rows, list(columns)) for columns, rows in kinds.items() if len(rows) == len(columns) > 1]


def rivals(costs: Array, i: int, j: int) -> float:
    """Return the least cost of any other partner of either of a pair; infinity where there is none."""
    others = [*np.delete(costs[i], j), *np.delete(costs[:, j], i)]
    return float(min(others, default=np.inf))


def assigned(costs: Array) -> list[tuple[int, int]]:
    """Return the cheapest pairing of as many rows and columns as there are (the Hungarian method, Kuhn 1955)."""
    if costs.shape[0] > costs.shape[1]:
        return [(i, j) for j, i in assigned(costs.T)]
    rows, columns = costs.shape
    costs = np.where(np.isfinite(costs), costs, 1e6)
    over, under = np.zeros(rows + 1), np.zeros(columns + 1)
    owner, back = np.zeros(columns + 1, int), np.zeros(columns + 1, int)
    for row in range(1, rows + 1):
        owner[0], at = row, 0
        least, used = np.full(columns + 1, np.inf), np.zeros(columns + 1, bool)
        while owner[at]:
            used[at] = True
            reduced = costs[owner[at] - 1] - over[owner[at]] - under[1:]
            better = ~used[1:] & (reduced < least[1:])
            least[1:][better], back[1:][better] = reduced[better], at
            open_ = np.where(used[1:], np.inf, least[1:])
            following = int(open_.argmin()) + 1
            step = open_[following - 1]
            np.add.at(over, owner[used], step)
            under[used] -= step
            least[~used] -= step
            at = following
        while at:
            owner[at] = owner[back[at]]
            at = back[at]
    return [(int(owner[column]) - 1, column - 1) for column in range(1, columns + 1) if owner[column]]


def by_sizes(units: Mapping[Side, Sequence[int]], sizes: Mapping[Side, Sequence[Sizes]]) -> list[dict[Side, list[int]]]:
    """Group the units of both sides by their sizes; only groups that both sides have."""
    groups: dict[Sizes, dict[Side, list[int]]] = {}
    for side, listed in units.items():
        for unit in listed:
            groups.setdefault(sizes[side][unit], {}).setdefault(side, []).append(unit)
    return [group for group in groups.values() if len(group) == len(units)]


@dataclass(frozen=True)
class Pair:
    """Units that hold the same values: one a side, or several of one side where only the other ties them.

    Attributes:
        torch, paddle: places among the side's units, each with the order of its axes in which it is canonical.
        how: it was told.
        rival: how much farther the next candidate was; infinity where there was none.
    """

    torch: tuple[tuple[int, tuple[int, ...]], ...]
    paddle: tuple[tuple[int, tuple[int, ...]], ...]
    how: str
    rival: float = np.inf

    def of(self, side: Side) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return the units of one side."""
        return self.torch if side is Side.TORCH else self.paddle
