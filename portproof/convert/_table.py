"""A map of two state dicts as a table that people read, edit and hand to ``convert --map``.

A row a tensor: its name on each side, what becomes of it on the way from torch to Paddle, its shape on each side and
its dtype. Tensors that are one on the other side are joined by `` + ``. What is left out has a name on one side only.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from portproof._errors import BadInput
from portproof.checkpoints import DTYPES, Stored
from portproof.convert._account import Account, TensorRow
from portproof.frameworks._entries import Entry
from portproof.ports._port import LEADING, Side

COLUMNS = ("torch", "paddle", "transform", "torch_shape", "paddle_shape", "dtype")
_JOIN = " + "
_LARGEST = 2**62
_LEFT_OUT = "left out: "


def map_csv(account: Account, entries: Mapping[str, list[Entry]]) -> str:
    """Return an account as a table."""
    known = {side: {entry.name: entry for entry in listed} for side, listed in entries.items()}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in account.rows:
        shapes = [_JOIN.join(_shape(known[side][name].shape) for name in row.names(side)) for side in LEADING]
        dtype = known["torch"][row.torch[0]].dtype
        table.writerow([_JOIN.join(row.torch), _JOIN.join(row.paddle), _transform(row), *shapes, dtype])
    for side, name, reason in account.ignored:
        entry, torch = known[side][name], side == "torch"
        pair = (name, "") if torch else ("", name)
        shapes = [_shape(entry.shape), ""] if torch else ["", _shape(entry.shape)]
        table.writerow([*pair, f"{_LEFT_OUT}{reason}", *shapes, entry.dtype])
    return text.getvalue()


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _transform(row: TensorRow) -> str:
    axes = "" if row.axes is None else " ".join(map(str, row.axes))
    if row.transform in ("split", "tied", "reshape"):
        groups = f" in {row.groups}" if row.groups > 1 else ""
        head = f"split {row.axis}{groups}" if row.transform == "split" else row.transform
        return head + (f" permute {axes}" if axes else "")
    return f"permute {axes}" if row.transform == "permute" else row.transform


def read_map(path: Path) -> tuple[Account, dict[str, list[Entry]]]:
    """Read a table that :func:`map_csv` wrote and a person may have edited.

    Returns:
        What corresponds, and both state dicts as far as the table knows them.

    Raises:
        BadInput: a line is not what it has to be; its number is said.
    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"'{path}' cannot be read as a map ({error}); `portproof account -o` writes one.") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise BadInput(
            f"'{path}' is no map: expected the columns {','.join(COLUMNS)}; `portproof account -o` writes one."
        )
    rows: list[TensorRow] = []
    ignored: list[tuple[str, str, str]] = []
    entries: dict[str, dict[str, Entry]] = {"torch": {}, "paddle": {}}
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        try:
            _take(line, rows, ignored, entries)
        except ValueError as error:
            raise BadInput(f"'{path}', line {number}: {error}.") from error
    if not rows:
        raise BadInput(f"'{path}' maps no tensor.")
    return Account(tuple(rows), tuple(ignored), ()), {side: list(found.values()) for side, found in entries.items()}


