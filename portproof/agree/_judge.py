"""From scores to counts: what one unit says of one runner, and how what units say is put together, in any order."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from portproof._numbers import Array, extreme_factor
from portproof.graphs._lowered import QUANTISED
from portproof.judge._floor import Floor, multiple

#: Classes that count as an answer beside the first.
TOP = 5
#: Bins of the distribution of ratios in an octave: a quantile is known to one percent.
_BINS = 64
#: Images that are kept by name, a runner.
KEPT = 12


@dataclass(frozen=True)
class Yardstick:
    """What errors and margins are measured with.

    Attributes:
        rms, tail, exact: of the noise floor; see :class:`portproof.judge._floor.Floor`.
        scale: root mean square of the oracle's scores on the images that the floor was measured on.
        classes: scores of an image.
    """

    rms: float
    tail: float
    exact: bool
    scale: float
    classes: int

    def unit(self, own: Array, precision: str) -> Array:
        """Return one noise floor of each image, in scores.

        An image whose scores happen to be small is rounded like any other: its scale is at least the common one. What
        is quantised is held against float32's: nothing about it is rounding.
        """
        rounded = "float32" if precision in QUANTISED else precision
        return Floor(self.rms, self.exact, self.tail).at(rounded) * np.maximum(own, self.scale)

    @property
    def farthest(self) -> float:
        """How many floors the farthest of an image's scores may honestly lie out."""
        return max(extreme_factor(self.classes), self.tail)


def leading(scores: Array) -> Array:
    """Return the leading classes of each image, ``(rows, 5 or fewer)`` int32; of equal scores the first leads."""
    count = min(TOP, scores.shape[1])
    found = np.empty((len(scores), count), np.int32)
    # NaN, which sorts last, leads nothing; what is equal to the last that leads is looked at too, in its order.
    for row, values in enumerate(np.where(np.isnan(scores), -np.inf, scores)):
        least = np.partition(values, -count)[-count]
        close = np.flatnonzero(values >= least)
        found[row] = close[np.argsort(-values[close], kind="stable")][:count]
    return found


def record(scores: Array, oracle: Array) -> dict[str, Array]:
    """Return what is kept of a runner's scores on a unit.

    Args:
        scores: ``(rows, classes)`` of the runner.
        oracle: ``(rows, classes)`` float64.

    Returns:
        ``rms`` and ``peak`` error, infinite where one is finite and the other is not; the ``top`` classes; ``margin``
        and ``margin5``: how far apart the oracle holds the classes that changed places, 0 where none did. ``(rows,)``
        float64 each, in scores, and ``top`` ``(rows, 5)`` int32.
    """
    wide = scores.astype(np.float64)
    finite = np.asarray(np.isfinite(wide).all(axis=1) & np.isfinite(oracle).all(axis=1))
    same = finite | ((wide == oracle) | (np.isnan(wide) & np.isnan(oracle))).all(axis=1)
    with np.errstate(invalid="ignore"):  # infinity from infinity
        error = np.abs(np.where(finite[:, None], wide - oracle, 0.0))
        top, wanted, rows = leading(wide), leading(oracle), np.arange(len(wide))
        first = np.nan_to_num(oracle[rows, wanted[:, 0]] - oracle[rows, top[:, 0]], nan=np.inf)
    out = np.where(same, 0.0, np.inf)
    fifth = np.zeros(len(wide))
    for row in np.flatnonzero((np.sort(top, axis=1) != np.sort(wanted, axis=1)).any(axis=1)):
        lost, won = (
            set(wanted[row].tolist()) - set(top[row].tolist()),
            set(top[row].tolist()) - set(wanted[row].tolist()),
        )
        fifth[row] = max(oracle[row, list(lost)]) - min(oracle[row, list(won)])
    return {
        "rms": np.sqrt(np.mean(error**2, axis=1)) + out, "peak": error.max(axis=1) + out,
        "top": top, "margin": first, "margin5": np.nan_to_num(fifth, nan=np.inf),
    }  # fmt: skip


@dataclass(frozen=True, order=True)
class Far:
    """An image that is worth a look; the order is by how far out it lies, then by its place in the data set.

    Attributes:
        rank: what it is kept for: its ratio, or the margin of its flip in floors.
        place: minus its number in the data set.
        name: of the image.
        ratio: error of its scores in noise floors.
        margin: of the oracle's class over the runner's, in floors; 0 where they agree.
        expected, found: the classes.
    """

    rank: float
    place: int
    name: str
    ratio: float
    margin: float
    expected: int
    found: int


