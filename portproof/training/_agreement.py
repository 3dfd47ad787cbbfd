"""Who agrees on the test images: both sides and both exports, with the weights that each side trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof.ports._port import Side
from portproof.sides._process import Session
from portproof.sides._tasks import Tasks
from portproof.training._opened import Opened
from portproof.training._tasks import TrainingTasks
from portproof.training._trained import TrainAgreement


def agreements(opened: Opened, sides: Sequence[Side]) -> tuple[TrainAgreement, ...]:
    """Ask every side and both exports what they see in the test images with each side's trained weights.

    Args:
        opened: of the training.
        sides: those that were trained; their weights lie at :func:`trained_weights`.

    Raises:
        Unavailable: a package is missing, or an export fails.
    """
    if len(opened.port.sides) < 2:
        return ()
    opened.match()
    opened.look(opened.port.sides)
    runtime = opened.sessions.open("runtime")
    runtime.call(TrainingTasks.look, data=opened.options.data, seed=opened.options.seed)
    labels = np.array(opened.sides[sides[0]].call(TrainingTasks.labels))
    found: list[TrainAgreement] = []
    for trained in sides:
        opposite = trained.other
        raw = load_file(trained_weights(opened, trained))
        files = {trained: raw, opposite: opened.carried(raw, opposite)}
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(_say, [opened] * 2, files, files.values(), [runtime] * 2))
        truth = said[0][trained.title]
        for runner, says in {**said[0], **said[1]}.items():
            differing = {name: int(np.count_nonzero(says[name] != truth[name])) for name in truth}
            accuracy = {name: float(np.mean(says[name] == labels)) for name in truth}
            found.append(TrainAgreement(trained, runner, len(labels), differing, accuracy))
    return tuple(found)


def trained_weights(opened: Opened, side: str) -> Path:
    """Return the file of a side's trained weights, in its own names and layouts."""
    return opened.folder / f"trained-{side}.safetensors"


def _say(opened: Opened, side: Side, tensors: Mapping[str, Any], runtime: Session) -> dict[str, dict[str, Any]]:
    """Return what a side and its export say of the test images with some weights."""
    weights, artefact = opened.folder / f"agree-{side}.safetensors", opened.folder / f"agree-{side}.onnx"
    says = [opened.folder / f"says-{side}-{i}.safetensors" for i in range(2)]
    save_arrays(weights, dict(tensors))
    opened.progress.doing(side, "seeing the test images")
    opened.sides[side].call(TrainingTasks.predict, runner=side.eager, out=says[0], weights=weights)
    opened.progress.doing(side, "exporting to ONNX")
    _export(opened, side, weights, artefact)
    runtime.call(TrainingTasks.predict, runner=f"onnxruntime-{side}", out=says[1], artefact=artefact)
    return {side.title: load_file(says[0]), f"{side.title} export, ONNX Runtime": load_file(says[1])}


def _export(opened: Opened, side: str, weights: Path, artefact: Path) -> None:
    session = opened.sides[side]
    examples = opened.folder / f"examples-{side}.safetensors"
    session.call(TrainingTasks.examples, out=examples, count=2)
    session.call(Tasks.load, weights=weights)
    session.call(Tasks.export, inputs=examples, out=artefact)