def _take(
    line: list[str], rows: list[TensorRow], ignored: list[tuple[str, str, str]], entries: Mapping[str, dict[str, Entry]]
) -> None:
    if len(line) != len(COLUMNS):
        raise ValueError(f"expected {len(COLUMNS)} columns, found {len(line)}")
    torch, paddle, transform, torch_shape, paddle_shape, dtype = (text.strip() for text in line)
    if dtype not in DTYPES:
        raise ValueError(f"dtype '{dtype}' is none of {', '.join(DTYPES)}")
    names: dict[str, list[str]] = {}
    for side, text, sizes in (("torch", torch, torch_shape), ("paddle", paddle, paddle_shape)):
        names[side] = text.split(_JOIN) if text else []
        shapes = sizes.split(_JOIN) if text else []
        if len(shapes) != len(names[side]):
            raise ValueError(f"{len(names[side])} {side} names and {len(shapes)} {side} shapes")
        for name, size in zip(names[side], shapes, strict=True):
            if name in entries[side]:
                raise ValueError(f"{side} '{name}' stands in the map twice")
            entries[side][name] = Entry(name, _sizes(size), dtype, "", name.rpartition(".")[0], "")
    if transform.startswith(_LEFT_OUT):
        if bool(torch) == bool(paddle):
            raise ValueError("what is left out has a name on one side only")
        side = "torch" if torch else "paddle"
        ignored += [(side, name, transform.removeprefix(_LEFT_OUT)) for name in names[side]]
        return
    if not torch or not paddle:
        raise ValueError(f"a tensor without its equal; write '{_LEFT_OUT}' and a reason as its transform")
    shapes_of = {side: [entries[side][name].shape for name in names[side]] for side in names}
    head, _, axes = transform.partition(" permute ")
    if head == "reshape" and len(names["torch"]) == len(names["paddle"]) == 1:
        row = TensorRow(
            tuple(names["torch"]), tuple(names["paddle"]), head, _axes(axes) if axes else None,
            shapes=(shapes_of["torch"][0], shapes_of["paddle"][0]),
        )  # fmt: skip
    else:
        row = _row(tuple(names["torch"]), tuple(names["paddle"]), transform)
    if row.transform == "split":
        row = replace(row, sizes=_sizes_of_parts(row, shapes_of))
    _require_shapes(row, shapes_of)
    rows.append(row)


def _sizes(text: str) -> tuple[int, ...]:
    if text == "scalar":
        return ()
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise ValueError(f"a shape is written as 64x3x7x7 or scalar, found '{text}'")
    sizes = tuple(map(int, text.split("x")))
    if max(sizes) > _LARGEST:
        raise ValueError(f"no tensor has a size of {len(str(max(sizes)))} digits")
    return sizes


def _sizes_of_parts(row: TensorRow, shapes: Mapping[str, list[tuple[int, ...]]]) -> tuple[int, ...] | None:
    """Return a split's sizes along the axis of the whole, from the shapes of its parts; None where they are equal."""
    side = "paddle" if len(row.paddle) > 1 else "torch"
    axes = row.axes_towards(side)
    place = row.axis if axes is None or row.axis >= len(axes) else axes.index(row.axis)
    sizes = tuple(shape[place] if place < len(shape) else 0 for shape in shapes[side])
    return None if len(set(sizes)) == 1 else sizes


def _row(torch: tuple[str, ...], paddle: tuple[str, ...], transform: str) -> TensorRow:
    split, _, rest = transform.partition(" permute ")
    found = re.fullmatch(r"split (\d+)(?: in (\d+))?", split)
    if split == "tied":
        if (len(torch) > 1) == (len(paddle) > 1):
            raise ValueError("what is tied has one name on one side and several on the other")
        return TensorRow(torch, paddle, "tied", _axes(rest) if rest else None)
    if found:
        if (len(torch) > 1) == (len(paddle) > 1):
            raise ValueError("a split has one name on one side and several on the other")
        groups = int(found[2] or 1)
        if groups < 1:
            raise ValueError("a split has at least one group")
        return TensorRow(torch, paddle, "split", _axes(rest) if rest else None, int(found[1]), groups=groups)
    if len(torch) > 1 or len(paddle) > 1:
        raise ValueError(f"several names need the transform split or tied, found '{transform}'")
    if transform == "copy":
        return TensorRow(torch, paddle, "copy")
    if transform == "transpose":
        return TensorRow(torch, paddle, "transpose", (1, 0))
    if transform.startswith("permute "):
        return TensorRow(torch, paddle, "permute", _axes(transform.removeprefix("permute ")))
    raise ValueError(
        f"a transform is copy, transpose, permute 0 2 1, reshape, split 0, split 0 in 8, tied or '{_LEFT_OUT}reason', "
        f"found '{transform}'"
    )


