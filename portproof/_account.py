"""The account of a weight mapping: a strict bijection between two state dicts, every tensor of both named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from portproof._layers import BY_NAME
from portproof._weightmap import Permute, Split, WeightMap, fill, match


@dataclass(frozen=True)
class Entry:
    """One tensor of a state dict.

    Attributes:
        name: full dotted name.
        shape, dtype: as stored.
        layer: type of the module that owns it, by torch's name for it.
        module: path of that module.
        kind: ``"parameter"`` or ``"buffer"``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layer: str
    module: str
    kind: str

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Entry:
        """Read back what ``dataclasses.asdict`` wrote."""
        return cls(**{**document, "shape": tuple(document["shape"])})


@dataclass(frozen=True)
class Row:
    """Tensors that correspond: one on each side, or one whole and its parts.

    Attributes:
        torch, paddle: names; one of the two has several where a tensor is split.
        transform: ``"copy"``, ``"transpose"``, ``"permute"`` or ``"split"``.
        axes: the permutation from torch's layout to Paddle's, for a single tensor or for each part.
        axis: where a split cuts.
    """

    torch: tuple[str, ...]
    paddle: tuple[str, ...]
    transform: str
    axes: tuple[int, ...] | None = None
    axis: int = 0

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Row:
        """Read back what ``dataclasses.asdict`` wrote and JSON carried."""
        axes = document["axes"]
        return cls(
            tuple(document["torch"]), tuple(document["paddle"]), document["transform"],
            None if axes is None else tuple(axes), document["axis"],
        )  # fmt: skip

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

    rows: tuple[Row, ...]
    ignored: tuple[tuple[str, str, str], ...]  # side, name, reason
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return asdict(self)


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
    for entry in builder.paddle.values():
        builder.problem("surplus", "paddle", entry, f"paddle has {_show(entry)} and torch has no tensor for it")
    order = {entry.name: index for index, entry in enumerate(torch)}
    rows = sorted(builder.rows, key=lambda row: order[row.torch[0]])
    return Account(tuple(rows), tuple(builder.ignored), tuple(builder.problems))


class _Builder:
    """The work in progress of :func:`match_states`; each tensor leaves ``torch`` or ``paddle`` when it is settled."""

    def __init__(self, torch: dict[str, Entry], paddle: dict[str, Entry], weights: WeightMap) -> None:
        self.torch, self.paddle, self.weights = torch, paddle, weights
        self.rows: list[Row] = []
        self.ignored: list[tuple[str, str, str]] = []
        self.problems: list[Problem] = []

    def problem(self, kind: str, side: str, entry: Entry, message: str) -> None:
        self.problems.append(Problem(kind, side, entry.name, entry.module, message))

    def leave_out(self) -> None:
        """Settle what the author ignores and the buffers that a layer has in one framework only."""
        for side, entries in (("torch", self.torch), ("paddle", self.paddle)):
            for name, entry in list(entries.items()):
                reason = self.weights.reason_to_ignore(name)
                if reason is None and side == "torch" and entry.layer in BY_NAME:
                    reason = BY_NAME[entry.layer].torch_only.get(_leaf(name))
                if reason is not None:
                    self.ignored.append((side, name, reason))
                    del entries[name]

    def special(self) -> None:
        """Settle the tensors for which the author gave a transform."""
        for pattern, transform in self.weights.transforms.items():
            whole_side = transform.whole if isinstance(transform, Split) else "torch"
            wholes = self.torch if whole_side == "torch" else self.paddle
            for name in list(wholes):
                found = match(pattern, name)
                if found is None:
                    continue
                if isinstance(transform, Permute):
                    self.single(wholes.pop(name), tuple(transform.axes))
                else:
                    self.split(wholes.pop(name), transform, tuple(fill(part, found[0]) for part in transform.into))

    def split(self, whole: Entry, transform: Split, names: tuple[str, ...]) -> None:
        """Pair one tensor with the equal parts of it on the other side."""
        part_side = "paddle" if transform.whole == "torch" else "torch"
        entries = self.paddle if part_side == "paddle" else self.torch
        missing = [name for name in names if name not in entries]
        if missing:
            text = f"{transform.whole} splits {_show(whole)} into {', '.join(names)}; {part_side} has no {missing[0]}"
            self.problem("missing", part_side, whole, text)
            return
        parts = [entries.pop(name) for name in names]
        axes = (1, 0) if transform.transpose else None
        for part in parts:
            expected = list(whole.shape)
            expected[transform.axis] //= len(parts)
            if tuple(_permute(tuple(expected), axes)) != part.shape or whole.shape[transform.axis] % len(parts):
                text = f"a {len(parts)}th of {_show(whole)} along axis {transform.axis} is not {_show(part)}"
                self.problem("shape", part_side, part, text)
        torch, paddle = ((whole.name,), names) if transform.whole == "torch" else (names, (whole.name,))
        self.rows.append(Row(torch, paddle, "split", axes, transform.axis))

    def single(self, entry: Entry, axes: tuple[int, ...] | None = None) -> None:
        """Pair one torch tensor with one Paddle tensor, by name, then check what they hold."""
        rule = BY_NAME.get(entry.layer)
        module = self.weights.paddle_path(entry.module)
        leaf = _leaf(entry.name)
        renamed = self.weights.paddle_path(entry.name)
        by_module = ".".join(filter(None, (module, rule.names.get(leaf, leaf) if rule else leaf)))
        name = renamed if renamed in self.paddle else by_module
        if axes is None and rule is not None:
            axes = rule.axes.get(leaf)
        twin = self.paddle.pop(name, None)
        if twin is None:
            self.problem("missing", "paddle", entry, f"torch has {_show(entry)} and paddle has no '{name}'")
            return
        kinds_differ = entry.layer != twin.layer and (entry.layer in BY_NAME or twin.layer in BY_NAME)
        if kinds_differ:
            text = f"'{entry.name}' belongs to a {entry.layer} in torch and '{twin.name}' to a {twin.layer} in paddle"
            self.problem("layer", "", entry, text)
        elif _permute(entry.shape, axes) != twin.shape:
            layout = " (stored transposed)" if axes == (1, 0) else ""
            text = f"torch has {_show(entry)} and paddle has {_show(twin)}{layout}"
            self.problem("shape", "", entry, text)
        elif entry.dtype != twin.dtype:
            self.problem("dtype", "", entry, f"torch has {_show(entry)} and paddle has {_show(twin)}")
        kind = "copy" if axes is None else "transpose" if axes == (1, 0) else "permute"
        self.rows.append(Row((entry.name,), (twin.name,), kind, axes))


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _permute(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...]:
    if axes is None or len(axes) != len(shape):
        return shape
    return tuple(shape[axis] for axis in axes)


def _show(entry: Entry) -> str:
    return f"'{entry.name}' {list(entry.shape)} {entry.dtype}"
