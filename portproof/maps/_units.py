"""What a map pairs: the tensors of a side, or the parts of one that the other side holds in pieces."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from portproof._numbers import Array
from portproof.frameworks._entries import Entry
from portproof.frameworks._layers import BY_NAME, same_layer
from portproof.ports._port import Side

#: Sizes of a tensor's axes, ascending, without those of one element: what a tensor has whatever its layout.
Sizes = tuple[int, ...]
#: Running statistics of a BatchNorm, by both frameworks' names: fed from data, and so no parameters, but they act.
STATISTICS = ("running_mean", "running_var", "_mean", "_variance")
FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Cut:
    """How a tensor is taken apart along an axis; see :class:`portproof.Split`."""

    axis: int
    sizes: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True)
class View:
    """A tensor with some of its axes joined.

    Attributes:
        shape: as it is stored.
        groups: its axes of more than one element; those of one group are one axis, the last of them counting fastest.
    """

    shape: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """All axes, in the order in which they are joined."""
        chosen = tuple(itertools.chain(*self.groups))
        return (*chosen, *(axis for axis in range(len(self.shape)) if axis not in chosen))

    @property
    def joined(self) -> tuple[int, ...]:
        """The shape that comes of it."""
        return tuple(math.prod(self.shape[axis] for axis in group) for group in self.groups)

    def of(self, array: Array) -> Array:
        """Return a stored array with its axes joined."""
        return array.transpose(self.axes).reshape(self.joined)

    def stored(self, array: Array) -> Array:
        """Reverse :meth:`of`."""
        apart = array.reshape([self.shape[axis] for axis in self.axes])
        return apart.transpose([self.axes.index(axis) for axis in range(len(self.shape))])


@dataclass(frozen=True)
class Unit:
    """A tensor, or one part of it.

    Attributes:
        side: whose.
        entries: the tensor under each of its names; several where it is tied.
        shape: of this part.
        cut: how the whole is taken apart, None for a tensor in one piece.
        part: which part this is.
        table: it is no parameter and no statistic: it stays as the model made it until it has a partner.
        view: how its axes are joined, None where they are as they are stored.
    """

    side: Side
    entries: tuple[Entry, ...]
    shape: tuple[int, ...]
    cut: Cut | None = None
    part: int = 0
    table: bool = False
    view: View | None = None

    @property
    def entry(self) -> Entry:
        """The tensor, by its first name."""
        return self.entries[0]

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the tensor."""
        return tuple(entry.name for entry in self.entries)

    @property
    def sizes(self) -> Sizes:
        """What it has whatever its layout."""
        return sizes_of(self.shape)

    @property
    def leaf(self) -> str:
        """The last part of its name, as torch has it."""
        own = self.entry.name.rpartition(".")[2]
        rule = BY_NAME.get(self.entry.layer)
        torch = {theirs: ours for ours, theirs in rule.names.items()} if rule else {}
        return own if self.side is Side.TORCH else torch.get(own, own)

    @property
    def orders(self) -> list[tuple[int, ...]]:
        """Every order of its axes (those of more than one element) that makes their sizes descend."""
        return orders_of(tuple(size for size in self.shape if size != 1))

    def __str__(self) -> str:
        return self.entry.name if self.cut is None else f"{self.entry.name}[{self.part + 1}/{len(self.cut.sizes)}]"


def sizes_of(shape: Sequence[int]) -> Sizes:
    """Return the sizes of a shape in ascending order, without ones; ``(1,)`` for a scalar."""
    return tuple(sorted(size for size in shape if size != 1)) or (1,)


@functools.cache
def orders_of(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return every order of a shape's axes in which their sizes descend, first the one that keeps equal ones in place.

    A square matrix has two, its own and its transpose; a scalar has one, of no axes.
    """
    first = sorted(range(len(shape)), key=lambda axis: -shape[axis])
    runs = [tuple(run) for _, run in itertools.groupby(first, key=lambda axis: shape[axis])]
    return [tuple(itertools.chain(*chosen)) for chosen in itertools.product(*map(itertools.permutations, runs))]


def units_of(side: Side, entries: Sequence[Entry]) -> list[Unit]:
    """Return the floating tensors of a state dict, each once under its first name."""
    further: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.tied:
            further.setdefault(entry.tied, []).append(entry)
    return [
        Unit(side, (entry, *further.get(entry.name, [])), entry.shape)
        for entry in entries
        if not entry.tied and entry.dtype in FLOATS
    ]


def as_built(units: Mapping[Side, Sequence[Unit]], built: Mapping[Side, Mapping[str, str]]) -> dict[Side, list[Unit]]:
    """Return both sides' units with those marked as tables that have to stay as the models made them.

    What is not learned stays where the other side holds the same values, or has fewer of these sizes. All else gets
    values, and the same ones: a buffer that was drawn at random, say.

    Args:
        units: of both sides.
        built: side to the digest of every tensor that is not learned; "" for one that is the same all over.
    """
    counts = {side: Counter(unit.sizes for unit in own) for side, own in units.items()}
    made: dict[Side, list[Unit]] = {}
    for side, own in units.items():
        digests = set(built[side.other].values()) - {""}
        more = counts[side] - counts[side.other]
        made[side] = [
            replace(
                unit,
                table=unit.entry.name in built[side] and unit.leaf not in STATISTICS
                and (built[side][unit.entry.name] in digests or unit.sizes in more),
            )
            for unit in own
        ]  # fmt: skip
    return made


def cut_units(
    units: Sequence[Unit], takes: Callable[[Unit], bool], along: int, parts: Sequence[int], groups: int
) -> list[Unit]:
    """Return units with some taken apart; parts, views and tables stay as they are.

    Args:
        units: of one side.
        takes: whether a tensor is to be cut.
        along: the size of the axis that is cut.
        parts: sizes of the parts along it.
        groups: see :class:`Cut`.
    """
    made: list[Unit] = []
    for unit in units:
        if not takes(unit) or unit.cut is not None or unit.view is not None or unit.table:
            made.append(unit)
            continue
        axis = unit.shape.index(along)
        cut = Cut(axis, tuple(parts), groups)
        for place, size in enumerate(parts):
            shape = (*unit.shape[:axis], size, *unit.shape[axis + 1 :])
            made.append(replace(unit, shape=shape, cut=cut, part=place))
    return made


def usual_order(torch: Unit, paddle: Unit) -> int:
    """Return which order of Paddle's axes the layer's type would have; the first where it has no rule."""
    rule = BY_NAME.get(torch.entry.layer)
    if rule is None or torch.view or paddle.view:
        return 0
    known = same_layer(torch.entry.layer, paddle.entry.layer)
    axes = rule.splits[torch.leaf][1] if torch.leaf in rule.splits else rule.axes.get(torch.leaf) if known else None
    if axes is None or len(axes) != len(torch.shape) or len(torch.orders[0]) != len(axes):
        return 0
    wanted = tuple(axes.index(axis) for axis in torch.orders[0])
    return paddle.orders.index(wanted) if wanted in paddle.orders else 0
