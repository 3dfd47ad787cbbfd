"""Tensors that one side keeps as a matrix and the other with an axis taken apart: heads split off a projection.

Sizes tell it: one side has a (32, 4, 8) too many where the other has a (32, 32) too many. Which axes are joined, and in
which order, is tried in turn: where it is right, both sides are one function again.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from portproof.maps._units import Sizes, Unit, View
from portproof.ports._port import LEADING, Side


@dataclass(frozen=True)
class Joining:
    """Tensors of some sizes that the other side has with fewer axes: ``into`` what their axes are joined."""

    sizes: Sizes
    into: Sizes


def joinings(units: Mapping[Side, Sequence[Unit]]) -> list[Joining]:
    """Return what explains that one side has too many tensors of more axes, the other of as many elements."""
    counts = {side: Counter(unit.sizes for unit in units[side] if not unit.table) for side in LEADING}
    found: list[Joining] = []
    for side in LEADING:
        more, fewer = counts[side] - counts[side.other], counts[side.other] - counts[side]
        for sizes in sorted(more, key=lambda sizes: (-len(sizes), sizes)):
            fitting = (into for into in fewer if 0 < more[sizes] <= fewer[into] and views_of(sizes, into))
            into = next(fitting, None)
            if into is not None:
                fewer[into] -= more[sizes]
                found.append(Joining(sizes, into))
    return found


def views_of(shape: tuple[int, ...], into: Sizes) -> list[View]:
    """Return every way to join the axes of a shape so that some sizes come of it, those that keep their order first."""
    wide = [axis for axis, size in enumerate(shape) if size != 1]
    if len(wide) <= len(into) or math.prod(shape) != math.prod(into):
        return []
    found = set()
    for order in itertools.permutations(wide):
        for ends in itertools.combinations(range(1, len(wide)), len(into) - 1):
            groups = tuple(order[a:b] for a, b in itertools.pairwise((0, *ends, len(wide))))
            products = tuple(sorted(math.prod(shape[axis] for axis in group) for group in groups))
            if products == into and list(groups) == sorted(groups, key=min):  # which axis comes first is told later
                found.add(groups)
    return [View(shape, groups) for groups in sorted(found, key=lambda groups: (_turns(groups), groups))]


def _turns(groups: Sequence[Sequence[int]]) -> int:
    order = list(itertools.chain(*groups))
    return sum(a > b for a, b in itertools.combinations(order, 2))


def seen_joined(units: Mapping[Side, Sequence[Unit]]) -> Iterator[dict[Side, list[Unit]]]:
    """Yield both sides' units with the axes joined that one side takes apart, in every way, the usual one first."""
    into = {one.sizes: one.into for one in joinings(units)}
    shapes = sorted({unit.shape for side in LEADING for unit in units[side] if unit.sizes in into and not unit.table})
    ways = [list(enumerate(views_of(shape, into[tuple(sorted(s for s in shape if s != 1))]))) for shape in shapes]
    for chosen in sorted(itertools.product(*ways), key=lambda chosen: sum(place for place, _ in chosen)):
        views = {shape: view for shape, (_, view) in zip(shapes, chosen, strict=True)}
        yield {side: [_seen_as(unit, views) for unit in units[side]] for side in LEADING}


def _seen_as(unit: Unit, views: Mapping[tuple[int, ...], View]) -> Unit:
    if unit.table or unit.shape not in views:
        return unit
    view = views[unit.shape]
    return replace(unit, shape=view.joined, view=view)
