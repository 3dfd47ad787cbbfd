"""Whether two tensors that differ hold the same values in another order, in words: it says why, and decides nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from portproof._numbers import EPSILON, Array
from portproof.judge._report import SAME_VALUES

#: Most axes whose orders are tried, and most slices along an axis that are told apart.
_AXES, _SLICES = 5, 65_536


def reordered(found: Array, expected: Array) -> str:
    """Say in which order one tensor holds another's values; "" where it does not.

    Args:
        found, expected: floats, of one shape or of shapes with the axes exchanged.
    """
    if found.dtype.kind != "f" or expected.dtype.kind != "f" or found.size != expected.size or found.size < 2:
        return ""
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return ""
    if found.shape == expected.shape:
        for axis in range(expected.ndim):
            order = _order(found, expected, axis)
            if order is not None:
                return f"{SAME_VALUES}, along axis {axis}, {_in_words(order)}"
    return _other_axes(found, expected)


def _order(found: Array, expected: Array, axis: int) -> Array | None:
    """Return which slice of the expected tensor stands where in the other; None where one has no equal there."""
    size = expected.shape[axis]
    if not 2 <= size <= _SLICES:
        return None
    mine, theirs = (np.moveaxis(array, axis, 0).reshape(size, -1) for array in (found, expected))
    along = np.random.default_rng(0).standard_normal(theirs.shape[1])  # tells slices apart at the price of one sum
    order = _in_runs(mine @ along, theirs @ along)
    if np.array_equal(order, np.arange(size)) or not _alike(mine, theirs[order]):
        return None
    return order


def _in_runs(mine: Array, theirs: Array) -> Array:
    """Return where each number stands in the other list; equal ones (channels that are dead) next to a neighbour's."""
    order = np.empty(len(mine), np.intp)
    order[np.argsort(mine, kind="stable")] = np.argsort(theirs, kind="stable")
    ranked = np.sort(theirs)
    alike = np.diff(ranked) <= EPSILON["float32"] * np.abs(ranked).max()
    equal = set(np.argsort(theirs, kind="stable")[np.r_[alike, False] | np.r_[False, alike]].tolist())
    unsure = [i for i in range(len(mine)) if order[i] in equal]
    free = {int(order[i]) for i in unsure}
    order[unsure] = -1
    for step, places in ((1, unsure), (-1, unsure[::-1])):
        for i in places:
            beside = i - step
            near = int(order[beside]) + step if 0 <= beside < len(mine) and order[beside] >= 0 else -1
            if order[i] < 0 and near in free and mine[i] == theirs[near]:
                order[i] = near
                free.remove(near)
    for i in (i for i in unsure if order[i] < 0):
        order[i] = min(free, key=lambda j: abs(mine[i] - theirs[j]))
        free.remove(int(order[i]))
    return order


def _other_axes(found: Array, expected: Array) -> str:
    if not 2 <= expected.ndim <= _AXES:
        return ""
    for axes in itertools.permutations(range(expected.ndim)):
        turned = expected.transpose(axes)
        if axes != tuple(range(expected.ndim)) and turned.shape == found.shape and _alike(found, turned):
            return f"{SAME_VALUES}, axes in the order {', '.join(map(str, axes))}"
    return ""


def _alike(one: Array, other: Array) -> bool:
    """Whether two tensors are the same but for what float32 rounds."""
    scale = float(np.abs(other).max()) or 1.0
    return bool(np.abs(one - other).max() <= EPSILON["float32"] * scale)


def _in_words(order: Array) -> str:
    """Say what an order of slices is: two ranges exchanged, a shift, a reversal, ranges in another order."""
    size = len(order)
    if np.array_equal(order, np.arange(size)[::-1]):
        return "in reverse order"
    starts = [0, *(np.flatnonzero(np.diff(order) != 1) + 1).tolist()]
    runs = [(int(order[a]), int(order[b - 1])) for a, b in itertools.pairwise([*starts, size])]
    if len(runs) == 2 and runs[0][0] != 0:
        return f"shifted by {size - runs[0][0]}" if min(runs[0][0], size - runs[0][0]) < size // 4 else _exchanged(runs)
    moved = [run for run, place in zip(runs, starts, strict=True) if run[0] != place]
    if len(moved) in (2, 3):
        return _exchanged(moved)
    return "in another order" if len(runs) > 8 else f"in the order {', '.join(map(_range, runs))}"


def _exchanged(runs: Sequence[tuple[int, int]]) -> str:
    first, last = sorted((runs[0], runs[-1]))
    return f"{_range(first)} and {_range(last)} exchanged"


def _range(run: tuple[int, int]) -> str:
    return str(run[0]) if run[0] == run[1] else f"{run[0]}\u2013{run[1]}"
