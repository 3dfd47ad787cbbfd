"""Gradients and trainings as hops of ``verify``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._errors import ModelRaised, PortproofError
from portproof.judge._report import Culprit, Deviation, Hop
from portproof.lockstep._gradients import Backward
from portproof.lockstep._trajectory import Trajectories, TrajectoryOptions
from portproof.ports._port import TITLE
from portproof.sides._pairs import Pairs
from portproof.sides._sides import Sides
from portproof.training._tasks import TrainingTasks


@dataclass
class Learned:
    """What was judged."""

    hops: list[Hop] = field(default_factory=list)
    culprits: list[Culprit] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)


def judge_gradients(
    sides: Sides, pairs: Pairs, few: Path, weights: Mapping[str, Path], seed: int, label: str
) -> Learned:
    """Judge the gradients of both sides.

    Args:
        sides: both live, matched.
        pairs: of modules.
        few: file of a few rows.
        weights: side to file.
        seed: of cotangents and masks.
        label: of the weights.
    """
    title = f"{TITLE[sides.live[1]]} gradients"
    types = {key: layer for key, (layer, _) in pairs.described["torch"].items()}
    folder = sides.folder / f"gradients-{'given' if label.startswith('given') else label}"
    try:
        found = Backward(sides, pairs.keys, types, few, folder, weights, seed).judge(label)
    except ModelRaised as error:
        culprit = Culprit(error.side, error.module, "raises", "backward", error.reason)
        return Learned([_broken("gradients", title, label, "divergent", str(error))], [culprit])
    except PortproofError as error:
        return Learned([_broken("gradients", title, label, "unavailable", str(error))])
    return Learned(*found)


def judge_training(
    sides: Sides, pairs: Pairs, inputs: Path, weights: Mapping[str, Path], steps: int, settings: Mapping[str, Any],
    seed: int, label: str,
) -> Learned:  # fmt: skip
    """Judge trainings of both sides, step by step: in float64, then in float32.

    Args:
        sides: both live, matched.
        pairs: of modules.
        inputs: file of rows, on which starting weights are normalised where ``label`` is not that of given ones.
        weights: side to file.
        steps: how many.
        settings: of the port's training.
        seed: of batches and masks.
        label: of the weights.

    Raises:
        BadInput: the port's training refuses the settings.
    """
    if not label.startswith("given"):
        weights, label = normalised_weights(sides, inputs, seed), "normalised"
    found = Learned()
    trajectories = Trajectories(sides, pairs.keys, weights, sides.folder / "trajectory")
    for precision in ("float64", "float32"):
        options = TrajectoryOptions(steps=steps, precision=precision, settings=settings, seed=seed)
        try:
            trajectory = trajectories.compare(options)
        except ModelRaised as error:
            title = f"{TITLE[error.side]} training"
            found.hops.append(_broken("training", title, label, "divergent", str(error)))
            found.culprits.append(Culprit(error.side, error.module, "raises", "backward", error.reason))
            return found
        found.hops.append(trajectory.hop(sides, options, label))
        found.culprits += trajectory.culprits()
        found.deviations += trajectory.deviations
        if trajectory.parting is not None or trajectory.blind is not None:
            break
    return found


def normalised_weights(sides: Sides, inputs: Path, seed: int) -> dict[str, Path]:
    """Return weights to begin a training with; sensitised ones have outputs too loud to learn from."""
    lead, out = sides.live[0], sides.folder / "normalised.safetensors"
    sides.do(lead, "normalising weights", TrainingTasks.normalise, inputs=inputs, out=out, seed=seed).result()
    return sides.spread(load_file(out), lead)


def _broken(kind: str, title: str, label: str, verdict: Any, reason: str) -> Hop:
    return Hop(kind, "the other side", title, "float64", label, verdict, None, reason)
