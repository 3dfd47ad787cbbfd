"""A training on disk: model, optimiser, schedule, the place in the data and the seeds, in one safetensors file.

Tensors are ``model/NAME`` in the side's own layouts and ``optimiser/NAME/SLOT`` by torch's names of slots; what is no
tensor stands as JSON in the header. The order of the data, the cuts and the dropout masks are drawn from a seed and the
number of the step, so these two are all of the random state; no generator's is to be kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from portproof._disk import Checked, Count, Seconds, among, as_kind, having, parse_json
from portproof._errors import BadInput, one_line
from portproof._numbers import Arrays
from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint
from portproof.convert._account import Account
from portproof.convert._transfer import transfer, transfer_present
from portproof.training._learner import Learner
from portproof.training._learning import SHAPED

_MODEL, _OPTIMISER = "model/", "optimiser/"


#: What is read of a row of either log, beside a number for each loss or output.
Row = Annotated[
    dict[str, int | float],
    having(
        {"step": Count, "epoch": Seconds, "loss": float, "accuracy": float, "seconds": Seconds, "images": Count}
        | {"checksum": Count}
    ),
]
Test = Annotated[dict[str, int | float], having({"step": Count})]


def _alike(rows: tuple[dict[str, int | float], ...]) -> tuple[dict[str, int | float], ...]:
    if any(row.keys() != rows[0].keys() or len(row) < 2 for row in rows):
        raise ValueError("its rows have other columns than the first")
    return rows


@dataclass(frozen=True)
class Recipe:
    """What decides a training, beside the data's bytes and the side.

    Attributes:
        data: name of a data set or path of a folder.
        fingerprint: of the data.
        batch: images a step.
        steps: how many there will be.
        seed: of the order, the cuts, the masks, and of what is held out.
        augment, mirror: whether images are cut, and mirrored, at random.
        dropout: ``"shared"``, ``"own"`` or ``"off"``.
        settings: of the port's training.
        kwargs: of the models' factories.
        threads: compute threads; the last bits depend on it.
    """

    data: str
    fingerprint: str
    batch: Count
    steps: Count
    seed: int
    augment: bool
    mirror: bool
    dropout: str
    settings: Mapping[str, Any]
    kwargs: Mapping[str, Any]
    threads: int


@dataclass(frozen=True)
class State:
    """A training as it is kept.

    Attributes:
        port, side: whose.
        step: how many steps were made.
        recipe: what it follows.
        scheduler: the schedule's own state.
        rows: of the log, one a step.
        tests: of the log, one a test.
        tensors: see the module.
    """

    port: str
    side: Annotated[str, among("torch", "paddle")]
    step: Count
    recipe: Recipe
    scheduler: dict[str, Any]
    rows: Annotated[tuple[Row, ...], Checked(_alike)]
    tests: Annotated[tuple[Test, ...], Checked(_alike)]
    tensors: Mapping[str, Any] = field(default_factory=dict)

    def model(self) -> Arrays:
        """Return the model's state dict."""
        return {n.removeprefix(_MODEL): np.array(t.read()) for n, t in self.tensors.items() if n.startswith(_MODEL)}

    def slots(self) -> dict[str, Arrays]:
        """Return what the optimiser keeps: parameter to slot to array."""
        found: dict[str, Arrays] = {}
        for key, stored in self.tensors.items():
            if key.startswith(_OPTIMISER):
                name, _, slot = key.removeprefix(_OPTIMISER).rpartition("/")
                found.setdefault(name, {})[slot] = np.array(stored.read())
        return found

    def on(self, side: str, account: Account, own: Arrays) -> State:
        """Return this state in the other side's names and layouts; its schedule is that of the same step.

        Args:
            side: the other.
            account: what corresponds.
            own: tensors that only the other side has.
        """
        made = {f"{_MODEL}{name}": a for name, a in transfer(self.model(), account, side, own).items()}
        slots = self.slots()
        for slot in SHAPED:
            kept = {name: arrays[slot] for name, arrays in slots.items() if slot in arrays}
            moved = transfer_present(kept, account, side)
            made |= {f"{_OPTIMISER}{name}/{slot}": array for name, array in moved.items()}
        return replace(self, side=side, scheduler={}, tensors={n: Stored.of(a) for n, a in made.items()})


