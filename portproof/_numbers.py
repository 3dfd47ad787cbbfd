"""Differences between two tensors, and the yardstick that they are measured with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

#: Unit in the last place at 1.0. What is not counted in a graph of int8 is computed in float32.
EPSILON = {
    "float64": 2.0**-52, "float32": 2.0**-23, "tf32": 2.0**-10, "float16": 2.0**-10, "bfloat16": 2.0**-7,
    "int8": 2.0**-23,
}  # fmt: skip
#: Random numbers that are drawn at a time where large parameters repeat them; a prime, so that no two rows are equal.
DRAWN = 65521

_BINS = 32
#: Values of a tensor that are counted; a sample of more shows the same.
_COUNTED = 100_000
#: Decades of the difference, relative to the tensor's scale.
_DECADES = (-18, 2)
#: Channels that a strip of errors shows; more are pooled.
_STRIP = 48


@dataclass(frozen=True)
class Difference:
    """How far a tensor lies from its reference.

    ``rms`` and ``peak`` are in units of the reference's row scale: each row (one entry of the batch) is divided by
    its own root mean square, so that a dim photograph counts as much as a bright one and pooling over rows is
    pooling over samples of one distribution. The other figures are for people and decide nothing.

    Attributes:
        count: elements compared.
        rms: root mean square of the difference, relative to the row's scale, pooled over all rows.
        peak: largest difference, relative to the row's scale.
        max_abs, max_rel: largest absolute and relative difference.
        max_ulp: largest difference in units in the last place of the reference's element at the run's precision.
        cosine: cosine of the angle between the two tensors, None where one is zero.
        scale: root mean square of the reference.
        spread: how far the element that moves most moves over the rows, relative to ``scale``; 0 for a tensor that is
            constant or zero, infinity where there is one row and so nothing to tell.
        mismatch: what cannot be expressed as a number: shapes, dtypes, NaN or infinity at other places.
    """

    count: int
    rms: float
    peak: float
    max_abs: float
    max_rel: float
    max_ulp: float
    cosine: float | None
    scale: float
    spread: float
    mismatch: str | None = None


def as_pairs(array: Array) -> Array:
    """Return complex numbers as pairs of real and imaginary part, along a last axis of their own."""
    return np.stack([array.real, array.imag], -1) if array.dtype.kind == "c" else array


def compare(found: Array, expected: Array, precision: str, *, detail: bool = True) -> Difference:
    """Measure how far ``found`` lies from ``expected``. The first axis is the batch.

    Args:
        found, expected: tensors of the same shape. Their dtypes may differ in width, not in kind.
        precision: what an ULP is counted in, that of the run under judgement.
        detail: also the figures that decide nothing; taps do without them.

    Returns:
        The difference. Shapes, kinds, and the places of NaN and infinity must agree: else ``mismatch`` says how.
    """
    found, expected = as_pairs(found), as_pairs(expected)
    if found.shape != expected.shape:
        return _mismatch(f"shape {list(found.shape)} where {list(expected.shape)} was expected")
    if found.dtype.kind != expected.dtype.kind:
        return _mismatch(f"dtype {found.dtype} where {expected.dtype} was expected")
    if expected.size == 0:
        return Difference(0, 0.0, 0.0, 0.0, 0.0, 0.0, None, 0.0, 0.0)
    if expected.dtype.kind != "f":
        return _compare_exact(found, expected)
    finite = np.isfinite(expected)
    if not finite.all() or not np.isfinite(found).all():
        same = np.array_equal(found[~finite], expected[~finite], equal_nan=True)
        if not same or not np.array_equal(np.isfinite(found), finite):
            where = tuple(int(i) for i in np.argwhere(np.isfinite(found) != finite)[:1].ravel())
            return _mismatch(f"NaN or infinity at other places than the reference (first at {list(where)})")
        found, expected = np.where(finite, found, 0), np.where(finite, expected, 0)
    return _compare_floats(found.astype(np.float64), expected.astype(np.float64, copy=False), precision, detail)


def _compare_floats(found: Array, expected: Array, precision: str, detail: bool) -> Difference:
    """Compare finite tensors; ``found`` is overwritten with the errors."""
    count = expected.size
    table = expected.reshape(expected.shape[0], -1) if expected.ndim > 1 else expected.reshape(1, -1)
    square = np.einsum("ij,ij->i", table, table) / table.shape[1]
    whole = math.sqrt(float(square.mean()))
    scale = np.where(square > 0, np.sqrt(square), whole or 1.0)
    cosine = _cosine(found.reshape(-1), table.reshape(-1)) if detail else None
    error = np.subtract(found.reshape(table.shape), table, out=found.reshape(table.shape))
    rms = math.sqrt(float(np.mean(np.einsum("ij,ij->i", error, error) / table.shape[1] / scale**2)))
    np.abs(error, out=error)
    rows = error.max(axis=1)
    moves = math.inf if len(table) < 2 else float((table.max(axis=0) - table.min(axis=0)).max())
    max_rel = max_ulp = 0.0
    if detail:
        magnitude = np.abs(table)
        max_rel = float(np.divide(error, magnitude, out=np.zeros_like(error), where=magnitude > 0).max())
        # An element's ULP, but never finer than its row's: near zero a cancelled sum has no last place of its own.
        ulp = EPSILON[precision] * np.exp2(np.floor(np.log2(np.maximum(magnitude, scale[:, None]))))
        max_ulp = float((error / ulp).max())
    return Difference(
        count=count,
        rms=rms,
        peak=float((rows / scale).max()),
        max_abs=float(rows.max()),
        max_rel=max_rel,
        max_ulp=max_ulp,
        cosine=cosine,
        scale=whole,
        spread=0.0 if whole == 0 else moves / whole,
    )


def _cosine(one: Array, other: Array) -> float | None:
    # By einsum, which is one loop: a library's dot product wakes its threads for it, and they wait for a busy core.
    first, second, product = (float(np.einsum("i,i->", a, b)) for a, b in ((one, one), (other, other), (one, other)))
    norms = math.sqrt(first) * math.sqrt(second)
    return product / norms if norms > 0 else None


def _compare_exact(found: Array, expected: Array) -> Difference:
    wrong = int(np.count_nonzero(found != expected))
    if wrong:
        return _mismatch(f"{wrong} of {expected.size} {expected.dtype} elements differ")
    return Difference(expected.size, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)


def _mismatch(text: str) -> Difference:
    infinite = math.inf
    return Difference(0, infinite, infinite, infinite, infinite, infinite, None, 0.0, 0.0, text)


def extreme_factor(count: int) -> float:
    """Return how far the largest of ``count`` normal errors is expected to lie out, in standard deviations.

    ``sqrt(2 ln 2n)``, the leading term of the expected maximum (Leadbetter et al., *Extremes*, 1983, theorem 1.5.3).
    """
    return max(1.0, math.sqrt(2.0 * math.log(2.0 * count))) if count else 1.0


def picture(mine: Array, theirs: Array) -> dict[str, Any] | None:
    """Count the values of a tensor on both sides, the decades of what lies between them, and where it lies.

    Args:
        mine: of the side that follows.
        theirs: recorded on the side that leads.
    """
    if mine.dtype.kind != "f" or mine.size != theirs.size or not mine.size:
        return None
    step = max(1, mine.size // _COUNTED)
    one, two = (np.asarray(a.ravel()[::step], np.float64) for a in (mine, theirs))
    kept = np.isfinite(one) & np.isfinite(two)
    if not kept.any():
        return None
    one, two = one[kept], two[kept]
    low, high = float(min(one.min(), two.min())), float(max(one.max(), two.max()))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    scale = math.sqrt(float(np.mean(two**2))) or 1.0
    with np.errstate(divide="ignore"):
        decades = np.log10(np.abs(one - two) / scale)
    counts = np.histogram(np.clip(decades[np.isfinite(decades)], *_DECADES), _DECADES[1] - _DECADES[0], _DECADES)[0]
    return {
        "low": low, "high": float(edges[-1]), "follower": np.histogram(one, edges)[0].tolist(),
        "leader": np.histogram(two, edges)[0].tolist(), "decades": counts.tolist(),
        "equal": int(np.sum(one == two)), "count": len(one), **_along_channels(mine, theirs, scale),
    }  # fmt: skip


def _along_channels(mine: Array, theirs: Array, scale: float) -> dict[str, Any]:
    """Return the root mean square of the difference along the channels, neighbours pooled where there are many.

    Channels stand behind the rows; of three axes they are the last one (rows, tokens, channels). What is not finite is
    left out.
    """
    if mine.shape != theirs.shape or mine.ndim < 2:
        return {}
    axis = 2 if mine.ndim == 3 else 1
    with np.errstate(invalid="ignore"):
        squared = np.square(mine.astype(np.float64) - theirs)
    squared[~np.isfinite(squared)] = 0.0
    each = squared.mean(axis=tuple(i for i in range(mine.ndim) if i != axis))
    pooled = [float(f"{math.sqrt(part.mean()) / scale:.2e}") for part in np.array_split(each, min(len(each), _STRIP))]
    return {"channels": tuple(pooled), "axis": axis, "channel_count": len(each)} if pooled else {}
