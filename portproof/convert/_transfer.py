"""Tensors from one side's names and layouts to the other's, and whether a checkpoint fits a model."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array, Arrays
from portproof.checkpoints import Checkpoint, Stored, dtype_of, is_floating
from portproof.convert._account import Account, TensorRow
from portproof.convert._table import near_misses, shape_towards
from portproof.frameworks._entries import Entry
from portproof.ports._port import Side


def transferred(tensors: Mapping[str, Stored], rows: Sequence[TensorRow], target: str) -> dict[str, Stored]:
    """Return tensors in the other side's names and layouts; each is made, bit for bit, when it is read.

    Args:
        tensors: of the side opposite to ``target``; every name of the rows.
        rows: what corresponds.
        target: ``"paddle"`` or ``"torch"``.
    """
    source = Side(target).other
    made: dict[str, Stored] = {}
    for row in rows:
        missing = [name for name in row.names(source) if name not in tensors]
        if missing:
            raise BadInput(f"the {source} weights have no '{missing[0]}', which the model has; give them whole.")
        parts = [tensors[name] for name in row.names(source)]
        shapes = shape_towards(row, target, [part.shape for part in parts])
        for index, (name, shape) in enumerate(zip(row.names(target), shapes, strict=True)):
            made[name] = Stored(parts[0].dtype, shape, _Made(row, target, parts, index))
    return made


class _Made:
    """Makes one tensor of a row from those of the other side."""

    def __init__(self, row: TensorRow, target: str, parts: Sequence[Stored], index: int) -> None:
        self.row, self.target, self.parts, self.index = row, target, parts, index

    def __call__(self) -> Array:
        row, axes, count = self.row, self.row.axes_towards(self.target), len(self.row.names(self.target))
        arrays = [part.read() for part in self.parts]
        if row.transform == "tied":
            for name, array in zip(row.names(Side(self.target).other)[1:], arrays[1:], strict=True):
                if array.tobytes() != arrays[0].tobytes():
                    first = row.names(Side(self.target).other)[0]
                    raise BadInput(f"'{name}' and '{first}' are one tensor in the model, and differ in the file.")
            return np.ascontiguousarray(arrays[0] if axes is None else _turned(arrays[0], axes))
        if row.shapes is not None:
            return _reshaped(row, self.target, arrays[0])
        if count > 1:
            sizes = row.sizes or (arrays[0].shape[row.axis] // count,) * count
            arrays = [taken_apart(arrays[0], row.axis, sizes, row.groups)[self.index]]
        arrays = [array if axes is None else _turned(array, axes) for array in arrays]
        if len(arrays) > 1:
            return put_together(arrays, row.axis, row.groups)
        return arrays[0] if axes is None and count == 1 else np.ascontiguousarray(arrays[0])


def taken_apart(whole: Array, axis: int, sizes: Sequence[int], groups: int = 1) -> list[Array]:
    """Cut an array along an axis into parts of some sizes, of each of which every group holds its share."""
    before, length, after = whole.shape[:axis], whole.shape[axis], whole.shape[axis + 1 :]
    grouped = whole.reshape(*before, groups, length // groups, *after)
    ends = [sum(sizes[: place + 1]) // groups for place in range(len(sizes) - 1)]
    parts = np.split(grouped, ends, axis=axis + 1)
    return [part.reshape(*before, size, *after) for part, size in zip(parts, sizes, strict=True)]


def put_together(parts: Sequence[Array], axis: int, groups: int = 1) -> Array:
    """Join what :func:`taken_apart` cut."""
    if groups == 1:
        return np.concatenate(parts, axis=axis)
    before, after = parts[0].shape[:axis], parts[0].shape[axis + 1 :]
    grouped = [part.reshape(*before, groups, part.shape[axis] // groups, *after) for part in parts]
    return np.concatenate(grouped, axis=axis + 1).reshape(*before, -1, *after)


def _reshaped(row: TensorRow, target: str, array: Array) -> Array:
    """Return one tensor in the other side's shape; torch's axes are put in order on its side of the reshape."""
    assert row.shapes is not None
    if row.axes is None:
        return np.ascontiguousarray(array.reshape(row.shapes[target == "paddle"]))
    if target == "paddle":
        return np.ascontiguousarray(array.transpose(row.axes)).reshape(row.shapes[1])
    turned = tuple(row.shapes[0][axis] for axis in row.axes)
    return np.ascontiguousarray(array.reshape(turned).transpose(row.axes_towards("torch")))


#: Rows and columns that are turned at a time: of float32, 64 KiB on either side.
_SQUARE = 128


def _turned(array: Array, axes: tuple[int, ...]) -> Array:
    """Return an array with its axes permuted; a matrix by squares that fit a cache, faster than NumPy's copy."""
    if axes != (1, 0) or not array.size:
        return array.transpose(axes)
    turned = np.empty(array.shape[::-1], array.dtype)
    for row in range(0, array.shape[0], _SQUARE):
        for column in range(0, array.shape[1], _SQUARE):
            rows, columns = slice(row, row + _SQUARE), slice(column, column + _SQUARE)
            turned[columns, rows] = array[rows, columns].T
    return turned


