"""The account of a weight mapping: a strict bijection between two state dicts, every tensor of both named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from portproof.frameworks._entries import Entry
from portproof.frameworks._layers import BY_NAME, same_layer
from portproof.ports._port import Side
from portproof.ports._weightmap import Permute, Reshape, Split, WeightMap, fill, match


@dataclass(frozen=True)
class TensorRow:
    """Tensors that correspond: one on each side, one whole and its parts, or one that a side holds under more names.

    Attributes:
        torch, paddle: names; one of the two has several where a tensor is split, or tied to others.
        transform: ``"copy"``, ``"transpose"``, ``"permute"``, ``"reshape"``, ``"split"`` or ``"tied"``.
        axes: the permutation from torch's layout to Paddle's, for a single tensor or for each part.
        axis: where a split cuts.
        shapes: torch's and Paddle's, of a tensor that is reshaped; ``axes`` are put in order before.
        sizes: of a split's parts along ``axis``; None: they are equal.
        groups: of a split, in how many groups every part has a share.
    """

    torch: tuple[str, ...]
    paddle: tuple[str, ...]
    transform: str
    axes: tuple[int, ...] | None = None
    axis: int = 0
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    sizes: tuple[int, ...] | None = None
    groups: int = 1

    def names(self, side: str) -> tuple[str, ...]:
        """Return the names on one side."""
        return self.torch if side == "torch" else self.paddle

    def axes_towards(self, side: str) -> tuple[int, ...] | None:
        """Return the permutation that brings a tensor into one side's layout."""
        if self.axes is None or side == "paddle":
            return self.axes
        return tuple(self.axes.index(axis) for axis in range(len(self.axes)))


@dataclass(frozen=True)
class Problem:
    """A tensor that breaks the bijection. ``kind``: missing, surplus, shape, dtype, layer or transform."""

    kind: str
    side: str
    name: str
    module: str
    message: str


@dataclass(frozen=True)
class Account:
    """What corresponds, what is left out and why, and what is wrong."""

    rows: tuple[TensorRow, ...]
    ignored: tuple[tuple[str, str, str], ...]  # side, name, reason
    problems: tuple[Problem, ...]


def known_parts(weights: WeightMap, modules: Iterable[Sequence[Any]]) -> WeightMap:
    """Return a map that also knows the parts of the frameworks' own layers whose names differ.

    Args:
        weights: the author's map.
        modules: path and layer type, by torch's name, of torch's modules; what follows these is not read.
    """
    parts = {
        f"{path}.{torch}" if path else torch: ".".join(filter(None, (weights.paddle_path(path), paddle)))
        for path, layer, *_ in modules
        for torch, paddle in (BY_NAME[layer].parts.items() if layer in BY_NAME else ())
    }
    return replace(weights, rename={**parts, **weights.rename}) if parts else weights


def match_states(torch: Sequence[Entry], paddle: Sequence[Entry], weights: WeightMap) -> Account:
    """Pair every tensor of the two state dicts, or say what stands in the way.

    Args:
        torch, paddle: all parameters and buffers of each model, in its own order.
        weights: the author's map.

    Returns:
        The account; it holds where ``problems`` is empty.
    """
    builder = _Builder({e.name: e for e in torch}, {e.name: e for e in paddle}, weights)
    builder.leave_out()
    builder.special()
    for name in list(builder.torch):
        if name in builder.torch:
            builder.single(builder.torch.pop(name))
    builder.tie()
    for entry in builder.paddle.values():
        builder.problem("surplus", "paddle", entry, f"paddle has {_show(entry)} and torch has no tensor for it")
    order = {entry.name: index for index, entry in enumerate(torch)}
    rows = sorted(builder.rows, key=lambda row: order[row.torch[0]])
    return Account(tuple(rows), tuple(builder.ignored), tuple(builder.problems))


