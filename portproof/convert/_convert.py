"""``portproof convert``: a checkpoint of one side becomes the other's, bit for bit and with an account.

Where the port has its map on disk, no framework is loaded; tensors go through memory one at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portproof._disk import require_writable, write_text
from portproof._errors import BadInput
from portproof._machine import package_versions
from portproof.checkpoints import (
    FORMATS,
    SHARD,
    Checkpoint,
    Stored,
    format_of,
    is_floating,
    open_checkpoint,
    write_checkpoint,
)
from portproof.convert._account import Account, TensorRow
from portproof.convert._table import map_csv, near_misses, read_map
from portproof.convert._transfer import counters, require_fit, ties, transferred, under_all_names
from portproof.frameworks._entries import Entry
from portproof.ports._port import Side

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ConvertOptions:
    """What ``convert`` is asked for.

    Attributes:
        source_side: whose names and layouts the source holds, for a file that does not say.
        target_side: whose the target gets; default: the other side.
        keep_dtype: carry floating tensors of another width than the map's as they are.
        dry_run: check everything and write nothing.
        verify: read the target back and hold every bit of it against the source.
        shard: bytes of each file of a target of several.
    """

    source_side: str | None = None
    target_side: str | None = None
    keep_dtype: bool = False
    dry_run: bool = False
    verify: bool = False
    shard: int = SHARD


@dataclass(frozen=True)
class Plan:
    """What corresponds.

    Attributes:
        account: both state dicts, paired.
        entries: side to its state dict.
        origin: where that is known from, for people.
        own: the port's, where the map is one of a file's own names: what goes back to the same side gets its names.
    """

    account: Account
    entries: Mapping[str, list[Entry]]
    origin: str
    own: Plan | None = None

    @property
    def sha256(self) -> str:
        """The hash of the map as a table, wherever it comes from."""
        return hashlib.sha256(map_csv(self.account, self.entries).encode()).hexdigest()


@dataclass(frozen=True)
class Converted:
    """What was converted.

    Attributes:
        source, target: the sides.
        plan: every tensor and what became of it.
        constants: of an ONNX file: integers that are no weights, left out.
        written: the file, None for a dry run.
        about: what the target says of where it comes from: the source's hash, the map's, and the version.
        verified: tensors that were read back and found equal, None where that was not asked for.
    """

    source: str
    target: str
    plan: Plan
    constants: tuple[str, ...]
    written: Path | None
    about: Mapping[str, str]
    verified: int | None


def read_plan(table: Path) -> Plan:
    """Read a map of names.

    Raises:
        BadInput: there is none, or it is no map.
    """
    if not table.is_file():
        raise BadInput(f"'{table}': no such map; `portproof account -o {table.name}` writes one.")
    return Plan(*read_map(table), table.name)


def convert(plan: Plan, source: Path, target: Path, options: ConvertOptions, progress: Progress) -> Converted:
    """Convert a checkpoint between two sides.

    Args:
        plan: what corresponds.
        source: in any format that is read.
        target: in any format that is written; replaced only when the new file is whole.
        options: see :class:`ConvertOptions`.
        progress: told how far it is.

    Raises:
        BadInput: a file is not what it has to be, or a tensor has no equal; nothing is written.
    """
    target_format = format_of(target, written=True)
    require_writable(target)
    checkpoint = open_checkpoint(source)
    side = _source_side(checkpoint, options)
    towards = options.target_side or FORMATS[target_format][1] or Side(side).other
    owner = FORMATS[target_format][1]
    if owner not in (None, towards):
        raise BadInput(f"'{target}': {FORMATS[target_format][0]} holds {owner}'s layouts, and --to says {towards}.")
    ignored = {name for ignored_side, name, _ in plan.account.ignored if ignored_side == side}
    constants = _constants(checkpoint, plan.entries[side])
    if constants:
        kept = {name: stored for name, stored in checkpoint.tensors.items() if name not in constants}
        checkpoint = replace(checkpoint, tensors=kept)
    whole = under_all_names(checkpoint.tensors, ties(plan.account.rows, side))
    checkpoint = replace(checkpoint, tensors=whole)
    require_fit(checkpoint, plan.entries[side], ignored, keep_dtype=options.keep_dtype)
    tensors = towards_side(plan, checkpoint.tensors, side, towards)
    if options.dry_run:
        return Converted(side, towards, plan, constants, None, {}, None)
    progress("hashing the source")
    version = package_versions("portproof").get("portproof", "")
    about = {"source_sha256": _hash(source), "map_sha256": plan.sha256, "version": version}
    write_checkpoint(target, _followed(tensors, progress), towards, about, options.shard)
    verified = _read_back(checkpoint, target, plan, side, towards, progress) if options.verify else None
    return Converted(side, towards, plan, constants, target, about, verified)


def _constants(checkpoint: Checkpoint, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the initialisers of a graph that are no weights: integers that the model does not have, such as shapes."""
    if format_of(checkpoint.path) != ".onnx":
        return ()
    wanted = {entry.name for entry in entries}
    return tuple(
        name for name, stored in checkpoint.tensors.items() if name not in wanted and not is_floating(stored.dtype)
    )