def _axes(text: str) -> tuple[int, ...]:
    axes = tuple(int(axis) for axis in text.split() if axis.isdigit())
    if sorted(axes) != list(range(len(text.split()))):
        raise ValueError(f"'{text}' are not axes, each once")
    return axes


def _require_shapes(row: TensorRow, shapes: Mapping[str, list[tuple[int, ...]]]) -> None:
    """Check that the shapes of both sides are what the transform makes of each other."""
    expected = shape_towards(row, "paddle", shapes["torch"])
    if expected != shapes["paddle"]:
        raise ValueError(
            f"{_transform(row)} of torch {_JOIN.join(map(_shape, shapes['torch']))} gives "
            f"{_JOIN.join(map(_shape, expected))}, not {_JOIN.join(map(_shape, shapes['paddle']))}"
        )


def shape_towards(row: TensorRow, side: str, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the shapes of a row's tensors on one side, given those on the other.

    Raises:
        ValueError: the transform does not fit them.
    """
    axes, count = row.axes_towards(side), len(row.names(side))
    if row.shapes is not None:
        if math.prod(row.shapes[0]) != math.prod(row.shapes[1]):
            raise ValueError(f"reshape of {_shape(row.shapes[0])} to {_shape(row.shapes[1])}: not as many elements")
        if row.axes is not None and len(row.axes) != len(row.shapes[0]):
            raise ValueError(f"{_transform(row)} does not fit a tensor of shape {_shape(row.shapes[0])}")
        return [row.shapes[side == "paddle"]]
    if any(row.axis >= len(shape) or (axes is not None and len(axes) != len(shape)) for shape in shapes) and (
        row.transform != "copy"
    ):
        raise ValueError(f"{_transform(row)} does not fit a tensor of shape {_JOIN.join(map(_shape, shapes))}")
    if row.transform == "tied":
        if len(set(shapes)) > 1:
            raise ValueError(f"one tensor cannot be {' and '.join(sorted(set(map(_shape, shapes))))}")
        return [shapes[0] if axes is None else tuple(shapes[0][axis] for axis in axes)] * count
    if count > 1:
        length = shapes[0][row.axis]
        if row.sizes is None and length % count:
            raise ValueError(f"{_shape(shapes[0])} is not {count} equal parts along axis {row.axis}")
        sizes = row.sizes or (length // count,) * count
        if sum(sizes) != length or any(size % row.groups for size in sizes):
            raise ValueError(f"{_shape(shapes[0])} is not parts of {list(sizes)} along axis {row.axis}")
        shapes = [(*shapes[0][: row.axis], size, *shapes[0][row.axis + 1 :]) for size in sizes]
    turned = [shape if axes is None else tuple(shape[axis] for axis in axes) for shape in shapes]
    if len(row.names(Side(side).other)) == 1:
        return turned
    whole = list(turned[0])
    if len({(*shape[: row.axis], *shape[row.axis + 1 :]) for shape in turned}) > 1:
        raise ValueError(f"{_JOIN.join(map(_shape, turned))} cannot be joined along axis {row.axis}")
    whole[row.axis] = sum(shape[row.axis] for shape in turned)
    return [tuple(whole)]


def near_misses(missing: Mapping[str, tuple[int, ...]], surplus: Mapping[str, Stored]) -> dict[str, str]:
    """Suggest for missing names the surplus names of a file that are most like them and have as many elements.

    Nothing is done with a suggestion but to print it.
    """
    left, found = dict(surplus), {}
    for name, shape in missing.items():
        fitting = [candidate for candidate, stored in left.items() if math.prod(stored.shape) == math.prod(shape)]
        best = difflib.get_close_matches(name, fitting, 1, cutoff=0.3)
        if best:
            found[name] = best[0]
            del left[best[0]]
    return found
