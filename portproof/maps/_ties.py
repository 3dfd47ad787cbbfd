"""Tensors that one side ties and the other holds apart: the gradient of the one is the sum of those of the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.maps._told import Pair, Seen
from portproof.maps._units import Unit
from portproof.ports._port import LEADING, Side

#: Sums that are tried at most for one tensor.
_TRIES = 4096


def tied_pair(
    units: Mapping[Side, Sequence[Unit]], free: Mapping[Side, Sequence[int]], seen: Mapping[Side, Seen]
) -> Pair | None:
    """Return a tensor of several names and those of the other side whose gradients add up to its own; None for none.

    Args:
        units: of both sides.
        free: places of those without a partner, all of which reach an output.
        seen: while all of one size hold the same values.
    """
    for side in LEADING:
        for unit in free[side]:
            whole, others = units[side][unit], units[side.other]
            fitting = [other for other in free[side.other] if others[other].sizes == whole.sizes]
            several = (
                parts
                for count in range(2, min(len(whole.names), len(fitting)) + 1)
                for parts in itertools.combinations(fitting, count)
            )
            for parts in itertools.islice(several, _TRIES):
                pair = _sum(side, unit, parts, units, seen)
                if pair is not None:
                    return pair
    return None


def _sum(
    side: Side, unit: int, parts: Sequence[int], units: Mapping[Side, Sequence[Unit]], seen: Mapping[Side, Seen]
) -> Pair | None:
    """Return the pair of a tensor and some of the other side, if their gradients, in some orders of axes, add up."""
    whole, others = units[side][unit], units[side.other]
    rows = [seen[side.other].told[part] for part in parts]
    own = seen[side].told[unit]
    noise = max(seen[side].noise[unit], *(seen[side.other].noise[part] for part in parts))
    for orders in itertools.product(*(range(len(others[part].orders)) for part in parts)):
        added = [row[order] for row, order in zip(rows, orders, strict=True) if row is not None]
        if own is None or len(added) < len(parts):
            return None
        size = max(np.linalg.norm(row) for row in (own[0], *added))
        if np.linalg.norm(np.sum(added, axis=0) - own[0]) <= FLOOR_MULTIPLE * noise * size:
            one = ((unit, whole.orders[0]),)
            several = tuple((part, others[part].orders[order]) for part, order in zip(parts, orders, strict=True))
            return Pair(one, several, "sum") if side is Side.TORCH else Pair(several, one, "sum")
    return None
