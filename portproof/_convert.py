"""``portproof convert``: a checkpoint of one side becomes the other's, bit for bit and with an account."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portproof._account import Account, Entry, match_states
from portproof._atomic import require_writable
from portproof._capture import save_arrays
from portproof._checkpoint import FORMATS, checkpoint_format, write_checkpoint
from portproof._errors import BadInput
from portproof._port import SIDES, other
from portproof._session import Sessions
from portproof._weights import open_checkpoint, require_fit, transfer


@dataclass(frozen=True)
class Converted:
    """What was converted.

    Attributes:
        source, target: the sides.
        account: every tensor and what became of it.
        written: the file, None for a dry run.
    """

    source: str
    target: str
    account: Account
    written: Path | None


def account_of(sessions: Sessions) -> tuple[Account, dict[str, list[Entry]], dict[str, Any]]:
    """Pair the state dicts of a port's two models.

    Raises:
        BadInput: the port has one side, or the state dicts are no bijection.
    """
    port = sessions.located.port
    missing = [side for side in SIDES if side not in port.sides or port.artefact(side)]
    if missing:
        raise BadInput(f"port '{port.name}' has no {missing[0]} model; there is nothing to convert to or from.")
    sides: dict[str, Any] = {side: sessions.open(side) for side in SIDES}
    described = {side: session.submit("describe") for side, session in sides.items()}
    entries = {side: [Entry.from_json(e) for e in future.result()["entries"]] for side, future in described.items()}
    return match_states(entries["torch"], entries["paddle"], port.weights), entries, sides


def convert(
    sessions: Sessions,
    source: Path,
    target: Path,
    *,
    source_side: str | None = None,
    target_side: str | None = None,
    keep_dtype: bool = False,
    dry_run: bool = False,
) -> Converted:
    """Convert a checkpoint between a port's two sides.

    Args:
        sessions: of the port.
        source: ``.pdparams``, ``.pt``, ``.pth`` or ``.safetensors``.
        target: the same formats; replaced only when the new file is whole.
        source_side: for a safetensors file that does not say whose layouts it holds.
        target_side: for a safetensors target; default: the other side.
        keep_dtype: carry floating tensors of another width than the model's as they are.
        dry_run: check everything and write nothing.

    Raises:
        BadInput: a file is not what it has to be, or a tensor has no equal; nothing is written.
    """
    checkpoint_format(source), checkpoint_format(target)
    if not source.is_file():
        raise BadInput(f"'{source}': no such file.")
    require_writable(target)
    account, entries, sides = account_of(sessions)
    if account.problems:
        more = f" (and {len(account.problems) - 1} more)" if len(account.problems) > 1 else ""
        raise BadInput(f"the two models' state dicts do not correspond: {account.problems[0].message}{more}.")
    checkpoint = open_checkpoint(source, sides, sessions.folder)
    side = source_side or checkpoint.side
    if side is None:
        raise BadInput(f"'{source}' does not say whose names and layouts it holds; add --from torch or --from paddle.")
    if checkpoint.side not in (None, side):
        raise BadInput(f"'{source}' holds {checkpoint.side} weights, and --from says {side}.")
    towards = target_side or FORMATS[checkpoint_format(target)][1] or other(side)
    ignored = {name for ignored_side, name, _ in account.ignored if ignored_side == side}
    require_fit(checkpoint, entries[side], ignored, keep_dtype=keep_dtype)
    tensors = dict(checkpoint.tensors)
    if towards != side:
        tensors = transfer(checkpoint.tensors, account, towards, {})
    if dry_run:
        return Converted(side, towards, account, None)
    if checkpoint_format(target) in (".pt", ".pth"):
        staged = sessions.folder / "converted.safetensors"
        save_arrays(staged, tensors)
        if towards != "torch":
            raise BadInput(f"'{target}': {target.suffix} is torch's format and these are {towards} tensors.")
        sides["torch"].call("write_checkpoint", tensors=str(staged), path=str(target.absolute()))
    else:
        write_checkpoint(target, tensors, towards)
    return Converted(side, towards, account, target)


def map_csv(account: Account, entries: dict[str, list[Entry]]) -> str:
    """Return the account as a table: both names, the transform, and both shapes."""
    shapes = {side: {e.name: "x".join(map(str, e.shape)) for e in listed} for side, listed in entries.items()}
    lines = ["torch,paddle,transform,torch_shape,paddle_shape"]
    for row in account.rows:
        sizes = [" + ".join(shapes[side][name] for name in row.names(side)) for side in ("torch", "paddle")]
        lines.append(",".join([" + ".join(row.torch), " + ".join(row.paddle), row.transform, *sizes]))
    return "\n".join(lines) + "\n"