def save(path: Path, learner: Learner, recipe: Recipe, rows: list[Any], tests: list[Any]) -> None:
    """Write a training; the file takes its place when it is whole.

    Raises:
        BadInput: it cannot be written; what was there is as it was.
    """
    framework = learner.framework
    tensors = {f"{_MODEL}{name}": array for name, array in learner.model.state().items()}
    for name, kept in learner.learning.slots(learner.training.optimizer, learner.model.root).items():
        tensors |= {f"{_OPTIMISER}{name}/{slot}": framework.to_array(tensor) for slot, tensor in kept.items()}
    scheduler = getattr(learner.training, "scheduler", None)
    kept_schedule = plain(scheduler.state_dict()) if scheduler is not None else {}
    stored = {name: Stored.of(array) for name, array in tensors.items()}
    write(
        path,
        State(learner.port.name, learner.side, learner.steps, recipe, kept_schedule, tuple(rows), tuple(tests), stored),
    )


def write(path: Path, state: State) -> None:
    """Write a state; the file takes its place when it is whole.

    Raises:
        BadInput: it cannot be written; what was there is as it was.
    """
    about = {
        "port": state.port, "step": state.step, "recipe": asdict(state.recipe), "scheduler": state.scheduler,
        "rows": state.rows, "tests": state.tests,
    }  # fmt: skip
    text = json.dumps(about)
    said = {"training": text, "sha256": _digest(text, state.tensors)}
    write_checkpoint(path, state.tensors, state.side, said)


def _digest(about: str, tensors: Mapping[str, Any]) -> str:
    """Hash all that a training consists of: a bit that turns on the disk would be trained on with."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        digest.update(f"{name}|{tensors[name]}|".encode())
        digest.update(tensors[name].bytes())
    return digest.hexdigest()


def load(path: Path) -> State:
    """Read a training.

    Raises:
        BadInput: the file is missing, damaged, or no training.
    """
    checkpoint = open_checkpoint(path)
    try:
        if _digest(checkpoint.about["training"], checkpoint.tensors) != checkpoint.about["sha256"]:
            raise BadInput(
                f"'{path}' is damaged: its checksum is wrong; --resume needs it whole, another -o begins anew."
            )
        about = as_kind(dict[str, Any], parse_json(checkpoint.about["training"]))
        return replace(as_kind(State, {**about, "side": checkpoint.side}), tensors=checkpoint.tensors)
    except (KeyError, ValueError) as error:
        raise BadInput(
            f"'{path}' is no training that `portproof train` kept ({one_line(error, 120)}); to begin with weights use "
            "--start."
        ) from error


def is_training(path: Path) -> bool:
    """Whether a file is a training, and not weights alone."""
    return path.suffix == ".safetensors" and "training" in open_checkpoint(path).about


def require_same(path: Path, kept: Recipe, asked: Recipe) -> None:
    """See that a training that is gone on with is the one that was asked for.

    Raises:
        BadInput: it is not.
    """
    one, two = asdict(kept), json.loads(json.dumps(asdict(asked)))
    for name in one:
        if json.loads(json.dumps(one[name])) != two[name]:
            what = "the data has changed" if name == "fingerprint" else f"its {name} is {one[name]}"
            raise BadInput(
                f"'{path}' is another training: {what}, asked for is {two[name]}; "
                "give what it began with, or another -o."
            )


def restore(learner: Learner, state: State) -> None:
    """Put a state into a learner that has made no step."""
    framework = learner.framework
    learner.model.load(state.model())
    slots = {
        name: {slot: framework.to_tensor(array) for slot, array in kept.items()} for name, kept in state.slots().items()
    }
    learner.learning.load_slots(learner.training.optimizer, learner.model.root, slots, state.step)
    scheduler = getattr(learner.training, "scheduler", None)
    if scheduler is not None:
        if state.scheduler:
            learner.learning.load_schedule(scheduler, learner.training.optimizer, state.scheduler)
        else:  # it comes from the other side: go to the same place
            for _ in range(state.step):
                scheduler.step()
    learner.steps = state.step


def plain(value: Any) -> Any:
    """Return a schedule's state without what is no number, text, list or dictionary of such."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not callable(item)}
    if isinstance(value, (list, tuple)):
        return [None if callable(item) else plain(item) for item in value]
    return value
