"""What each side of a training begins with: weights that a side makes or a person gives, or a training carried over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint
from portproof.sides._given import given_weights
from portproof.sides._tasks import Tasks
from portproof.training._opened import Opened
from portproof.training._state import Recipe, State, is_training, load, require_same, write
from portproof.training._tasks import TrainingTasks

#: Beside the sides' folders: what they began with.
START = "start.safetensors"
#: Images that the starting weights are normalised on.
_EXAMPLES = 32


@dataclass(frozen=True)
class Start:
    """What a side begins with: weights, or a training to go on with."""

    weights: Path | None = None
    state: Path | None = None


def starts(opened: Opened, sides: Sequence[str], recipe: Recipe) -> tuple[dict[str, Start], tuple[Path, ...]]:
    """Write what each side begins with.

    Returns:
        Side to what it begins with, and the files that stay for a person to see.

    Raises:
        BadInput: what was given cannot be read, fits no model or is another training.
    """
    if not sides:
        return {}, ()
    options = opened.options
    begun = options.out / START
    path = begun if options.resume and begun.is_file() else Path(options.start)
    given = path == begun or options.start not in ("normalised", "factory")
    if given and is_training(path):
        state = load(path)
        if any(side != state.side for side in sides):
            opened.match()
        return {side: Start(state=_from_training(opened, state, side, recipe)) for side in sides}, ()
    source = open_checkpoint(path).side if given else sides[0]
    if any(side != source for side in sides):
        opened.match()
    lead, weights = _given_weights(opened, path, source) if given else _own_weights(opened, sides[0])
    if path != begun:
        write_checkpoint(begun, {name: Stored.of(array) for name, array in weights.items()}, lead)
    found = {}
    for side in sides:
        file = opened.folder / f"start-{side}.safetensors"
        save_arrays(file, weights if side == lead else opened.carried(weights, side))
        found[side] = Start(weights=file)
    return found, (begun,)


def _own_weights(opened: Opened, side: str) -> tuple[str, dict[str, Any]]:
    """Return weights that a side makes itself."""
    out = opened.folder / "first.safetensors"
    if opened.options.start == "factory":
        opened.sides[side].call(Tasks.save_state, out=out)
    else:
        opened.progress.doing(side, "normalising weights")
        examples = opened.folder / "examples.safetensors"
        opened.sides[side].call(TrainingTasks.examples, out=examples, count=_EXAMPLES)
        opened.sides[side].call(TrainingTasks.normalise, inputs=examples, out=out, seed=opened.options.seed)
    return side, load_file(out)


def _given_weights(opened: Opened, path: Path, source: str | None) -> tuple[str, dict[str, Any]]:
    """Return the side whose weights a file holds, and they."""
    asked = [source] if source in opened.port.sides else list(opened.port.sides)
    tensors, lead = given_weights(path, {side: opened.side(side) for side in asked})
    return lead, tensors


def _from_training(opened: Opened, state: State, side: str, recipe: Recipe) -> Path:
    """Carry a training of the other side over: its weights, what its optimiser keeps, and its place."""
    require_same(Path(opened.options.start), state.recipe, recipe)
    if state.side != side:
        state = state.on(side, opened.match(), opened.own(side))
    path = opened.folder / f"from-{side}.safetensors"
    write(path, state)
    return path
