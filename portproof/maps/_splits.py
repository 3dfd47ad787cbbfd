"""Tensors that one side holds in one piece and the other in several: found by counting, laid out by trying.

A packed projection is told by sizes alone: one side has a (96, 32) too many, the other three (32, 32). Whether its
parts follow each other, in which order unequal ones do, and whether every head keeps its own share is tried in turn:
where the layout is right, both sides are one function again.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from portproof.maps._units import Sizes, Unit, cut_units
from portproof.ports._port import LEADING, Side

#: Gates that a recurrent cell may have.
GATES = (4, 3, 2)
#: Parts that one tensor is cut into at most, and layouts of all that are tried at most.
_PARTS, TRIES = 8, 96


@dataclass(frozen=True)
class Packed:
    """Tensors that one side packs.

    Attributes:
        side: that holds them in one piece.
        sizes: of the whole.
        along: the size of the axis that is cut.
        parts: sizes of the parts along it, ascending.
        modules: whose tensors of these sizes are cut, by side; None for all.
    """

    side: Side
    sizes: Sizes
    along: int
    parts: tuple[int, ...]
    modules: Mapping[Side, frozenset[str]] | None = None

    def takes(self, unit: Unit) -> bool:
        """Whether a tensor is cut."""
        return unit.sizes == self.sizes and (self.modules is None or unit.entry.module in self.modules[unit.side])


#: How one kind of whole is laid out: its parts in order, and the number of groups.
Layout = tuple[tuple[int, ...], int]


def packed(units: Mapping[Side, Sequence[Unit]]) -> list[Packed]:
    """Return what explains that the sides have not as many tensors of each size."""
    plain = {side: [unit for unit in units[side] if not unit.table] for side in LEADING}
    counts = {side: Counter(unit.sizes for unit in plain[side]) for side in LEADING}
    matrices = _counted({side: _of_axes(counts[side], many=True) for side in LEADING})
    vectors = [vector for one in matrices for vector in _beside(one, plain)]
    for one in vectors:
        for side in LEADING:
            cut = sum(one.takes(unit) for unit in plain[side])
            counts[side] += Counter([(part,) for part in one.parts] * cut)
            counts[side] -= Counter({one.sizes: cut})
    return [*matrices, *vectors, *_counted({side: _of_axes(counts[side], many=False) for side in LEADING})]


def _of_axes(counts: Counter[Sizes], *, many: bool) -> Counter[Sizes]:
    return Counter({sizes: count for sizes, count in counts.items() if (len(sizes) > 1) == many})


def _beside(matrix: Packed, units: Mapping[Side, Sequence[Unit]]) -> list[Packed]:
    """Return the vectors that lie in one module with a matrix that is cut: they are cut like it, whatever their number.

    Counting cannot tell them: in a pyramid, the biases of two keys are as long as that of one in the next stage.
    """
    modules = {
        side: frozenset(unit.entry.module for unit in units[side] if unit.sizes == matrix.sizes) for side in LEADING
    }
    found = Packed(matrix.side, (matrix.along,), matrix.along, matrix.parts, modules)
    return [found] if any(found.takes(unit) for side in LEADING for unit in units[side]) else []


def _counted(counts: Mapping[Side, Counter[Sizes]]) -> list[Packed]:
    found: list[Packed] = []
    for side in LEADING:
        more, fewer = counts[side] - counts[side.other], counts[side.other] - counts[side]
        wholes = sorted(more, key=lambda sizes: (-len(sizes), [-size for size in sizes]))
        found += _explained(side, [(sizes, more[sizes]) for sizes in wholes], fewer)
    return found


def _explained(side: Side, wholes: Sequence[tuple[Sizes, int]], available: Counter[Sizes]) -> list[Packed]:
    """Choose for each kind of whole what it is made of, so that as much as possible of the other side is used up."""
    best: tuple[int, list[Packed]] = (sum(available.values()), [])

    def choose(rest: Sequence[tuple[Sizes, int]], left: Counter[Sizes], taken: list[Packed]) -> None:
        nonlocal best
        over = sum(left.values())
        if over < best[0]:
            best = over, list(taken)
        if not rest or best[0] == 0:
            return
        (sizes, count), *others = rest
        for along in sorted(set(sizes), reverse=True):
            kept = list(sizes)
            kept.remove(along)
            for parts in _made_of(along, kept, left, count):
                used = Counter({_with(kept, part): 0 for part in parts})
                for part in parts:
                    used[_with(kept, part)] += count
                choose(others, left - used, [*taken, Packed(side, sizes, along, parts)])
        choose(others, left, taken)

    choose(wholes, available, [])
    return best[1]


def _with(kept: Sequence[int], part: int) -> Sizes:
    return tuple(sorted(size for size in (*kept, part) if size != 1)) or (1,)


def _made_of(along: int, kept: Sequence[int], left: Counter[Sizes], count: int) -> Iterator[tuple[int, ...]]:
    """Yield every way in which an axis is the sum of those of tensors that are left over."""
    sizes = sorted(part for part in range(1, along) if left[_with(kept, part)] >= count)

    def extend(total: int, least: int, parts: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if total == 0 and len(parts) > 1:
            yield parts
        if total <= 0 or len(parts) == _PARTS:
            return
        for part in sizes:
            if least <= part <= total and (parts.count(part) + 1) * count <= left[_with(kept, part)]:
                yield from extend(total - part, part, (*parts, part))

    yield from extend(along, 1, ())


def layouts(parts: tuple[int, ...]) -> list[Layout]:
    """Return the ways in which a whole may lie, the usual ones first: one after the other, then head by head."""
    orders = sorted(set(itertools.permutations(parts)), key=lambda order: [-size for size in order])
    groups = [number for number in range(1, min(parts) + 1) if all(size % number == 0 for size in parts)]
    return [(order, number) for number in groups for order in orders]


def choices(found: Sequence[Packed]) -> list[tuple[dict[tuple[int, ...], Layout], bool]]:
    """Return layouts for each kind of packing, and whether several are laid out unusually, which come last.

    A weight and its bias are laid out alike.
    """
    kinds = sorted({one.parts for one in found})
    every = itertools.product(*(enumerate(layouts(parts)) for parts in kinds))
    ranked = sorted(
        (sum(place > 0 for place, _ in chosen) > 1, sum(place for place, _ in chosen), at, chosen)
        for at, chosen in enumerate(itertools.islice(every, TRIES * TRIES))
    )
    return [
        ({parts: layout for parts, (_, layout) in zip(kinds, chosen, strict=True)}, several)
        for several, _, _, chosen in ranked[:TRIES]
    ]


def cut_apart(
    units: Mapping[Side, Sequence[Unit]], found: Sequence[Packed], chosen: Mapping[tuple[int, ...], Layout]
) -> dict[Side, list[Unit]]:
    """Return both sides' units with those of a packed size cut, also those that have a partner in one piece."""
    made = {side: list(units[side]) for side in LEADING}
    for one in found:
        parts, groups = chosen[one.parts]
        for side in LEADING:
            made[side] = cut_units(made[side], one.takes, one.along, parts, groups)
    return made


