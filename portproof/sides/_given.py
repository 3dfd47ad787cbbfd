"""What a person or a port gives, held against the models: checkpoints, and what corresponds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from portproof._errors import BadInput, and_more
from portproof._numbers import Arrays
from portproof.checkpoints import Checkpoint, open_checkpoint
from portproof.convert._account import known_parts, match_states
from portproof.convert._cast import widened
from portproof.convert._convert import Plan, read_plan
from portproof.convert._fitted import fitted
from portproof.convert._transfer import counters
from portproof.frameworks._entries import Entry
from portproof.ports._port import SIDES, Port
from portproof.sides._pairs import require_used
from portproof.sides._process import Session
from portproof.sides._session import Sessions
from portproof.sides._tasks import Tasks

_log = logging.getLogger("portproof")


def account_of(sessions: Sessions) -> Plan:
    """Pair the state dicts of a port's two models, by building them.

    Raises:
        BadInput: the port has one side.
    """
    port = sessions.located.port
    missing = [side for side in SIDES if side not in port.sides or port.artefact(side)]
    if missing:
        raise BadInput(f"port '{port.name}' has no {missing[0]} model; there is nothing to convert to or from.")
    sessions.require(f"port '{port.name}'", SIDES)
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
    given = None if table is None else read_plan(table)  # before models are built for nothing
    own = _own_plan(port, sessions) if port is not None else None
    if given is None:
        assert own is not None
        return own
    return replace(given, own=own)


def _own_plan(port: Port, sessions: Callable[[], Sessions]) -> Plan:
    if port.mapping is not None:
        return read_plan(Path(port.mapping))
    with sessions() as opened:
        plan = account_of(opened)
    if plan.account.problems:
        found = and_more([problem.message for problem in plan.account.problems])
        raise BadInput(
            f"the two models' state dicts do not correspond: {found}. `portproof map --write` finds the map and puts "
            "it into the port."
        )
    return plan


def given_weights(path: Path, sides: Mapping[str, Session]) -> tuple[Arrays, str]:
    """Read the checkpoint that a person gave to ``verify`` and check that it fits its side's model.

    Returns:
        The tensors and their side.

    Raises:
        BadInput: it cannot be read, fits no model, or does not say whose layouts it holds.
    """
    settled, own = settle(open_checkpoint(path), sides)
    return {**{name: np.array(stored.read()) for name, stored in settled.tensors.items()}, **own}, str(settled.side)


def settle(
    checkpoint: Checkpoint, sides: Mapping[str, Session], *, keep_dtype: bool = False
) -> tuple[Checkpoint, Arrays]:
    """Say whose layouts a checkpoint holds, and bring it to the names and dtypes of that side's model.

    Returns:
        The checkpoint, which says its side and what was done, and zeros for the counters that it lacks.

    Raises:
        BadInput: it fits no model, or both and does not say whose layouts it holds.
    """
    path = checkpoint.path
    if checkpoint.side not in (None, *sides):
        side = checkpoint.side
        raise BadInput(f"'{path}' holds {side} weights and this port has no {side} side; convert it first.")
    asked = list(sides) if checkpoint.side is None else [checkpoint.side]
    entries = {side: list(sides[side].call(Tasks.describe).entries) for side in asked}
    own = {side: counters(listed) for side, listed in entries.items()}
    fits = {
        side: fitted(
            replace(checkpoint, side=side), listed, set(own[side]), _tied(listed), keep_dtype=keep_dtype
        )
        for side, listed in entries.items()
    }  # fmt: skip
    whole = [side for side, fit in fits.items() if not fit.problems]
    if len(asked) > 1 and len(whole) != 1:
        raise BadInput(
            f"'{path}' does not say whether it holds torch's or Paddle's layouts; "
            "run `portproof convert` on it with --from, which writes a file that says so."
        )
    side = whole[0] if whole else asked[0]
    found = fits[side].required(
        "`portproof convert` brings names to the model's: --suggest map.csv, then --map map.csv."
    )
    for line in found.said:
        _log.info("%s: %s", path.name, line)
    tensors = found.tensors if keep_dtype else widened(found.tensors, entries[side])
    lacking = {name: stored.read() for name, stored in own[side].items() if name not in tensors}
    return replace(found, tensors=tensors), lacking


def _tied(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    return [(entry.tied, *(e.name for e in entries if e.tied == entry.tied)) for entry in entries if entry.tied]
