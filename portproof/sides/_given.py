"""What a person or a port gives, held against the models: checkpoints, and what corresponds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from portproof._errors import BadInput, and_more
from portproof._numbers import Arrays
from portproof.checkpoints import Checkpoint, open_checkpoint
from portproof.convert._account import known_parts, match_states
from portproof.convert._convert import Plan, read_plan
from portproof.convert._transfer import counters, require_fit, under_all_names
from portproof.ports._port import SIDES, Port
from portproof.sides._pairs import require_used
from portproof.sides._session import Session, Sessions
from portproof.sides._tasks import Tasks


def account_of(sessions: Sessions) -> Plan:
    """Pair the state dicts of a port's two models, by building them.

    Raises:
        BadInput: the port has one side.
    """
    port = sessions.located.port
    missing = [side for side in SIDES if side not in port.sides or port.artefact(side)]
    if missing:
        raise BadInput(f"port '{port.name}' has no {missing[0]} model; there is nothing to convert to or from.")
    sides: dict[str, Session] = {side: sessions.open(side) for side in SIDES}
    described = {side: session.submit(Tasks.describe) for side, session in sides.items()}
    found = {side: future.result() for side, future in described.items()}
    require_used(port, found)
    entries = {side: list(what.entries) for side, what in found.items()}
    weights = known_parts(port.weights, found["torch"].modules)
    return Plan(match_states(entries["torch"], entries["paddle"], weights), entries, "the two models")


def plan_of(port: Port | None, table: Path | None, sessions: Callable[[], Sessions]) -> Plan:
    """Return what corresponds: by a map that is given, by the port's own, or by building both models.

    Args:
        port: whose state dicts these are; None where a map is given.
        table: the map that a person gave.
        sessions: opens the port's sessions, where models must be built.

    Raises:
        BadInput: the map is none, or the models' state dicts are no bijection.
    """
    own = _own_plan(port, sessions) if port is not None else None
    if table is None:
        assert own is not None
        return own
    return replace(read_plan(table), own=own)


def _own_plan(port: Port, sessions: Callable[[], Sessions]) -> Plan:
    if port.mapping is not None:
        return read_plan(Path(port.mapping))
    with sessions() as opened:
        plan = account_of(opened)
    if plan.account.problems:
        found = and_more([problem.message for problem in plan.account.problems])
        raise BadInput(f"the two models' state dicts do not correspond: {found}.")
    return plan


def given_weights(path: Path, sides: Mapping[str, Session]) -> tuple[Arrays, str]:
    """Read the checkpoint that a person gave to ``verify`` and check that it fits its side's model.

    Returns:
        The tensors and their side.

    Raises:
        BadInput: it cannot be read, fits no model, or does not say whose layouts it holds.
    """
    checkpoint = open_checkpoint(path)
    side, own = settle_side(checkpoint, sides)
    return {**{name: np.array(stored.read()) for name, stored in checkpoint.tensors.items()}, **own}, side


def settle_side(
    checkpoint: Checkpoint, sides: Mapping[str, Session], *, keep_dtype: bool = False
) -> tuple[str, Arrays]:
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
    entries = list(sides[side].call(Tasks.describe).entries)
    own = counters(entries)
    tied = [(entry.tied, *(e.name for e in entries if e.tied == entry.tied)) for entry in entries if entry.tied]
    whole = under_all_names(checkpoint.tensors, tied)
    require_fit(replace(checkpoint, tensors=whole), entries, set(own), keep_dtype=keep_dtype)
    return side, {name: stored.read() for name, stored in (own | whole).items() if name not in checkpoint.tensors}
