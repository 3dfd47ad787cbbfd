"""From differences to verdicts. Every threshold is a multiple of an error that was measured; none is a tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from portproof._numbers import EPSILON, Array, Difference, compare, extreme_factor
from portproof.judge._report import Verdict

#: How many noise floors away two honest computations of a tensor may lie. Honest ratios of GoogLeNet's modules and
#: outputs reach 7 (a Linear over two rows, which Paddle sums one term after the other and torch in blocks); the
#: smallest planted faults begin at 1e4. docs/noise-floor.md has the distribution and the command that makes it.
FLOOR_MULTIPLE = 32.0
#: The same for bfloat16 and float16, whose kernels add in float32: honest ratios stay below 3, and 32 floors of
#: bfloat16 are an eighth of a tensor's scale, which would hide a cast to eight bits. And for int8, whose floor is drawn
#: with noise of 32 floors before each rounding to levels: see ``portproof/graphs/_quantised.py``.
LOWER_MULTIPLE = 8.0


def multiple(precision: str) -> float:
    """Return how many noise floors begin a divergence in a precision."""
    return FLOOR_MULTIPLE if precision in ("float64", "float32") else LOWER_MULTIPLE


#: From how many elements on an error of exactly zero is a property of the module (ReLU, max-pool, concat) and not
#: luck; such a module must agree exactly.
_EXACT_COUNT = 64


@dataclass(frozen=True)
class Floor:
    """The error that honest rounding makes at a tensor, measured in float32.

    Attributes:
        rms: relative to the tensor's row scale.
        tail: the largest error over ``rms``. Where few elements of a tensor carry all of its errors (behind a ReLU that
            leaves little), that is more than a normal distribution of its size would have.
        exact: whether float32 makes no error here at all, on any side.
    """

    rms: float
    exact: bool = False
    tail: float = 0.0

    def at(self, precision: str) -> float:
        """Carry the floor to another precision by the ratio of the epsilons; at least half an ULP of the scale."""
        return max(self.rms, EPSILON["float32"] / 2) * EPSILON[precision] / EPSILON["float32"]


def measure_floor(
    errors: Iterable[Difference], cap: float | None = None, apart: Difference | None = None
) -> Floor:  # fmt: skip
    """Return the floor at a tensor: the smaller of the sides' own float32 errors.

    The smaller, so that a side that computes in less than float32 cannot raise the floor that it is judged with. But
    where large terms cancel, the order in which a kernel adds them decides how far it errs, in each precision alike:
    one side then errs much farther in float32, and in float64 lies as far from the other, by the ratio of the epsilons.
    Neither another function nor a lower precision does that, and then that is the floor.

    Args:
        errors: per side, float32 against float64 of the same side.
        cap: what float32 can honestly do here, where that is known; nothing raises the floor beyond it.
        apart: float64 of one side against float64 of the other, where both were run.
    """
    counted = [error for error in errors if error.mismatch is None]
    if not counted:
        return Floor(EPSILON["float32"] / 2)
    exact = all(error.peak == 0.0 and error.count >= _EXACT_COUNT for error in counted)
    rms, most = (which(error.rms for error in counted) for which in (min, max))
    if apart is not None and apart.mismatch is None:
        rounded = apart.rms * EPSILON["float32"] / EPSILON["float64"]
        is_far = max(rounded, most) > FLOOR_MULTIPLE * max(rms, EPSILON["float32"] / 2)
        if is_far and most / FLOOR_MULTIPLE <= rounded <= most * FLOOR_MULTIPLE:
            rms = max(rms, min(rounded, most))
    tail = min((error.peak / error.rms for error in counted if error.rms), default=0.0)
    return Floor(rms if cap is None else min(rms, cap), exact, tail)


def ratio(difference: Difference, floor: Floor, precision: str) -> float:
    """Return how many noise floors a difference is: of its root mean square, or of its peak if that is farther out.

    The peak is measured against the same floor times the extreme-value factor of the tensor's size, or times the
    farthest that float32 itself went on the side that went less far, if that is more.
    """
    if difference.mismatch is not None:
        return math.inf
    if difference.peak == 0.0:
        return 0.0
    # What float32 does exactly (ReLU, max-pool) a lower precision does not: it rounds what comes in.
    if floor.exact and precision in ("float64", "float32"):
        return math.inf
    unit = floor.at(precision)
    return max(difference.rms / unit, difference.peak / (unit * max(extreme_factor(difference.count), floor.tail)))


def verdict_of(difference: Difference, floor: Floor, precision: str) -> Verdict:
    """Return the verdict on one tensor."""
    value = ratio(difference, floor, precision)
    if value > multiple(precision):
        return "divergent"
    if not difference.count:
        return "identical"  # there is no element that could differ
    if is_blind(difference, floor, precision):
        return "inconclusive"
    return "identical" if value == 0.0 else "equivalent"


def is_blind(difference: Difference, floor: Floor, precision: str) -> bool:
    """Whether a tensor hardly moves with the input: less than the noise that it is judged with."""
    return difference.spread <= multiple(precision) * floor.at(precision)


def output_floors(
    runs: Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]],
) -> dict[str, Floor]:
    """Measure the floor of every output from each side's float32 and float64 run.

    Args:
        runs: per side, its float32 and its float64 outputs on the same rows.
    """
    names = list(runs[0][0])
    errors = {name: [compare(low[name], high[name], "float32") for low, high in runs] for name in names}
    (_, one), *others = runs
    apart = {name: compare(other[name], one[name], "float64", detail=False) for _, other in others for name in names}
    return {name: measure_floor(errors[name], apart=apart.get(name)) for name in names}


def slower_floors(
    floors: Mapping[str, Floor], slow: Mapping[str, Array], oracle: Mapping[str, Array]
) -> dict[str, Floor]:
    """Widen floors by a run that adds its averages term by term; see :mod:`portproof.replay._rounding`."""
    own = {name: measure_floor([compare(slow[name], oracle[name], "float32")]) for name in floors}
    return {
        name: Floor(max(floor.rms, own[name].rms), floor.exact and own[name].exact, max(floor.tail, own[name].tail))
        for name, floor in floors.items()
    }
