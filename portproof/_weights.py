"""Tensors from one side's names and layouts to the other's, and checkpoints that a person gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._account import Account, Entry
from portproof._checkpoint import FORMATS, Checkpoint, checkpoint_format, read_checkpoint
from portproof._errors import BadInput

Arrays = dict[str, np.ndarray[Any, Any]]


def transfer(tensors: Mapping[str, np.ndarray[Any, Any]], account: Account, target: str, own: Arrays) -> Arrays:
    """Return tensors in the other side's names and layouts, bit for bit.

    Args:
        tensors: of the side opposite to ``target``; every name of the account's rows.
        account: a bijection without problems.
        target: ``"paddle"`` or ``"torch"``.
        own: what only the target has (counters); taken over as it is.
    """
    result = dict(own)
    source = "torch" if target == "paddle" else "paddle"
    for row in account.rows:
        names, targets, axes = row.names(source), row.names(target), row.axes_towards(target)
        parts = [tensors[name] for name in names]
        if len(targets) > 1:
            parts = np.split(parts[0], len(targets), axis=row.axis)
        parts = [part if axes is None else np.asarray(part.transpose(axes), order="C") for part in parts]
        if len(names) > 1:
            parts = [np.concatenate(parts, axis=row.axis)]
        result.update(zip(targets, parts, strict=True))
    return result


def require_fit(checkpoint: Checkpoint, entries: list[Entry], ignored: set[str], *, keep_dtype: bool = False) -> None:
    """Check a checkpoint against the state dict of the model that it is for.

    Args:
        checkpoint: the file's tensors.
        entries: the model's state dict.
        ignored: names that may be absent.
        keep_dtype: accept floating tensors of another width.

    Raises:
        BadInput: a tensor is missing, surplus, or of another shape or dtype; names the first and counts the rest.
    """
    wanted = {entry.name: entry for entry in entries}
    problems: list[str] = []
    for name, entry in wanted.items():
        found = checkpoint.tensors.get(name)
        if found is None:
            if name not in ignored:
                problems.append(f"'{name}' {list(entry.shape)} {entry.dtype} of the model is missing from the file")
        elif found.shape != entry.shape:
            problems.append(f"'{name}' is {list(entry.shape)} in the model and {list(found.shape)} in the file")
        elif str(found.dtype) != entry.dtype and not (keep_dtype and found.dtype.kind == "f"):
            problems.append(f"'{name}' is {entry.dtype} in the model and {found.dtype} in the file")
    surplus = [name for name in checkpoint.tensors if name not in wanted and name not in ignored]
    problems += [f"'{name}' {list(checkpoint.tensors[name].shape)} of the file is not in the model" for name in surplus]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BadInput(f"'{checkpoint.path}' does not fit the model: {problems[0]}{more}.")


def open_checkpoint(path: Path, sides: Mapping[str, Any], folder: Path) -> Checkpoint:
    """Read a checkpoint, in torch's process where the format needs torch.

    Raises:
        BadInput: see :func:`portproof._checkpoint.read_checkpoint`.
    """
    if checkpoint_format(path) not in (".pt", ".pth"):
        return read_checkpoint(path)
    if not path.is_file():
        raise BadInput(f"'{path}': no such file.")
    out = folder / "checkpoint.safetensors"
    side = sides["torch"].call("read_checkpoint", path=str(path.absolute()), out=str(out))
    return Checkpoint(path, load_file(out), side)


def given_weights(path: Path, options: Any, sides: Mapping[str, Any], folder: Path) -> tuple[Arrays, str]:
    """Read the checkpoint that a person gave to ``verify`` and check that it fits its side's model.

    Returns:
        The tensors and their side.

    Raises:
        BadInput: it cannot be read, fits no model, or does not say whose layouts it holds.
    """
    if "torch" not in sides and checkpoint_format(path) in (".pt", ".pth"):
        raise BadInput(f"'{path}' is {FORMATS['.pt'][0]} and this port has no torch side; convert it first.")
    checkpoint = open_checkpoint(path, sides, folder)
    side, counters = settle_side(checkpoint, sides)
    return {**checkpoint.tensors, **counters}, side


def settle_side(checkpoint: Checkpoint, sides: Mapping[str, Any], *, keep_dtype: bool = False) -> tuple[str, Arrays]:
    """Say whose layouts a checkpoint holds, and check that it fits that side's model.

    Returns:
        The side, and zeros for the counters that the file lacks.

    Raises:
        BadInput: it fits no model, or does not say whose layouts it holds.
    """
    path, side = checkpoint.path, checkpoint.side
    if side is None:
        if len(sides) > 1:
            raise BadInput(
                f"'{path}' does not say whether it holds torch's or Paddle's layouts; "
                "run `portproof convert` on it with --from, which writes a file that says so."
            )
        side = next(iter(sides))
    if side not in sides:
        raise BadInput(f"'{path}' holds {side} weights and this port has no {side} side; convert it first.")
    described = sides[side].call("describe")
    entries = [Entry.from_json(entry) for entry in described["entries"]]
    counters = {entry.name for entry in entries if entry.name.endswith("num_batches_tracked")}
    require_fit(checkpoint, entries, counters, keep_dtype=keep_dtype)
    missing = counters - checkpoint.tensors.keys()
    return side, {entry.name: np.zeros(entry.shape, entry.dtype) for entry in entries if entry.name in missing}
