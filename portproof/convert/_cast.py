"""Floating tensors in another dtype on their way to a file, with what rounding did counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.checkpoints import Stored, dtype_of, is_floating, unheld
from portproof.frameworks._entries import Entry

#: Numbers that are looked at at a time, in float64.
_AT_ONCE = 1 << 20
#: What ``--dtype`` takes.
CASTS = ("float64", "float32", "float16", "bfloat16")


class _Rounded:
    """Counts what became of numbers that were cast."""

    def __init__(self) -> None:
        self.seen = self.changed = 0
        self.worst, self.where = 0.0, ""

    def add(self, name: str, before: Array, after: Array) -> None:
        """Count one tensor's.

        Raises:
            BadInput: a finite number became infinite.
        """
        flat, turned = before.reshape(-1), after.reshape(-1)
        for at in range(0, flat.size, _AT_ONCE):
            self._add(name, flat[at : at + _AT_ONCE], turned[at : at + _AT_ONCE])

    def _add(self, name: str, before: Array, after: Array) -> None:
        wide, back = before.astype(np.float64), after.astype(np.float64)
        finite = np.isfinite(wide)
        wide, back = wide[finite], back[finite]
        if np.isinf(back).any():
            largest, dtype = np.abs(wide).max(), after.dtype.name
            raise BadInput(f"'{name}' holds {largest:.3g}, which is infinite in {dtype}; choose bfloat16 or float32.")
        off = np.abs(back - wide)
        self.seen += before.size
        self.changed += int(np.count_nonzero(off))
        relative = float((off / np.maximum(np.abs(wide), np.finfo(np.float64).tiny)).max(initial=0))
        if relative > self.worst:
            self.worst, self.where = relative, name


def cast(
    tensors: Mapping[str, Stored], entries: Sequence[Entry], dtype: str | None, target: Path
) -> tuple[Mapping[str, Stored], Callable[[], tuple[str, ...]]]:
    """Return tensors in the dtypes that a file gets, and a function that says, when all were read, what was done.

    Args:
        tensors: under the names that they get.
        entries: the model's, on the target's side.
        dtype: of all floating tensors; None leaves them; those that the format lacks get the model's.
        target: the file.
    """
    wanted = {entry.name: entry.dtype for entry in entries}
    lacking, rounded = unheld(target), _Rounded()
    casts = {name: dtype or wanted.get(name, "float32") for name, stored in tensors.items()
             if is_floating(stored.dtype) and (dtype or stored.dtype.name in lacking)}  # fmt: skip
    changed = {name: to for name, to in casts.items() if tensors[name].dtype.name != to}

    def lines() -> tuple[str, ...]:
        said = [
            f"{_some(names)} {_from} to {to}{_why(to)}" for (_from, to), names in _grouped(changed, tensors).items()
        ]
        if rounded.seen:
            share = f"{rounded.changed} of {rounded.seen} numbers rounded"
            worst = f", at most by {rounded.worst:.1e} of themselves, in '{rounded.where}'" if rounded.changed else ""
            said.append(share + worst)
        return (*said, *_kept(tensors, wanted, casts))

    def _why(to: str) -> str:
        return "" if dtype else f", exactly: {target.suffix} cannot hold it"

    def turned(name: str, stored: Stored, to: str) -> Stored:
        def read() -> Array:
            before = stored.read()
            with np.errstate(over="ignore"):
                after = before.astype(dtype_of(to))
            if dtype_of(to).itemsize <= before.dtype.itemsize:
                rounded.add(name, before, after)
            return after

        return replace(stored, dtype=dtype_of(to), read=read)

    return {n: turned(n, stored, changed[n]) if n in changed else stored for n, stored in tensors.items()}, lines


def widened(tensors: Mapping[str, Stored], entries: Sequence[Entry]) -> dict[str, Stored]:
    """Return floating tensors in the model's dtype where that is a wider one, which is exact."""
    wanted = {entry.name: dtype_of(entry.dtype) for entry in entries}

    def wide(name: str, stored: Stored) -> Stored:
        to = wanted.get(name, stored.dtype)
        if not is_floating(stored.dtype) or stored.dtype.itemsize >= to.itemsize:
            return stored
        return replace(stored, dtype=to, read=lambda: stored.read().astype(to))

    return {name: wide(name, stored) for name, stored in tensors.items()}


def _grouped(changed: Mapping[str, str], tensors: Mapping[str, Stored]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for name, to in changed.items():
        groups.setdefault((tensors[name].dtype.name, to), []).append(name)
    return groups


def _some(names: Sequence[str]) -> str:
    return f"'{names[0]}'" + (f" and {len(names) - 1} more from" if len(names) > 1 else " from")


def _kept(tensors: Mapping[str, Stored], wanted: Mapping[str, str], casts: Mapping[str, str]) -> tuple[str, ...]:
    """Return a line for each dtype that is carried where the model has another."""
    kept = Counter(
        (stored.dtype.name, wanted[name])
        for name, stored in tensors.items()
        if name in wanted and name not in casts and is_floating(stored.dtype) and stored.dtype.name != wanted[name]
    )
    return tuple(
        f"{n} tensors kept as {had}, where the model has {has}; --dtype {has} makes them so"
        for (had, has), n in kept.items()
    )
