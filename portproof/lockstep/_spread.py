"""The yardstick of gradients and trainings: how far honest runs lie from one another at a tensor.

Gradients are not normal (most are small, a few are large, and each errs by a share of itself), so the largest error of
honest runs is measured, where a forward pass derives it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from portproof._numbers import EPSILON, Array, Difference, compare, extreme_factor
from portproof.judge._floor import FLOOR_MULTIPLE

#: From how many numbers on an error of exactly zero, on both sides, is no luck: such a product must agree exactly.
_EXACT_COUNT = 64
#: Half of float32's digits: no kernel that computes in float32 inside loses as many.
_RANDOM = EPSILON["float32"] ** 0.5
#: A check in float64 that cannot tell a float32 from a float64 sees nothing; one in float32 has to tell something.
BLIND = {"float64": EPSILON["float32"], "float32": 1.0}


def flat(found: Array, expected: Array) -> Difference:
    """Compare two tensors as wholes: their first axis is no batch."""
    if found.shape != expected.shape:
        return compare(found, expected, "float64")
    return compare(found.reshape(1, -1), expected.reshape(1, -1), "float64", detail=False)


@dataclass(frozen=True)
class Spread:
    """How far honest runs lie from one another, relative to a tensor's scale.

    Attributes:
        rms: root mean square; at least half a unit in the last place of the precision.
        peak: the largest.
        exact: honest runs make no error here at all.
    """

    rms: float
    peak: float
    exact: bool = False

    @classmethod
    def of(cls, errors: Sequence[Difference], precision: str) -> Spread:
        """Pool the errors of some runs."""
        known = [error for error in errors if error.mismatch is None]
        if not known:
            return cls(EPSILON[precision] / 2, 0.0)
        pooled = math.sqrt(sum(error.rms**2 for error in known) / len(known))
        exact = all(error.peak == 0.0 and error.count >= _EXACT_COUNT for error in known)
        return cls(max(pooled, EPSILON[precision] / 2), max(error.peak for error in known), exact)

    def at_least(self, rms: float, crest: float) -> Spread:
        """Return a spread that is no less than this; ``crest``: the tensor's largest element over its scale.

        Where every element errs by a share of itself, the largest errs by as much more.
        """
        return Spread(max(self.rms, rms), max(self.peak, rms * crest), self.exact)

    def carried(self, source: str, target: str) -> Spread:
        """Carry it from one precision to another by the ratio of their units in the last place."""
        share = EPSILON[target] / EPSILON[source]
        return Spread(self.rms * share, self.peak * share, self.exact)

    def ratio(self, difference: Difference) -> float:
        """Return how many of these spreads a difference is, by its root mean square or its peak."""
        if difference.mismatch is not None:
            return math.inf
        if difference.peak == 0.0:
            return 0.0
        if self.exact:
            return math.inf
        peak = max(self.peak, self.rms * extreme_factor(difference.count))
        return max(difference.rms / self.rms, difference.peak / peak)

    @property
    def is_random(self) -> bool:
        """Whether runs of one side differ by more than any arithmetic makes them: something is drawn anew."""
        return bool(self.rms > _RANDOM)

    def is_blind(self, precision: str) -> bool:
        """Whether nothing that matters could be told apart from this."""
        return FLOOR_MULTIPLE * self.rms > BLIND[precision]


def between(one: Spread, other: Spread) -> Spread:
    """Return the floor from the spreads of two sides: the larger, but no more than 32 of the smaller.

    One side adds a long sum term by term, the other in blocks, and both are right; but a side that computes in less
    than its precision must not raise what it is judged with.
    """
    small, large = sorted((one, other), key=lambda spread: spread.rms)
    return Spread(
        min(large.rms, FLOOR_MULTIPLE * small.rms),
        min(large.peak, FLOOR_MULTIPLE * max(small.peak, small.rms)),
        one.exact and other.exact,
    )


def joined(one: Spread, other: Spread) -> Spread:
    """Return the wider of two spreads that were measured in different ways."""
    return Spread(max(one.rms, other.rms), max(one.peak, other.peak), one.exact and other.exact)