def transfer(tensors: Mapping[str, Array], account: Account, target: str, own: Arrays) -> Arrays:
    """Return arrays in the other side's names and layouts, bit for bit.

    Args:
        tensors: of the side opposite to ``target``; every name of the account's rows.
        account: a bijection without problems.
        target: ``"paddle"`` or ``"torch"``.
        own: what only the target has (counters); taken over as it is.
    """
    made = transferred({name: Stored.of(array) for name, array in tensors.items()}, account.rows, target)
    return {**own, **{name: stored.read() for name, stored in made.items()}}


def transfer_present(tensors: Mapping[str, Array], account: Account, target: str) -> Arrays:
    """Return, in the other side's names and layouts, those rows of an account of which every tensor is there.

    A tensor with several names goes by its first one, as parameters and their gradients do.
    """
    first = [
        replace(row, torch=row.torch[:1], paddle=row.paddle[:1]) if row.transform == "tied" else row
        for row in account.rows
    ]
    source = Side(target).other
    rows = tuple(row for row in first if all(name in tensors for name in row.names(source)))
    return transfer(tensors, Account(rows, (), ()), target, {})


def counters(entries: Sequence[Entry]) -> dict[str, Stored]:
    """Return zeros for the counters of BatchNorm, which torch has and Paddle has not."""
    found = [entry for entry in entries if entry.name.endswith("num_batches_tracked")]
    return {entry.name: Stored.of(np.zeros(entry.shape, dtype_of(entry.dtype))) for entry in found}


def ties(rows: Iterable[TensorRow], side: str) -> list[tuple[str, ...]]:
    """Return the names of every tensor that has several on one side."""
    return [row.names(side) for row in rows if row.transform == "tied" and len(row.names(side)) > 1]


def under_all_names(tensors: Mapping[str, Stored], groups: Iterable[Sequence[str]]) -> dict[str, Stored]:
    """Return tensors under each of their names: most files keep one of a tied tensor's.

    Args:
        tensors: of a file.
        groups: names of one tensor each.
    """
    whole = dict(tensors)
    for names in groups:
        held = next((tensors[name] for name in names if name in tensors), None)
        if held is not None:
            whole |= {name: held for name in names if name not in tensors}
    return whole


def misfits(
    checkpoint: Checkpoint, entries: Sequence[Entry], absent: Container[str], *, keep_dtype: bool = False
) -> tuple[str, ...]:
    """Return what stands between a checkpoint and the state dict that it is for, a sentence each.

    Args:
        checkpoint: the file's tensors.
        entries: the state dict.
        absent: names that may be absent.
        keep_dtype: accept floating tensors of any other width; otherwise of a lesser one.
    """
    wanted = {entry.name: entry for entry in entries}
    missing: dict[str, tuple[int, ...]] = {}
    problems: list[str] = []
    for name, entry in wanted.items():
        found = checkpoint.tensors.get(name)
        if found is None:
            if name not in absent:
                missing[name] = entry.shape
        elif found.shape != entry.shape:
            problems.append(f"'{name}' is {list(entry.shape)} in the model and {list(found.shape)} in the file")
        elif found.dtype.name != entry.dtype and not _carried(found.dtype, entry.dtype, keep_dtype=keep_dtype):
            problems.append(f"'{name}' is {entry.dtype} in the model and {found.dtype.name} in the file")
    surplus = {n: stored for n, stored in checkpoint.tensors.items() if n not in wanted and n not in absent}
    like = near_misses(missing, surplus)
    for name, shape in missing.items():
        hint = f"; the file has '{like[name]}': map it with --map if that is it" if name in like else ""
        odd = checkpoint.odd.get(name)
        found_as = f"stands in the file as {odd}" if odd else f"is missing from the file{hint}"
        problems.append(f"'{name}' {list(shape)} {wanted[name].dtype} of the model {found_as}")
    problems += [f"'{name}' {list(stored.shape)} of the file is not in the model" for name, stored in surplus.items()]
    return tuple(problems)


def _carried(found: np.dtype[Any], wanted: str, *, keep_dtype: bool) -> bool:
    """Whether a tensor of another dtype than the model's is as good: a narrower one loses nothing in it."""
    floats = is_floating(found) and is_floating(dtype_of(wanted))
    return floats and (keep_dtype or found.itemsize < dtype_of(wanted).itemsize)
