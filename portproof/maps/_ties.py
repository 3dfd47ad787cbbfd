"""Tensors that one side ties and the other holds apart: the gradient of the one is the sum of those of the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

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

    What reaches no output there goes with them by name, as far as the tensor has names left: a table, say, that one
    side keeps beside the two that are made of it.

    Args:
        units: of both sides.
        free: places of those without a partner.
        seen: while all of one size hold the same values.
    """
    for side in LEADING:
        for unit in free[side]:
            whole, others = units[side][unit], units[side.other]
            same = [other for other in free[side.other] if others[other].sizes == whole.sizes]
            fitting = [other for other in same if not seen[side.other].is_silent(other)]
            silent = [other for other in same if other not in fitting]
            if seen[side].is_silent(unit):
                continue
            several = (
                parts
                for count in range(2, min(len(whole.names), len(fitting)) + 1)
                for parts in itertools.combinations(fitting, count)
            )
            for parts in itertools.islice(several, _TRIES):
                pair = _sum(side, unit, parts, units, seen)
                if pair is not None:
                    return _with_silent(pair, side, silent, units)
    return None


def _with_silent(pair: Pair, side: Side, silent: Sequence[int], units: Mapping[Side, Sequence[Unit]]) -> Pair:
    """Add those of the other side that reach no output and whose names the tensor has."""
    ((unit, _),), others = pair.of(side), units[side.other]
    left = len(units[side][unit].names) - len(pair.of(side.other))
    named = [other for other in silent if others[other].entry.name in units[side][unit].names][:left]
    more = (*pair.of(side.other), *((other, others[other].orders[0]) for other in named))
    return replace(pair, paddle=more) if side is Side.TORCH else replace(pair, torch=more)


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
