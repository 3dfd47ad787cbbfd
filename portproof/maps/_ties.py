"""Tensors that one side ties and the other holds apart: the gradient of the one is the sum of those of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.maps._told import Pair, Seen
from portproof.maps._units import Unit
from portproof.ports._port import LEADING, Side


def tied_pair(
    units: Mapping[Side, Sequence[Unit]], free: Mapping[Side, Sequence[int]], seen: Mapping[Side, Seen]
) -> Pair | None:
    """Return a tensor of two names and the two of the other side whose gradients add up to its own; None for none.

    Args:
        units: of both sides.
        free: places of those without a partner, all of which reach an output.
        seen: while all of one size hold the same values.
    """
    for side in LEADING:
        for unit in free[side]:
            if len(units[side][unit].names) == 2:
                pair = _sum(side, unit, units, free[side.other], seen)
                if pair is not None:
                    return pair
    return None


def _sum(
    side: Side, unit: int, units: Mapping[Side, Sequence[Unit]], free: Sequence[int], seen: Mapping[Side, Seen]
) -> Pair | None:
    whole, others = units[side][unit], units[side.other]
    told = seen[side].told[unit]
    assert told is not None
    fitting = [other for other in free if others[other].sizes == whole.sizes]
    for first, second in ((a, b) for i, a in enumerate(fitting) for b in fitting[i + 1 :]):
        rows = [seen[side.other].told[other] for other in (first, second)]
        assert rows[0] is not None
        assert rows[1] is not None
        noise = max(seen[side].noise[unit], *(seen[side.other].noise[other] for other in (first, second)))
        for i, one in enumerate(rows[0]):
            for j, other in enumerate(rows[1]):
                size = max(np.linalg.norm(row) for row in (told[0], one, other))
                if np.linalg.norm(one + other - told[0]) <= FLOOR_MULTIPLE * noise * size:
                    own = ((unit, whole.orders[0]),)
                    parts = ((first, others[first].orders[i]), (second, others[second].orders[j]))
                    return Pair(own, parts, "sum") if side is Side.TORCH else Pair(parts, own, "sum")
    return None