class _Builder:
    """The work in progress of :func:`match_states`; each tensor leaves ``torch`` or ``paddle`` when it is settled."""

    def __init__(self, torch: dict[str, Entry], paddle: dict[str, Entry], weights: WeightMap) -> None:
        self.torch, self.paddle, self.weights = torch, paddle, weights
        self.rows: list[TensorRow] = []
        self.ignored: list[tuple[str, str, str]] = []
        self.problems: list[Problem] = []

    def problem(self, kind: str, side: str, entry: Entry, message: str) -> None:
        self.problems.append(Problem(kind, side, entry.name, entry.module, message))

    def leave_out(self) -> None:
        """Settle what the author ignores and the buffers that a layer has in one framework only."""
        for side, entries in ((Side.TORCH, self.torch), (Side.PADDLE, self.paddle)):
            for name, entry in list(entries.items()):
                reason = self.weights.reason_to_ignore(name)
                if reason is None and side == "torch" and entry.layer in BY_NAME:
                    reason = BY_NAME[entry.layer].torch_only.get(_leaf(name))
                if reason is not None:
                    self.ignored.append((side, name, reason))
                    del entries[name]

    def special(self) -> None:
        """Settle the tensors for which the author gave a transform, then those that a layer splits by its type."""
        for pattern, transform in self.weights.transforms.items():
            whole_side = transform.whole if isinstance(transform, Split) else "torch"
            wholes = self.torch if whole_side == "torch" else self.paddle
            for name in list(wholes):
                found = match(pattern, name)
                if found is None:
                    continue
                if isinstance(transform, Permute):
                    self.single(wholes.pop(name), tuple(transform.axes))
                elif isinstance(transform, Reshape):
                    self.single(
                        wholes.pop(name), None if transform.axes is None else tuple(transform.axes), reshaped=True
                    )
                else:
                    self.split(wholes.pop(name), transform, tuple(fill(part, found[0]) for part in transform.into))

        for name, entry in list(self.torch.items()):
            rule = BY_NAME.get(entry.layer)
            if rule is None or _leaf(name) not in rule.splits:
                continue
            leaves, axes = rule.splits[_leaf(name)]
            module = self.weights.paddle_path(entry.module)
            names = tuple(".".join(filter(None, (module, leaf))) for leaf in leaves)
            if any(part in self.paddle for part in names):  # else it may have an equal in one piece
                self.split(self.torch.pop(name), Split(names, transpose=axes is not None), names)

    def tie(self) -> None:
        """Give the further names of a tensor to the row of its first one."""
        for side, entries in ((Side.TORCH, self.torch), (Side.PADDLE, self.paddle)):
            for name, entry in list(entries.items()):
                at = next((i for i, row in enumerate(self.rows) if entry.tied and entry.tied in row.names(side)), None)
                if at is None or self.rows[at].transform in ("split", "reshape"):
                    continue
                row = self.rows[at]
                if len(row.names(side.other)) > 1:
                    continue
                torch = (*row.torch, name) if side == "torch" else row.torch
                paddle = (*row.paddle, name) if side == "paddle" else row.paddle
                self.rows[at] = replace(row, torch=torch, paddle=paddle, transform="tied")
                del entries[name]
        for entry in self.torch.values():
            twin = self._twin(entry)
            self.problem("missing", "paddle", entry, f"torch has {_show(entry)} and paddle has no '{twin}'")

    def split(self, whole: Entry, transform: Split, names: tuple[str, ...]) -> None:
        """Pair one tensor with the equal parts of it on the other side."""
        part_side = Side(transform.whole).other
        entries = self.paddle if part_side is Side.PADDLE else self.torch
        missing = [name for name in names if name not in entries or names.count(name) > 1]
        if missing:
            text = f"{transform.whole} splits {_show(whole)} into {', '.join(names)}; {part_side} has no {missing[0]}"
            self.problem("missing", part_side, whole, text)
            return
        parts = [entries.pop(name) for name in names]
        axes = (1, 0) if transform.transpose else None
        sizes = None if transform.sizes is None else tuple(transform.sizes)
        for part, expected in zip(parts, _parts_of(whole.shape, transform, len(parts)), strict=True):
            if expected is None or _permute(expected, axes) != part.shape:
                what = f"a {len(parts)}th" if sizes is None else f"its part of sizes {list(sizes)}"
                groups = f" in {transform.groups} groups" if transform.groups > 1 else ""
                text = f"{what} of {_show(whole)} along axis {transform.axis}{groups} is not {_show(part)}"
                self.problem("shape", part_side, part, text)
        torch, paddle = ((whole.name,), names) if transform.whole == "torch" else (names, (whole.name,))
        self.rows.append(TensorRow(torch, paddle, "split", axes, transform.axis, sizes=sizes, groups=transform.groups))

    def _twin(self, entry: Entry) -> str:
        """Return the name that a torch tensor has in Paddle: the author's, else by its layer's type."""
        rule, leaf = BY_NAME.get(entry.layer), _leaf(entry.name)
        module = self.weights.paddle_path(entry.module)
        renamed = self.weights.paddle_path(entry.name)
        by_module = ".".join(filter(None, (module, rule.names.get(leaf, leaf) if rule else leaf)))
        return renamed if renamed in self.paddle else by_module

    def single(self, entry: Entry, axes: tuple[int, ...] | None = None, *, reshaped: bool = False) -> None:
        """Pair one torch tensor with one Paddle tensor, by name, then check what they hold."""
        rule, leaf = BY_NAME.get(entry.layer), _leaf(entry.name)
        given, own = axes is not None or reshaped, axes
        if axes is None and rule is not None and leaf in rule.axes and len(rule.axes[leaf]) == len(entry.shape):
            axes = rule.axes[leaf]
        twin = self.paddle.pop(self._twin(entry), None)
        if twin is None:
            self.torch[entry.name] = entry  # perhaps another name of a tensor that has its equal; else a problem
            return
        reshaped = reshaped or (rule is not None and leaf in rule.reshaped)
        if reshaped and entry.shape != twin.shape:
            self._reshaped(entry, twin, own)
            return
        into_part = rule is not None and "." in rule.names.get(leaf, "")
        known = [one.layer in BY_NAME for one in (entry, twin)]
        unlike = not (given or into_part or same_layer(entry.layer, twin.layer))
        if unlike and any(known) and not all(known):
            axes = self._of_an_own_class(entry, twin)
        if unlike and all(known):
            text = f"'{entry.name}' belongs to a {entry.layer} in torch and '{twin.name}' to a {twin.layer} in paddle"
            self.problem("layer", "", entry, text)
        elif _permute(entry.shape, axes) != twin.shape:
            layout = " (stored transposed)" if axes == (1, 0) else ""
            text = f"torch has {_show(entry)} and paddle has {_show(twin)}{layout}"
            self.problem("shape", "", entry, text)
        elif entry.dtype != twin.dtype:
            self.problem("dtype", "", entry, f"torch has {_show(entry)} and paddle has {_show(twin)}")
        kind = "copy" if axes is None else "transpose" if axes == (1, 0) else "permute"
        self.rows.append(TensorRow((entry.name,), (twin.name,), kind, axes))

    def _of_an_own_class(self, entry: Entry, twin: Entry) -> tuple[int, ...] | None:
        """Return how a tensor of a framework's layer lies in a class of an author's own, as far as its shape tells."""
        if len(entry.shape) != 2 or len(twin.shape) != 2:
            return None
        if entry.shape == twin.shape == entry.shape[::-1]:
            own, side = (entry, "torch") if entry.layer not in BY_NAME else (twin, "paddle")
            layer = (twin if own is entry else entry).layer
            text = (
                f"{_show(entry)} is square, and in {side} of a class of the model's own where the other side has a "
                f"{layer}, so nothing tells how it is stored; add transforms={{'{entry.name}': Permute((1, 0))}} if "
                "Paddle's is torch's transposed, Permute((0, 1)) if it is the same"
            )
            self.problem("layer", "", entry, text)
        return None if entry.shape == twin.shape else (1, 0)

    def _reshaped(self, entry: Entry, twin: Entry, axes: tuple[int, ...] | None) -> None:
        if math.prod(entry.shape) != math.prod(twin.shape) or entry.dtype != twin.dtype:
            self.problem("shape", "", entry, f"torch has {_show(entry)} and paddle has {_show(twin)} (reshaped)")
        elif axes is not None and sorted(axes) != list(range(len(entry.shape))):
            self.problem("transform", "", entry, f"Reshape of {_show(entry)}: {list(axes)} are not its axes, each once")
            axes = None
        self.rows.append(TensorRow((entry.name,), (twin.name,), "reshape", axes, shapes=(entry.shape, twin.shape)))


def _parts_of(whole: tuple[int, ...], transform: Split, count: int) -> list[tuple[int, ...] | None]:
    """Return the shapes of a whole's parts; None for each where it cannot be cut so."""
    length = whole[transform.axis] if transform.axis < len(whole) else 0
    sizes = list(transform.sizes) if transform.sizes is not None else [length // count] * count
    if len(sizes) != count or sum(sizes) != length or any(size % transform.groups for size in sizes):
        return [None] * count
    return [(*whole[: transform.axis], size, *whole[transform.axis + 1 :]) for size in sizes]


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _permute(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return a shape with its axes in another order; None where they are not its axes."""
    if axes is None:
        return shape
    return tuple(shape[axis] for axis in axes) if sorted(axes) == list(range(len(shape))) else None


def _show(entry: Entry) -> str:
    return f"'{entry.name}' {list(entry.shape)} {entry.dtype}"
