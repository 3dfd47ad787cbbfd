"""What corresponds between two files, where no model is at hand: evidence of names and shapes, and no proof.

A pair is taken where names are equal but for what the frameworks call otherwise, or where a shape stands once a side.
A matrix that both layouts fit is turned where a bias beside it says that it is a linear layer's. All else is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portproof._errors import BadInput, and_more
from portproof.checkpoints import Checkpoint, Stored, open_checkpoint
from portproof.convert._account import Account, TensorRow
from portproof.convert._convert import ConvertOptions, Plan
from portproof.frameworks._entries import Entry
from portproof.ports._port import Side

#: Paddle's names of what torch calls otherwise.
_ROLES = {"_mean": "running_mean", "_variance": "running_var"}
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Likeness:
    """What two files have in common.

    Attributes:
        plan: every tensor of both.
        said: how they were paired, a line each.
        unsure: pairs for which order alone speaks, and why; empty where there are none.
    """

    plan: Plan
    said: tuple[str, ...]
    unsure: tuple[str, ...]


def likeness(source: Path, example: Path, options: ConvertOptions) -> Likeness:
    """Pair a file's tensors with those of an example of the other side.

    Args:
        source, example: checkpoints.
        options: which sides they hold, where they do not say, and where the source's weights are.

    Raises:
        BadInput: a file cannot be read, both are of one side, or a tensor has no equal.
    """
    one, other = open_checkpoint(source, options.key), open_checkpoint(example)
    side = _source_side(one, other, options)
    torch, paddle = (one, other) if side == "torch" else (other, one)
    pairs, counts = _pairs(torch.tensors, paddle.tensors)
    rows, unsure = [], []
    for ours, (theirs, by) in pairs.items():
        row, doubt = _row(ours, theirs, torch.tensors, paddle.tensors)
        rows.append(row)
        unsure += [doubt] if doubt else [f"'{ours}' and '{theirs}' by their order alone"] if by == "order" else []
    counters = [name for name in torch.tensors if name.rpartition(".")[2] == _COUNTER]
    ignored = tuple(("torch", name, "a counter that only torch keeps") for name in counters)
    held = {"torch": torch.tensors, "paddle": paddle.tensors}
    entries = {which: [_entry(name, tensors[name]) for name in tensors] for which, tensors in held.items()}
    _as_in_the_source(entries, rows, one, side)
    said = (
        f"unproven: {counts['name']} tensors paired by name, {counts['shape']} by a shape that stands once, "
        f"{counts['order']} by order",
    )
    plan = Plan(Account(tuple(rows), ignored, ()), entries, f"the names and shapes of {example.name}")
    return Likeness(plan, said, tuple(unsure))


def _source_side(one: Checkpoint, other: Checkpoint, options: ConvertOptions) -> Side:
    side, towards = one.side or options.source_side, other.side or options.target_side
    if side is None and towards is None:
        raise BadInput(f"neither '{one.path}' nor '{other.path}' says whose layouts it holds; add --from or --to.")
    if side is None or towards is None:
        return Side(side) if side is not None else Side(str(towards)).other
    if side == towards:
        raise BadInput(
            f"'{one.path}' and '{other.path}' both hold {side}'s; --like takes an example of the other side."
        )
    return Side(side)


def _role(name: str) -> str:
    leaf = name.rpartition(".")[2]
    return _ROLES.get(leaf, leaf)


def _common(name: str) -> str:
    """Return a name as both sides would have it."""
    module, _, _ = name.rpartition(".")
    return f"{module}.{_role(name)}" if module else _role(name)


def _pairs(
    torch: Mapping[str, Stored], paddle: Mapping[str, Stored]
) -> tuple[dict[str, tuple[str, str]], dict[str, int]]:
    """Return torch's names to Paddle's and what speaks for each pair, and how many there are of each.

    Raises:
        BadInput: a tensor has no equal.
    """
    theirs = {_common(name): name for name in paddle}
    found: dict[str, tuple[str, str]] = {}
    left = [name for name in torch if _role(name) != _COUNTER]
    for name in left:
        if name in theirs and _fits(torch[name], paddle[theirs[name]]):
            found[name] = (theirs[name], "name")
    groups: dict[object, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    taken = {other for other, _ in found.values()}
    for index, tensors in enumerate((torch, paddle)):
        for name, stored in tensors.items():
            if name not in (taken if index else found) and _role(name) != _COUNTER:
                groups[_role(name), tuple(sorted(stored.shape))][index].append(name)
    for ours, others in groups.values():
        fit = len(ours) == len(others) and all(_fits(torch[a], paddle[b]) for a, b in zip(ours, others, strict=True))
        if not fit:
            held = torch if ours else paddle
            lone = [f"'{name}' {held[name]}" for name in ours or others]
            raise BadInput(
                f"{and_more(lone)}: {len(ours)} such in torch, {len(others)} in paddle; nothing tells which is which."
            )
        found |= {a: (b, "shape" if len(ours) == 1 else "order") for a, b in zip(ours, others, strict=True)}
    ordered = {name: found[name] for name in left}
    counts = {by: sum(one == by for _, one in ordered.values()) for by in ("name", "shape", "order")}
    return ordered, counts


def _fits(ours: Stored, theirs: Stored) -> bool:
    return ours.shape == theirs.shape or (len(ours.shape) == 2 and ours.shape == theirs.shape[::-1])


def _row(ours: str, theirs: str, torch: Mapping[str, Stored], paddle: Mapping[str, Stored]) -> tuple[TensorRow, str]:
    """Return how a pair corresponds, and what is not certain of it."""
    shape, other = torch[ours].shape, paddle[theirs].shape
    turned = TensorRow((ours,), (theirs,), "transpose", (1, 0))
    if shape != other:
        return turned, ""
    square = len(shape) == 2 and shape[0] == shape[1] and shape[0] > 1
    if square and _role(ours) == "weight":
        bias = torch.get(f"{ours.rpartition('.')[0]}.bias".removeprefix("."))
        if bias is not None and bias.shape == shape[:1]:
            return turned, ""
        return turned, f"'{ours}' is square and has no bias: nothing tells whether it is a linear layer's, and turned"
    if square:
        return turned, f"'{ours}' is square: nothing tells whether it is turned"
    return TensorRow((ours,), (theirs,), "copy"), ""


def _entry(name: str, stored: Stored) -> Entry:
    return Entry(name, stored.shape, stored.dtype.name, "", name.rpartition(".")[0], "")


def _as_in_the_source(
    entries: dict[str, list[Entry]], rows: list[TensorRow], source: Checkpoint, side: Side
) -> None:  # fmt: skip
    """Give the example's tensors the dtypes of those that take their place."""
    own = {row.names(side.other)[0]: source.tensors[row.names(side)[0]].dtype.name for row in rows}
    entries[side.other] = [
        Entry(e.name, e.shape, own.get(e.name, e.dtype), "", e.module, "") for e in entries[side.other]
    ]
