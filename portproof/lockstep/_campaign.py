"""``portproof faults --training``: slips and wrong settings planted into either side's training, and what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from portproof._disk import save_arrays
from portproof._errors import BadInput
from portproof._machine import host, thread_budget
from portproof.lockstep._faults import fault_named
from portproof.lockstep._hops import normalised_weights
from portproof.lockstep._tasks import TrajectoryTasks
from portproof.lockstep._trajectory import Trajectories, TrajectoryOptions
from portproof.ports._inputs import make_batch
from portproof.ports._locate import Located
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides, Watch

#: Steps of each run: enough for a schedule to show, and for what acts at the second step.
_STEPS = 6


@dataclass(frozen=True)
class Planting:
    """One planted fault and what became of it.

    Attributes:
        side: where it was planted.
        optimizer: which one was in use.
        fault: its name.
        acts: the first step at which it can show, from 0.
        parted: the first step at which something lay apart; None where nothing did.
        why: what was said.
        named: whether that says what was planted.
    """

    side: str
    optimizer: str
    fault: str
    acts: int
    parted: int | None
    why: str
    named: bool

    @property
    def caught(self) -> bool:
        """Whether it was seen at the first step where it acts."""
        return self.parted == self.acts


@dataclass(frozen=True)
class TrainingFaults:
    """The outcome of a campaign."""

    port: str
    planted: tuple[Planting, ...]
    environment: Mapping[str, Any]

    @property
    def exit_code(self) -> int:
        """0 where every fault was caught and named, else 1."""
        return 0 if all(planted.caught and planted.named for planted in self.planted) else 1

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``faults --training --json``."""
        return {"schema_version": 1, **asdict(self)}


def plant_training_faults(
    located: Located, kwargs: Mapping[str, Any], settings: Sequence[Mapping[str, Any]], seed: int, watch: Watch
) -> TrainingFaults:
    """Plant every kind that applies, on each side, under each of some settings.

    Raises:
        BadInput: the port has no training, or it refuses the settings; or the clean sides part by themselves.
    """
    planted: list[Planting] = []
    with Sessions(located, kwargs, threads=max(1, thread_budget() // 2)) as sessions:
        sides = Sides(sessions, watch)
        sides.require_match()
        port = sessions.located.port
        if len(sides.live) < 2 or set(port.training) != set(sides.live):
            raise BadInput(f"port '{port.name}' has no training on both sides; see docs/training.md.")
        inputs = sessions.folder / "inputs.safetensors"
        batch = make_batch(port, seed=seed)
        save_arrays(inputs, batch.arrays)
        weights = normalised_weights(sides, inputs, seed)
        trajectories = Trajectories(sides, sides.pairs().keys, weights, sessions.folder / "trajectory")
        for chosen in settings:
            options = TrajectoryOptions(steps=_STEPS, settings=chosen, seed=seed)
            clean = trajectories.compare(options)
            if clean.parting is not None or clean.blind is not None:
                raise BadInput(f"the two sides part with nothing planted; see `portproof verify --steps {_STEPS}`.")
            for side in sides.live:
                trajectories.begin(side, "probe", options).result()
                for name in sides.do(side, "listing faults", TrajectoryTasks.faults, run="probe").result():
                    watch("planting", f"{name}, {side.title}, {chosen.get('optimizer', 'its own optimiser')}")
                    planted.append(_plant(trajectories, options, side, name))
                    watch("planting", None)
                sides.do(side, "listing faults", TrajectoryTasks.end, run="probe").result()
    return TrainingFaults(port.name, tuple(planted), host())


def _plant(trajectories: Trajectories, options: TrajectoryOptions, side: str, name: str) -> Planting:
    kind = fault_named(name)
    found = trajectories.compare(replace(options, faults={side: [name]}))
    why = found.parting.why if found.parting is not None else ""
    return Planting(
        side, str(options.settings.get("optimizer", "")), name, kind.acts,
        found.parting.step if found.parting is not None else None, why, any(word in why for word in kind.named),
    )  # fmt: skip
