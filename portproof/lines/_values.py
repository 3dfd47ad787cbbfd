"""Values of tensors, in whatever layout a side has them: what stays the same, and whether two are one."""

from __future__ import annotations

import itertools
import math

import numpy as np

from portproof._numbers import Array, Arrays, as_pairs

#: Of a float64 forward's values, those that are one agree to about 1e-13 of their scale; this finds partners and
#: decides no verdict.
SAME = 1e-10
#: What a mask may add to a score: exp() makes zero of it, as it does of minus infinity.
_MASKED, _BEYOND = -1e3, 1e2
_MOST_AXES = 5
#: Numbers that are summed at a time: with their squares they stay in a core's cache.
_BLOCK = 2**13


def canonical(array: Array) -> Array:
    """Return a value in float64, without axes that only repeat, and with what masks as minus infinity.

    Complex numbers become pairs.
    """
    a = as_pairs(array).astype(np.float64, copy=False)
    for axis in range(a.ndim):
        if a.shape[axis] > 1:
            first = a.take([0], axis)
            if np.array_equal(first, a.take([-1], axis)) and np.array_equal(np.broadcast_to(first, a.shape), a):
                a = first
    a = np.squeeze(a)
    if a.size > 1 and a.min() < _MASKED:
        low = a < _MASKED
        rest = np.abs(a[~low])
        if rest.size and (rest < _BEYOND * max(1.0, float(np.median(rest)))).all():
            a = np.where(low, -np.inf, a)
    return a


def features(array: Array) -> tuple[float, ...]:
    """Return what no order of a canonical value's elements changes.

    Returns:
        How many elements, how many of them are no finite numbers, their sum without signs of those that are NaN; the
        root mean square; then, in its units, mean, mean absolute, third and fourth moment, least and largest.
    """
    flat, odd = array.ravel(), 0
    sums = _sums(flat)
    if not math.isfinite(sums[0]):
        finite = np.isfinite(flat)
        odd = flat.size - int(finite.sum())
        flat = flat[finite]
        sums = _sums(flat)
    if not flat.size:
        return (float(array.size), float(odd), *[0.0] * 7)
    count, scale = flat.size, math.sqrt(sums[0] / flat.size)
    unit = scale
    if not 1e-60 < scale < 1e60:  # its fourth power is no number
        sums, unit = _sums(flat / (scale or 1.0)), 1.0
    _, plain, absolute, cubes, fourths, least, largest = sums
    moments = (total / count / unit for total in (plain, absolute, cubes / unit**2, fourths / unit**3))
    return float(array.size), float(odd), scale, *moments, least / unit, largest / unit


def _sums(flat: Array) -> tuple[float, float, float, float, float, float, float]:
    """Return the sums of squares, of numbers, of sizes, of third and fourth powers, the least and the largest number.

    Block by block, so that a large value is read from memory once.
    """
    found = np.zeros(5)
    least, largest = math.inf, -math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in range(0, flat.size, _BLOCK):
            block = flat[begin : begin + _BLOCK]
            square = block * block
            found += (square.sum(), block.sum(), np.abs(block).sum(), square @ block, square @ square)
            least, largest = min(least, block.min()), max(largest, block.max())
    one, two, three, four, five = map(float, found)
    return one, two, three, four, five, float(least), float(largest)


def is_constant(found: tuple[float, ...]) -> bool:
    """Whether a value of these features holds one number alone: it tells nothing of where it is from."""
    return found[0] <= 1 or (found[1] == 0 and found[7] == found[8]) or found[1] == found[0]


def alike(one: tuple[float, ...], others: Array, tolerance: float = SAME) -> Array:
    """Return which rows of ``others``, features of one size each, may be those of the same value."""
    mine = np.asarray(one)
    near = np.abs(others - mine) <= 1e3 * tolerance * (1 + np.abs(mine))
    near[:, :2] = others[:, :2] == mine[:2]
    near[:, 2] = np.abs(others[:, 2] - mine[2]) <= 1e3 * tolerance * abs(mine[2])
    return np.asarray(near.all(axis=1))