def towards_side(plan: Plan, tensors: Mapping[str, Stored], side: str, towards: str) -> Mapping[str, Stored]:
    """Return tensors in one side's names and layouts; those of a map of a file's own names go there and back."""
    if towards == side:
        if plan.own is None:
            return tensors
        return towards_side(plan.own, towards_side(plan, tensors, side, Side(side).other), Side(side).other, side)
    left_out = {name for ignored_side, name, _ in plan.account.ignored if ignored_side == towards}
    own = counters([entry for entry in plan.entries[towards] if entry.name in left_out])
    return transferred(tensors, plan.account.rows, towards) | own


def _source_side(checkpoint: Checkpoint, options: ConvertOptions) -> str:
    side = options.source_side or checkpoint.side
    if side is None:
        raise BadInput(
            f"'{checkpoint.path}' does not say whose names and layouts it holds; add --from torch or --from paddle."
        )
    if checkpoint.side not in (None, side):
        raise BadInput(f"'{checkpoint.path}' holds {checkpoint.side} weights, and --from says {side}.")
    return side


def _followed(tensors: Mapping[str, Stored], progress: Progress) -> dict[str, Stored]:
    """Return the same tensors, each of which says how far the work is when it is read."""
    whole = sum(stored.nbytes for stored in tensors.values())
    done = 0

    def followed(stored: Stored) -> Stored:
        def read() -> Any:
            nonlocal done
            progress(f"{done / max(1, whole):.0%} of {whole / 1e9:.2f} GB")
            done += stored.nbytes
            return stored.read()

        return replace(stored, read=read)

    return {name: followed(stored) for name, stored in tensors.items()}


def _read_back(source: Checkpoint, target: Path, plan: Plan, side: str, towards: str, progress: Progress) -> int:
    """Bring what was written back into the source's layouts and compare every bit; returns the number of tensors.

    Raises:
        BadInput: a tensor differs.
    """
    back: Mapping[str, Stored] = open_checkpoint(target).tensors
    if towards == side and plan.own is not None:
        back = transferred(back, plan.own.account.rows, Side(side).other)
    if towards != side or plan.own is not None:
        back = transferred(back, plan.account.rows, side)
    for name, stored in _followed(back, progress).items():
        before = source.tensors[name]
        if (before.dtype, before.shape) != (stored.dtype, stored.shape) or before.bytes() != stored.bytes():
            raise BadInput(
                f"'{target}': '{name}' does not come back as it was in '{source.path}'; do not use the file."
            )
    return len(back)


def _hash(path: Path) -> str:
    """Return the SHA-256 of a checkpoint: of its file or, for one of several files, of the list of their hashes."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if format_of(path) != ".safetensors.index.json":
        return found
    files = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    return hashlib.sha256("".join([found, *(_hash(path.parent / file) for file in files)]).encode()).hexdigest()


def _renamed(row: TensorRow, side: str, names: Mapping[str, str]) -> TensorRow:
    found = tuple(names.get(name, name) for name in row.names(side))
    return replace(row, torch=found) if side == "torch" else replace(row, paddle=found)


def suggest(plan: Plan, source: Path, options: ConvertOptions, out: Path) -> dict[str, str]:
    """Write a map whose names of one side are a file's, for a person to look through and hand to ``--map``.

    Returns:
        Each name that was replaced, and the file's name that was put in its place because it is like it.
    """
    checkpoint = open_checkpoint(source)
    side = _source_side(checkpoint, options)
    wanted = {entry.name: entry.shape for entry in plan.entries[side]}
    surplus = {name: stored for name, stored in checkpoint.tensors.items() if name not in wanted}
    like = near_misses({n: shape for n, shape in wanted.items() if n not in checkpoint.tensors}, surplus)
    entries = dict(plan.entries) | {
        side: [replace(entry, name=like.get(entry.name, entry.name)) for entry in plan.entries[side]]
    }
    rows = tuple(_renamed(row, side, like) for row in plan.account.rows)
    ignored = tuple((s, like.get(n, n) if s == side else n, reason) for s, n, reason in plan.account.ignored)
    write_text(out, map_csv(Account(rows, ignored, ()), entries))
    return like
