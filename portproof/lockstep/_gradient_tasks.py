"""Gradients as tasks in a side's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._numbers import EPSILON
from portproof.lockstep._backward import CallStore, draw_cotangents, pull_modules, record_backward
from portproof.lockstep._deviations import paddles_backward
from portproof.sides._workplace import Workplace
from portproof.training._learner import Learner, ready_framework

Array = np.ndarray[Any, Any]


class GradientTasks:
    """Tasks on one side; see :class:`portproof.sides._workplace.Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._learners: dict[str, Learner] = {}

    def _learner(self, precision: str, keys: dict[str, str], weights: str, seed: int) -> Learner:
        if precision not in self._learners:
            framework = ready_framework(self.place.job)
            settings: dict[str, Any] | None = {} if self.place.job.side in self.place.job.port.training else None
            self._learners[precision] = Learner(
                framework, self.place.job.port, precision, settings, seed, "shared", keys
            )
        learner = self._learners[precision]
        learner.model.load(load_file(weights))  # anew: a pass in training mode changes running statistics
        return learner

    def forget(self) -> None:
        """Release the models."""
        self._learners.clear()

    def record_backward(self, keys: dict[str, str], inputs: str, folder: str, weights: str, seed: int) -> None:
        """Record values and cotangents at the boundary of every module."""
        Path(folder).mkdir()
        learner = self._learner("float64", keys, weights, seed)
        learner.own_seed = 0
        record_backward(learner, keys, load_file(inputs), seed, CallStore(Path(folder)))

    def pull_modules(
        self, keys: dict[str, str], inputs: str, folder: str, out: str, precision: str, weights: str, seed: int,
        nudged: bool,
    ) -> list[str]:  # fmt: skip
        """Pull every module back by itself and write the products."""
        Path(out).mkdir()
        learner = self._learner(precision, keys, weights, seed)
        learner.own_seed = int(nudged)
        return pull_modules(learner, keys, load_file(inputs), CallStore(Path(folder)), CallStore(Path(out)), nudged)

    def gradients(
        self, keys: dict[str, str], inputs: str, out: str, perturbed: int, weights: str, seed: int
    ) -> list[Any]:
        """Write the gradients of each output, and of the loss, in every parameter and floating input: ``HEAD|NAME``.

        ``perturbed``: above 0, add about one unit in the last place to every parameter first, and to what is pulled
        back, seeded by this number, and hand the rows over in reverse, so that sums are added in another order. The
        inputs stay: where two values are equal, a max-pool would hand the gradient to
        another.

        Returns:
            The layers whose backward pass was set right: path, type, and how far off they are.
        """
        learner = self._learner("float64", keys, weights, seed)
        rows = load_file(inputs)
        learner.own_seed, learner.reversed = perturbed, bool(perturbed)
        batched = {name for name, declared in self.place.job.port.inputs.items() if declared.has_rows}
        if perturbed:
            nudge(learner, perturbed)
            rows = {name: a[::-1].copy() if name in batched else a for name, a in rows.items()}
        learning, framework = learner.learning, learner.framework
        with learner.in_training(), paddles_backward(learner) as righted:
            outputs = learner.forward(rows)
            heads: dict[str, tuple[list[Any], list[Any]]] = {}
            cotangents = draw_cotangents(outputs, learner.model, seed, perturbed, self.place.job.port.batch_axes)
            for name, tensor in outputs.items():
                if learning.is_open(tensor):
                    heads[name] = [tensor], [cotangents[name]]
            losses = getattr(getattr(learner, "training", None), "losses", None)
            if losses is not None:
                labels = draw_labels(outputs, seed)
                labels = labels[::-1].copy() if perturbed else labels
                loss = losses(tuple(outputs.values()), framework.to_tensor(labels))["loss"]
                one = np.ones(tuple(loss.shape))
                heads["loss"] = [loss], [framework.to_tensor(one, learner.model.precision)]
        wanted = dict(learning.parameters(learner.model.root))
        wanted |= {f"input:{name}": tensor for name, tensor in learner.inputs.items() if learning.is_open(tensor)}
        found: dict[str, Array] = {}
        for head, (tensors, pulled) in heads.items():
            for name, gradient in zip(wanted, learning.pull_back(tensors, pulled, list(wanted.values())), strict=True):
                shape = tuple(wanted[name].shape)
                array = np.zeros(shape) if gradient is None else framework.to_array(gradient)
                turned = perturbed and name.removeprefix("input:") in batched and name.startswith("input:")
                found[f"{head}|{name}"] = array[::-1].copy() if turned else array
        learner.reversed = False
        save_arrays(Path(out), found)
        return righted


def draw_labels(outputs: dict[str, Any], seed: int) -> Array:
    """Draw a class for each row, below the width of the first output."""
    rows, width = tuple(next(iter(outputs.values())).shape)[:2]
    return np.asarray(np.random.default_rng([seed, 99]).integers(0, width, rows))


def nudge(learner: Learner, number: int) -> None:
    """Multiply every parameter by 1 + u epsilon, u uniform in ±1."""
    framework, epsilon = learner.framework, EPSILON[learner.model.precision]
    for place, tensor in enumerate(learner.learning.parameters(learner.model.root).values()):
        array = framework.to_array(tensor)
        rng = np.random.default_rng([number, learner.steps, place])
        framework.write(tensor, array * (1 + epsilon * rng.uniform(-1, 1, array.shape)))