def equal(one: Array, other: Array, most: float) -> bool:
    """Whether two arrays of one shape differ by no more than ``most``; of what is NaN or no float this says no."""
    if one.dtype.kind != "f" or other.dtype.kind != "f":
        return False
    with np.errstate(invalid="ignore"):
        return bool(np.abs(one - other).max(initial=0.0) <= most)


def arranged(one: Array, other: Array, tolerance: float = SAME) -> str:
    """Say how two canonical values are one.

    Returns:
        "same": shape and order; "flat": the order alone; "arranged": up to the order of axes; "" for not at all.
    """
    if one.size != other.size:
        return ""
    scale = _scale(one, other)
    if _close(one.ravel(), other.ravel(), scale, tolerance):
        return "same" if one.shape == other.shape else "flat"
    for x, y in ((one, other), (other, one)):
        if not 1 < x.ndim <= _MOST_AXES:
            continue
        for order in itertools.permutations(range(x.ndim)):
            turned = x.transpose(order)
            head = turned[(0,) * (turned.ndim - 1)]
            if not _close(head.ravel(), y.ravel()[: head.size], scale, tolerance):
                continue
            if _close(turned.ravel(), y.ravel(), scale, tolerance):
                return "arranged"
    return ""


def outputs_agree(expected: Arrays, outputs: Arrays, tolerance: float) -> bool:
    """Whether all outputs are those that were expected, in shape and order."""
    return all(
        outputs[name].shape == array.shape and arranged(canonical(outputs[name]), canonical(array), tolerance) == "same"
        for name, array in expected.items()
    )


def likeness(one: Array, other: Array, *, turned: bool = True) -> float:
    """Return 1 where two values are one, ``turned``: up to the order of axes; 0 where nothing is alike."""
    if one.size != other.size or one.size < 2:
        return 0.0
    x, y = (np.clip(np.nan_to_num(a, nan=0.0, posinf=1e4, neginf=-1e4), -1e4, 1e4) for a in (one, other))
    size = max(float(np.linalg.norm(x)), float(np.linalg.norm(y))) or 1.0
    best = float(np.linalg.norm(x.ravel() - y.ravel()))
    if turned and 1 < x.ndim < _MOST_AXES:
        for order in itertools.permutations(range(x.ndim)):
            other_way = x.transpose(order)
            if other_way.shape == y.shape:
                best = min(best, float(np.linalg.norm((other_way - y).ravel())))
    return max(0.0, 1.0 - best / size)


def laid_out(value: Array, own: Array) -> Array | None:
    """Arrange one side's value as the other's own stands; None where shapes forbid it."""
    if value.shape == own.shape:
        return value
    if value.size != own.size:
        return None
    if value.ndim == own.ndim:
        orders = itertools.permutations(range(value.ndim))
        fits = [order for order in orders if tuple(value.shape[axis] for axis in order) == own.shape]
        if fits:
            flat = np.nan_to_num(own.ravel().astype(np.float64), posinf=0.0, neginf=0.0)

            def fitting(order: tuple[int, ...]) -> tuple[bool, float]:
                turned = np.nan_to_num(value.transpose(order), posinf=0.0, neginf=0.0)
                return _moves_one(order), abs(float(turned.ravel() @ flat))

            return value.transpose(max(fits, key=fitting))
    return value.reshape(own.shape)


def _moves_one(order: tuple[int, ...]) -> bool:
    """Whether an order of axes is the usual one but for one axis: channels that stand last, say."""
    return any([a for a in order if a != moved] == [a for a in sorted(order) if a != moved] for moved in order)


def _scale(one: Array, other: Array) -> float:
    sizes = []
    for a in (one, other):
        finite = a[np.isfinite(a)]
        sizes.append(float(np.sqrt(np.mean(finite * finite))) if finite.size else 0.0)
    return max(sizes)


def _close(x: Array, y: Array, scale: float, tolerance: float) -> bool:
    with np.errstate(invalid="ignore"):
        near = np.abs(x - y) <= tolerance * max(scale, 1e-300)
    if near.all():
        return True
    odd = ~near
    return bool(np.all((x[odd] == y[odd]) | (np.isnan(x[odd]) & np.isnan(y[odd]))))
