"""Gradients and trajectories as tasks in a side's own process: a step at a time, all that it touched written out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._numbers import EPSILON, Array
from portproof.frameworks._model import wrapped_forwards
from portproof.frameworks._settings import read_settings
from portproof.frameworks._tree import leaves
from portproof.lockstep._backward import CallStore, draw_cotangents, pull_modules, record_backward
from portproof.lockstep._deviations import CAUSES, paddles_backward, paddles_optimiser, paddles_statistics
from portproof.lockstep._faults import TRAINING_FAULTS, plant
from portproof.lockstep._flows import Flows, record_flows
from portproof.runners import RunnerJob
from portproof.sides._roles import never_kept
from portproof.sides._workplace import Workplace
from portproof.training._learner import Learner, ready_framework, with_steps
from portproof.training._learning import SHAPED


@never_kept
class GradientTasks:
    """Tasks on one side; see :class:`portproof.sides._workplace.Workplace`."""

    spoken = "gradients."

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._learners: dict[str, Learner] = {}

    def _learner(self, precision: str, keys: dict[str, str], weights: Path, seed: int) -> Learner:
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

    def record_backward(self, keys: dict[str, str], inputs: Path, folder: Path, weights: Path, seed: int) -> None:
        """Record values and cotangents at the boundary of every module."""
        folder.mkdir()
        learner = self._learner("float64", keys, weights, seed)
        learner.own_seed = 0
        record_backward(learner, keys, load_file(inputs), seed, CallStore(folder))

    def pull_modules(
        self, keys: dict[str, str], inputs: Path, folder: Path, out: Path, precision: str, weights: Path, seed: int,
        nudged: bool,
    ) -> list[str]:  # fmt: skip
        """Pull every module back by itself and write the products."""
        out.mkdir()
        learner = self._learner(precision, keys, weights, seed)
        learner.own_seed = int(nudged)
        return pull_modules(learner, keys, load_file(inputs), CallStore(folder), CallStore(out), nudged)

    def record_flows(
        self, keys: dict[str, str], inputs: Path, folder: Path, weights: Path, seed: int, limit: int
    ) -> Flows:
        """Record a forward call by call, with the gradient of each tensor; see :func:`record_flows`."""
        return record_flows(self._learner("float64", keys, weights, seed), load_file(inputs), seed, folder, limit)

    def gradients(
        self, keys: dict[str, str], inputs: Path, out: Path, perturbed: int, weights: Path, seed: int
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
        save_arrays(out, found)
        return righted


@never_kept
class TrajectoryTasks:
    """Tasks on one side; several runs may go on at a time, each under a name of its own."""

    spoken = "trajectory."

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._runs: dict[str, _Run] = {}

    def begin(
        self, run: str, precision: str, weights: Path, settings: dict[str, Any], seed: int, dropout: str,
        keys: dict[str, str], steps: int, perturbed: int = 0, known: Sequence[str] = tuple(CAUSES),
        faults: Sequence[str] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Build a run; see :class:`_Run`. Returns the optimiser's settings, and how wide the first output is."""
        self._runs.pop(run, None)
        self._runs[run] = _Run(
            self.place.job, precision, weights, settings, seed, dropout, keys, steps, perturbed, known, faults
        )  # fmt: skip
        return self._runs[run].describe()

    def faults(self, run: str) -> list[str]:
        """Name the kinds of fault that can be planted in a run."""
        return [kind.name for kind in TRAINING_FAULTS if kind.applies(self._runs[run].learner)]

    def step(self, run: str, inputs: Path, out: Path) -> dict[str, Any]:
        """Make a step of a run on a file of inputs and ``labels``, and write what it touched."""
        arrays = load_file(inputs)
        labels = arrays.pop("labels")
        found, said = self._runs[run].step(arrays, labels)
        save_arrays(out, found)
        return said

    def end(self, run: str) -> None:
        """Forget a run."""
        self._runs.pop(run, None)


