"""``portproof convert``: a checkpoint of one side becomes the other's, bit for bit and with an account.

Where the port has its map on disk, no framework is loaded; tensors go through memory one at a time.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portproof._disk import require_new, write_text
from portproof._errors import BadInput
from portproof._machine import package_versions
from portproof.checkpoints import (
    FORMATS,
    SHARD,
    Checkpoint,
    Stored,
    files_of,
    format_of,
    is_floating,
    open_checkpoint,
    unheld,
    write_checkpoint,
)
from portproof.convert._account import Account, TensorRow
from portproof.convert._cast import cast
from portproof.convert._check import read_again, read_back
from portproof.convert._fitted import Fitted, fitted
from portproof.convert._table import map_csv, near_misses, read_map
from portproof.convert._transfer import counters, ties, transferred, under_all_names
from portproof.frameworks._entries import Entry
from portproof.ports._port import Side

#: Bytes that are read at a time for a checksum.
_BLOCK = 1 << 20

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
        key: of the weights among what the source holds.
        dtype: of all floating tensors of the target; None leaves them as they are.
        python: the interpreter that reads the source a second time, where that is another than this.
        unproven: how the map was found, where evidence had to do; kept in the target.
    """

    source_side: str | None = None
    target_side: str | None = None
    keep_dtype: bool = False
    dry_run: bool = False
    verify: bool = False
    shard: int = SHARD
    key: str | None = None
    dtype: str | None = None
    python: str | None = None
    unproven: str = ""


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
        about: what the target says of where it comes from: the source's checksum, the map's hash, and the version.
        verified: tensors that were read back and found equal, None where that was not asked for.
        said: lines on what was chosen and done, for a person.
    """

    source: str
    target: str
    plan: Plan
    constants: tuple[str, ...]
    written: Path | None
    about: Mapping[str, str]
    verified: int | None
    said: tuple[str, ...] = ()


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
    checkpoint = open_checkpoint(source, options.key)
    fit = _fit(plan, checkpoint, options)
    side = str(fit.checkpoint.side)
    checkpoint = fit.required(
        f"`portproof convert {source} --from {side} --suggest map.csv` writes a map with its names to look through, "
        "and --map map.csv takes it."
    )
    _require_side(target, options)
    towards = options.target_side or FORMATS[target_format][1] or Side(side).other
    constants = _constants(open_checkpoint(source, options.key), plan.entries[side])
    plan = without(plan, side, fit.absent)
    made = towards_side(plan, checkpoint.tensors, side, towards)
    tensors, lines = cast(made, plan.entries[towards], options.dtype, target)
    if target.is_dir():
        tensors = {name: tensors[name] for name in tensors if name not in _further_names(plan, towards)}
    if options.dry_run:
        return Converted(side, towards, plan, constants, None, {}, None, (*checkpoint.said, *lines()))
    progress("reading the source's checksum")
    version = package_versions("portproof").get("portproof", "")
    about = {**_identified(checkpoint.path, certain=options.verify), "map_sha256": plan.sha256, "version": version}
    unproven = fit.unproven or options.unproven
    about |= {"unproven": unproven} if unproven else {}
    write_checkpoint(target, _followed(tensors, progress), towards, about, options.shard)
    said = (*checkpoint.said, *lines())
    verified = None
    if options.verify:
        back = _followed(open_checkpoint(target).tensors, progress)
        if any(stored.dtype.name != made[name].dtype.name for name, stored in tensors.items()):
            verified = read_back(target, back, tensors, source)  # what was rounded does not come back
        else:
            back = under_all_names(back, ties(plan.account.rows, towards))
            verified = read_back(target, _turned_back(plan, back, side, towards), checkpoint.tensors, source)
        said = (*said, read_again(checkpoint, options.python))
    return Converted(side, towards, plan, constants, target, about, verified, said)


def require_files(source: Path, target: Path | None, options: ConvertOptions) -> None:
    """See that a source can be read, and a target written that is not the source, which is read meanwhile.

    Raises:
        BadInput: it is otherwise, or what is asked for contradicts what the files are.
    """
    if target is None:
        raise BadInput("DST is missing; name the checkpoint to write, or write a map of names with --suggest FILE.")
    if target.exists() and source.exists() and target.samefile(source):
        raise BadInput(f"'{source}' and '{target}' are one file; name another DST.")
    if ".pdopt" in (source.suffix.lower(), target.suffix.lower()):
        return
    _require_side(target, options)
    if options.dtype is not None and options.dtype in unheld(target):
        raise BadInput(f"'{target}': {FORMATS[format_of(target)][0]} cannot hold {options.dtype}; leave out --dtype.")
    for file in target.glob("model*.safetensors*") if target.is_dir() else [target]:
        require_new(file)
    checkpoint = open_checkpoint(source, options.key)
    _require_source_side(checkpoint, options)


def _require_side(target: Path, options: ConvertOptions) -> None:
    what, owner = FORMATS[format_of(target, written=True)]
    if owner is not None and options.target_side not in (None, owner):
        raise BadInput(f"'{target}': {what} holds {owner}'s layouts, and --to says {options.target_side}.")


def _require_source_side(checkpoint: Checkpoint, options: ConvertOptions) -> None:
    if None not in (checkpoint.side, options.source_side) and checkpoint.side != options.source_side:
        raise BadInput(
            f"'{checkpoint.path}' holds {checkpoint.side} weights, and --from says {options.source_side}; leave it out."
        )


def _fit(plan: Plan, checkpoint: Checkpoint, options: ConvertOptions) -> Fitted:
    """Bring a checkpoint to the names of its side, which is the only one that it fits where it does not say.

    Raises:
        BadInput: it does not say, and fits both or none.
    """
    side = options.source_side or checkpoint.side
    _require_source_side(checkpoint, options)
    fits = {one: _fit_side(plan, checkpoint, one, options) for one in ((side,) if side else plan.entries)}
    whole = [fit for fit in fits.values() if not fit.problems]
    if side is not None:
        return fits[side]
    if len(whole) != 1:
        raise BadInput(
            f"'{checkpoint.path}' does not say whose names and layouts it holds; add --from torch or --from paddle."
        )
    line = f"names and shapes are {whole[0].checkpoint.side}'s and not the other side's"
    return replace(whole[0], checkpoint=replace(whole[0].checkpoint, said=(*whole[0].checkpoint.said, line)))


def _fit_side(plan: Plan, checkpoint: Checkpoint, side: str, options: ConvertOptions) -> Fitted:
    entries = plan.entries[side]
    constants = _constants(checkpoint, entries)
    kept = {name: stored for name, stored in checkpoint.tensors.items() if name not in constants}
    ignored = {name for ignored_side, name, _ in plan.account.ignored if ignored_side == side}
    checkpoint = replace(checkpoint, tensors=kept, side=side)
    keep = options.keep_dtype or options.dtype is not None
    return fitted(checkpoint, entries, ignored, ties(plan.account.rows, side), keep_dtype=keep, partial=True)


def without(plan: Plan, side: str, absent: Container[str]) -> Plan:
    """Return what corresponds without the tensors that a side's file does not have."""
    rows = tuple(row for row in plan.account.rows if not any(name in absent for name in row.names(side)))
    own = plan.own and without(plan.own, side, absent)
    return replace(plan, account=replace(plan.account, rows=rows), own=own)