def gate_axes(units: Mapping[Side, Sequence[Unit]], gates: int) -> list[int]:
    """Return the sizes of the axes that may be the gates of a recurrent cell, one after the other.

    An axis counts where it is the longest of tensors that both sides have as many of.
    """
    counts = {side: Counter(unit.sizes for unit in units[side] if _gated(unit, gates)) for side in LEADING}
    same = {sizes[-1] for sizes, count in counts[LEADING[0]].items() if counts[LEADING[1]][sizes] == count}
    return sorted(same)


def _gated(unit: Unit, gates: int) -> bool:
    """Whether a tensor may hold gates: its longest axis is one alone, and so many times another size."""
    alone = unit.sizes.count(unit.sizes[-1]) == 1
    return not (unit.table or unit.cut or unit.view) and alone and unit.sizes[-1] % gates == 0


def gates_apart(units: Mapping[Side, Sequence[Unit]], gates: int, axes: Sequence[int]) -> dict[Side, list[Unit]]:
    """Return both sides' units with what has one of some axes as its longest cut into gates along it."""
    kinds = {unit.sizes for unit in units[LEADING[0]] if unit.sizes[-1] in axes and _gated(unit, gates)}
    made = {side: list(units[side]) for side in LEADING}
    for sizes in sorted(kinds):
        is_one = functools.partial(_has_sizes, sizes)
        for side in LEADING:
            made[side] = cut_units(made[side], is_one, sizes[-1], [sizes[-1] // gates] * gates, 1)
    return made


def _has_sizes(sizes: Sizes, unit: Unit) -> bool:
    return unit.sizes == sizes