class _Run:
    """One training whose every step can be read.

    Args:
        job: port, side, device, threads.
        precision: ``"float64"`` or ``"float32"``.
        weights: file to begin with.
        settings: of the port's training.
        seed: of dropout masks.
        dropout: ``"shared"`` or ``"off"``.
        keys: module path to the key that both sides share.
        steps: how many there will be, for the schedule.
        perturbed: above 0, about a unit in the last place is added to every parameter before each step, seeded by
            this, and to the optimiser's settings once.
        known: on the torch side, which of ``CAUSES`` to take into account.
        faults: kinds to plant.
    """

    def __init__(
        self, job: RunnerJob, precision: str, weights: Path, settings: dict[str, Any], seed: int, dropout: str,
        keys: dict[str, str], steps: int, perturbed: int, known: Sequence[str], faults: Sequence[str],
    ) -> None:  # fmt: skip
        settings = with_steps(job.port, job.side, settings, steps)
        self.learner = Learner(ready_framework(job), job.port, precision, settings, seed, dropout, keys, weights)
        self.perturbed = perturbed
        self.known = known if job.side == "torch" and len(job.port.sides) == 2 else ()
        if "optimiser" in self.known:
            paddles_optimiser(self.learner)
        self.learner.own_seed = perturbed
        if perturbed:
            self.learner.learning.nudge_settings(self.learner.training.optimizer, EPSILON[precision])
        for kind in faults:
            plant(self.learner, kind)

    def describe(self) -> dict[str, Any]:
        learner = self.learner
        rows = {n: np.zeros(d.concrete(1), "float32" if d.is_float else d.dtype) for n, d in self._inputs()}
        width = int(next(iter(learner.predict(rows).values())).shape[1])
        return {"settings": learner.learning.settings(learner.training.optimizer), "width": width}

    def _inputs(self) -> list[tuple[str, Any]]:
        return list(self.learner.port.inputs.items())

    def step(self, inputs: dict[str, Array], labels: Array) -> tuple[dict[str, Array], dict[str, Any]]:
        learner, learning, framework = self.learner, self.learner.learning, self.learner.framework
        training = learner.training
        parameters = dict(learning.parameters(learner.model.root))
        if self.perturbed:
            nudge(learner, self.perturbed)
        found: dict[str, Array] = {}
        said: dict[str, Any] = {"learning_rate": learning.learning_rate(training.optimizer), "without_gradient": []}
        stepped = training.optimizer.step

        def watched_step(*args: Any, **kwargs: Any) -> Any:
            for name, gradient in learning.updated_by(training.optimizer, parameters).items():
                if gradient is None:
                    said["without_gradient"].append(name)
                found[f"gradient|{name}"] = (
                    np.zeros(tuple(parameters[name].shape)) if gradient is None else framework.to_array(gradient)
                )
            return stepped(*args, **kwargs)

        training.optimizer.step = watched_step
        try:
            with self._known(), self._outputs_kept():
                losses, outputs = learner.step(inputs, labels)
        finally:
            training.optimizer.step = stepped
        said["evaluating"] = [path for path, module in framework.modules(learner.model.root) if not module.training]
        said["module_settings"] = {
            learner.keys.get(path, path): read_settings(learner.side, framework.layer(module), module)
            for path, module in framework.modules(learner.model.root)
            if framework.layer(module).startswith(("Dropout", "BatchNorm"))
        }
        found |= {f"loss|{name}": np.array([value]) for name, value in losses.items()}
        for name, tensor in outputs.items():
            found[f"output|{name}"] = framework.to_array(tensor)
            gradient = learning.gradient(tensor)
            if gradient is not None:
                found[f"pulled|{name}"] = framework.to_array(gradient)
        for name, kept in learning.slots(training.optimizer, learner.model.root).items():
            found |= {f"{slot}|{name}": framework.to_array(t) for slot, t in kept.items() if slot in SHAPED}
        for name, array in learner.model.state().items():
            if name in parameters:
                found[f"weight|{name}"] = array
            elif array.dtype.kind == "f":
                found[f"buffer|{name}"] = array
        return found, said

    @contextlib.contextmanager
    def _known(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if "backward" in self.known:
                stack.enter_context(paddles_backward(self.learner))
            if "statistics" in self.known:
                stack.enter_context(paddles_statistics(self.learner))
            yield

    def _outputs_kept(self) -> contextlib.AbstractContextManager[None]:
        """Keep the gradients at the model's outputs."""
        learner = self.learner

        def wrap(_: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def forwarded(*args: Any, **kwargs: Any) -> Any:
                result = forward(*args, **kwargs)
                for tensor in leaves(result, learner.framework.is_tensor):
                    if learner.learning.is_open(tensor):
                        learner.learning.keep_gradient(tensor)
                return result

            return forwarded

        return wrapped_forwards([("", learner.model.root)], wrap)


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