@dataclass
class Tally:
    """What is known of one runner; two tallies make one, in any order.

    Attributes:
        images: that it was compared on.
        first, fifth: agreements, ties and flips of the first class, and of the leading five.
        beyond: images whose scores differ by more than honest rounding makes.
        labelled, right, right5: images with a label; those it has right, first and among five.
        changed: images whose first class is another one by more than float32's rounding explains.
        lost, gained: labelled images that the oracle has right and this has wrong, and the reverse.
        ratios: images by the logarithm of their ratio; "0" where there is no error at all.
        largest: ratio.
        worst: images with the largest ratios.
        flips: images whose first class flips, those with the widest margins.
    """

    images: int = 0
    first: list[int] = field(default_factory=lambda: [0, 0, 0])
    fifth: list[int] = field(default_factory=lambda: [0, 0, 0])
    beyond: int = 0
    labelled: int = 0
    right: int = 0
    right5: int = 0
    changed: int = 0
    lost: int = 0
    gained: int = 0
    ratios: dict[str, int] = field(default_factory=dict)
    largest: float = 0.0
    worst: list[Far] = field(default_factory=list)
    flips: list[Far] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what another tally counted."""
        for name in ("images", "beyond", "labelled", "right", "right5", "changed", "lost", "gained"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first = [a + b for a, b in zip(self.first, other.first, strict=True)]
        self.fifth = [a + b for a, b in zip(self.fifth, other.fifth, strict=True)]
        for key, count in other.ratios.items():
            self.ratios[key] = self.ratios.get(key, 0) + count
        self.largest = max(self.largest, other.largest)
        self.worst = heapq.nlargest(KEPT, [*self.worst, *other.worst])
        self.flips = heapq.nlargest(KEPT, [*self.flips, *other.flips])

    def quantile(self, share: float) -> float:
        """Return the ratio that a share of the images lies below, to one percent."""
        wanted, seen = share * self.images, 0
        for key, count in sorted(self.ratios.items(), key=lambda item: _edge(item[0])):
            seen += count
            if seen >= wanted:
                return min(_edge(key), self.largest)
        return self.largest


def _bin(ratio: float) -> str:
    if ratio == 0 or math.isinf(ratio):
        return "0" if ratio == 0 else "inf"
    return f"{math.ceil(math.log2(ratio) * _BINS):+d}"


def _edge(key: str) -> float:
    if key in ("0", "inf"):
        return float(key)
    return float(2.0 ** (int(key) / _BINS))


def tally(
    found: Mapping[str, Array], oracle: Array, yardstick: Yardstick, precision: str,
    names: Sequence[str], numbers: Sequence[int], labels: Sequence[int | None],
) -> Tally:  # fmt: skip
    """Count what one unit says of one runner.

    Args:
        found: its :func:`record`.
        oracle: the oracle's scores on the same images.
        yardstick: of the data set.
        precision: of the runner.
        names, numbers, labels: of the images, numbers in the data set.
    """
    finite = np.where(np.isfinite(oracle), oracle, 0.0)
    own = np.sqrt(np.mean(finite**2, axis=1))
    unit = yardstick.unit(own, precision)
    ratio = np.maximum(found["rms"] / unit, found["peak"] / (unit * yardstick.farthest))
    if yardstick.exact and precision in ("float64", "float32"):
        ratio = np.where(found["peak"] > 0, np.inf, 0.0)
    wanted = leading(oracle)
    # Both classes may be off by the farthest that rounding goes: a narrower margin decides nothing.
    margin, margin5 = found["margin"] / unit, found["margin5"] / unit
    tie = 2 * yardstick.farthest
    flipped = found["top"][:, 0] != wanted[:, 0]
    result = Tally(images=len(oracle), largest=float(ratio.max(initial=0.0)))
    result.changed = int(np.count_nonzero(flipped & (found["margin"] > tie * yardstick.unit(own, "float32"))))
    result.beyond = int(np.count_nonzero(ratio > multiple(precision)))
    others = (np.sort(found["top"], axis=1) != np.sort(wanted, axis=1)).any(axis=1)
    result.first = _counted(flipped, margin <= tie)
    result.fifth = _counted(others, margin5 <= tie)
    for value in ratio.tolist():
        key = _bin(value)
        result.ratios[key] = result.ratios.get(key, 0) + 1
    far: list[Far] = []
    for row, label in enumerate(labels):
        if label is not None:
            result.labelled += 1
            right, expected = bool(found["top"][row, 0] == label), bool(wanted[row, 0] == label)
            result.right += right
            result.lost += expected and not right
            result.gained += right and not expected
            result.right5 += int(label in found["top"][row])
        about = (
            -numbers[row], names[row], float(ratio[row]), float(margin[row]),
            int(wanted[row, 0]), int(found["top"][row, 0]),
        )  # fmt: skip
        far.append(Far(float(ratio[row]), *about))
        if flipped[row] and margin[row] > tie:
            result.flips.append(Far(float(margin[row]), *about))
    result.worst = heapq.nlargest(KEPT, far)
    result.flips = heapq.nlargest(KEPT, result.flips)
    return result


def _counted(changed: Array, tied: Array) -> list[int]:
    ties = int(np.count_nonzero(changed & tied))
    flips = int(np.count_nonzero(changed)) - ties
    return [len(changed) - ties - flips, ties, flips]


def bounds(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return between which rates the true one lies, each end with the confidence given (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    low = 0.0 if count == 0 else float(beta.ppf(1 - confidence, count, of - count + 1))
    high = 1.0 if count >= of else float(beta.ppf(confidence, count + 1, of - count))
    return low, high