def _further_names(plan: Plan, side: str) -> set[str]:
    """Return every name but the first of tensors that have several."""
    return {name for names in ties(plan.account.rows, side) for name in names[1:]}


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


def require_suggestion(source: Path, options: ConvertOptions, out: Path) -> None:
    """See that a map of a file's names can be made and written, before two models are built for it.

    Raises:
        BadInput: it cannot.
    """
    require_new(out)
    checkpoint = open_checkpoint(source, options.key)
    _require_source_side(checkpoint, options)
    _source_side(checkpoint, options)


def _source_side(checkpoint: Checkpoint, options: ConvertOptions) -> str:
    side = options.source_side or checkpoint.side
    if side is None:
        raise BadInput(
            f"'{checkpoint.path}' does not say whose names and layouts it holds; add --from torch or --from paddle."
        )
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


def _turned_back(plan: Plan, tensors: Mapping[str, Stored], side: str, towards: str) -> Mapping[str, Stored]:
    """Return what was written in the source's names and layouts."""
    if towards == side:
        if plan.own is None:
            return tensors
        tensors = transferred(tensors, plan.own.account.rows, Side(side).other)
    return transferred(tensors, plan.account.rows, side)


def _identified(path: Path, *, certain: bool) -> dict[str, str]:
    """Return what tells a checkpoint from others: bytes and CRC-32 of its files, one after the other.

    ``certain``: a SHA-256 besides, which nobody can forge and which takes longer than all the rest without the
    processor's help: of its file or, for one of several files, of the list of their hashes.
    """
    checksum, count, found = 0, 0, list[str]()
    for one in files_of(path):
        digest = hashlib.sha256()
        with one.open("rb") as file:
            while block := file.read(_BLOCK):
                checksum, count = zlib.crc32(block, checksum), count + len(block)
                if certain:
                    digest.update(block)
        found.append(digest.hexdigest())
    said = {"source_bytes": str(count), "source_crc32": f"{checksum:08x}"}
    if certain:
        whole = found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()
        said["source_sha256"] = whole
    return said


def _renamed(row: TensorRow, side: str, names: Mapping[str, str]) -> TensorRow:
    found = tuple(names.get(name, name) for name in row.names(side))
    return replace(row, torch=found) if side == "torch" else replace(row, paddle=found)


def suggest(plan: Plan, source: Path, options: ConvertOptions, out: Path) -> dict[str, str]:
    """Write a map whose names of one side are a file's, for a person to look through and hand to ``--map``.

    Returns:
        Each name that was replaced, and the file's name that was put in its place because it is like it.
    """
    checkpoint = open_checkpoint(source, options.key)
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
