"""Gradients and trainings as hops of ``verify``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._errors import ModelRaised, PortproofError, Unavailable
from portproof.judge._found import Found
from portproof.judge._report import Culprit, Hop, Verdict
from portproof.lockstep._gradients import Backward
from portproof.lockstep._lines import with_backward_lines
from portproof.lockstep._trajectory import Trajectories, TrajectoryOptions
from portproof.ports._port import Side
from portproof.sides._pairs import Pairs
from portproof.sides._sides import Sides
from portproof.sides._weights import Weights
from portproof.training._tasks import TrainingTasks


def judge_gradients(sides: Sides, pairs: Pairs, few: Path, weights: Weights, seed: int, *, lines: bool = True) -> Found:
    """Judge the gradients of both sides.

    Args:
        sides: both live, matched.
        pairs: of modules.
        few: file of a few rows.
        weights: to judge them on.
        seed: of cotangents and masks.
        lines: name the lines of the forward where the gradients part, where they do.
    """
    title = f"{sides.live[1].title} gradients"
    types = {key: layer for key, (layer, _) in pairs.described["torch"].items()}
    folder = sides.folder / f"gradients-{weights.kind}"
    try:
        backward = Backward(sides, pairs.keys, types, few, folder, weights.files, seed)
        hops, culprits, deviations = backward.judge(weights.label)
    except ModelRaised as error:
        culprit = Culprit(error.side, error.module, "raises", "backward", error.reason)
        return Found([_broken("gradients", title, weights, "divergent", str(error))], [culprit])
    except PortproofError as error:
        return Found([_broken("gradients", title, weights, "unavailable", str(error))])
    notes: list[str] = []
    if lines and any(hop.verdict == "divergent" and hop.worst is not None for hop in hops):
        culprits, notes = with_backward_lines(sides, pairs.keys, weights.files, few, seed, culprits)
    return Found(hops, culprits, notes, deviations)


def alone_in_dropping(pairs: Pairs) -> list[str]:
    """Say which dropout has no partner that could drop the same."""
    alone = [path for path in pairs.unseen if "(Dropout" in path]
    if not alone:
        return []
    more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
    return [f"{alone[0]}{more} has no partner, so its mask is not the other side's: pair it in taps"]


def judge_training(
    sides: Sides, pairs: Pairs, inputs: Path, weights: Weights, steps: int, settings: Mapping[str, Any], seed: int
) -> Found:
    """Judge trainings of both sides, step by step: in float64, then in float32.

    Args:
        sides: both live, matched.
        pairs: of modules.
        inputs: file of rows, on which starting weights are normalised.
        weights: to begin with, where they are given.
        steps: how many.
        settings: of the port's training.
        seed: of batches and masks.

    Raises:
        BadInput: the port's training refuses the settings.
    """
    if weights.kind != "given":
        weights = Weights("normalised", "normalised", normalised_weights(sides, inputs, seed))
    found = Found()
    trajectories = Trajectories(sides, pairs.keys, weights.files, sides.folder / "trajectory")
    for precision in ("float64", "float32"):
        options = TrajectoryOptions(steps=steps, precision=precision, settings=settings, seed=seed)
        try:
            trajectory = trajectories.compare(options)
        except ModelRaised as error:
            title = f"{Side(error.side).title} training"
            found.hops.append(_broken("training", title, weights, "divergent", str(error)))
            found.culprits.append(Culprit(error.side, error.module, "raises", "backward", error.reason))
            return found
        except Unavailable as error:
            title = f"{sides.live[1].title} training"
            found.hops.append(_broken("training", title, weights, "unavailable", str(error)))
            return found
        found.hops.append(trajectory.hop(sides, options, weights.label))
        found.culprits.extend(trajectory.culprits())
        found.deviations.extend(trajectory.deviations)
        if trajectory.parting is not None or trajectory.blind is not None:
            break
    return found


def normalised_weights(sides: Sides, inputs: Path, seed: int) -> dict[str, Path]:
    """Return weights to begin a training with; sensitised ones have outputs too loud to learn from."""
    lead, out = sides.live[0], sides.folder / "normalised.safetensors"
    sides.do(lead, "normalising weights", TrainingTasks.normalise, inputs=inputs, out=out, seed=seed).result()
    return sides.spread(load_file(out), lead)


def _broken(kind: str, title: str, weights: Weights, verdict: Verdict, reason: str) -> Hop:
    return Hop(kind, "the other side", title, "float64", weights.label, verdict, None, reason)
