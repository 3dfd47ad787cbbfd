"""One side in training: a model, the port's own training of it, and all that chance decides, drawn from a seed."""

from __future__ import annotations

import contextlib
import inspect
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._errors import BadInput, ModelRaised, one_line, require_kernel, require_memory
from portproof._numbers import Array
from portproof.frameworks import Framework, load_framework
from portproof.frameworks._layers import is_whole
from portproof.frameworks._model import Model, whole_layers, wrapped_forwards
from portproof.frameworks._tree import leaves, name_outputs, rebuild
from portproof.ports._locate import resolve_callable, resolve_factory
from portproof.ports._port import Port
from portproof.runners import RunnerJob
from portproof.training._batches import DROPOUT
from portproof.training._learning import load_learning

#: How a dropout in training chooses: by masks that both sides share, as the framework does it, or not at all.
DROPOUTS = ("shared", "own", "off")
_LAYERS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d")


class Learner:
    """A model in training on one side.

    Args:
        framework: the side's.
        port: with a training on this side.
        precision: ``"float64"`` or ``"float32"``.
        settings: keyword arguments of the port's training; None: it is not trained, only its gradients are asked for.
        seed: of dropout masks, and of the framework's own random numbers, at every step anew.
        dropout: one of ``DROPOUTS``.
        keys: module path on this side to the name that both sides share; default: the path.
        weights: file of a state dict to begin with.

    Attributes:
        steps: how many steps it has made.
        inputs: of the last :meth:`forward`, the framework's own tensors by name.
        own_seed: of the framework's own random numbers, beside ``seed``. Runs that differ in it alone differ in what is
            drawn at random outside of the layers that share their masks.
        reversed: whether the rows come in reverse, and with them the masks.

    Raises:
        BadInput: the port has no training on this side, or it refuses the settings.
    """

    def __init__(
        self,
        framework: Framework,
        port: Port,
        precision: str,
        settings: Mapping[str, Any] | None,
        seed: int = 0,
        dropout: str = "shared",
        keys: Mapping[str, str] | None = None,
        weights: Path | None = None,
    ) -> None:
        self.framework, self.port, self.seed, self.dropout, self.keys = framework, port, seed, dropout, keys or {}
        self.side = framework.side
        self.learning = load_learning(framework)
        self.model = Model(framework, port, resolve_factory(port, self.side), precision)
        if weights is not None:
            self.model.load(load_file(weights))
        self.steps = 0
        self.own_seed = 0
        self.reversed = False
        self.inputs: dict[str, Any] = {}
        if settings is None:
            return
        factory = training_of(port, self.side)
        accepted = settings_of(factory)
        odd = next((name for name in settings if name not in accepted), None)
        if odd is not None:
            raise BadInput(
                f"the training of port '{port.name}' has no setting '{odd}'; it takes {', '.join(accepted)}."
            )
        try:
            self.training = factory(self.model.root, **settings)
        except Exception as error:
            require_memory(error)
            raise BadInput(f"{self.side} training of port '{port.name}' raised {one_line(error)}") from error
        for part in ("optimizer", "step"):
            if not hasattr(self.training, part):
                raise BadInput(f"{self.side} training of port '{port.name}' has no '{part}'; see docs/training.md.")

    def step(self, inputs: Mapping[str, Array], labels: Array) -> tuple[dict[str, float], dict[str, Any]]:
        """Make one step.

        Args:
            inputs: name to rows.
            labels: ``(N,)`` int64.

        Returns:
            The losses, ``"loss"`` being the one that is minimised, and the model's own outputs by name.

        Raises:
            ModelRaised: the step raised.
        """
        self._seed_framework()
        args, kwargs = self.model.arguments(inputs)
        outputs: dict[str, Any] = {}
        try:
            with self._as_trained(), self._outputs_into(outputs):
                losses = self.training.step(*args, self.framework.to_tensor(labels), **kwargs)
        except Exception as error:
            require_memory(error)
            require_kernel(error, self.side, self.model.precision)
            raise ModelRaised(self.side, "", f"in a training step: {one_line(error)}") from error
        self.steps += 1
        return {name: float(self.framework.to_array(value)) for name, value in losses.items()}, outputs

    @contextlib.contextmanager
    def in_training(self) -> Iterator[None]:
        """Run the model as a training step does, for the time of the block."""
        self._seed_framework()
        self.model.root.train()
        try:
            with self._as_trained():
                yield
        finally:
            self.model.root.eval()

    def forward(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Run the model with gradients, of its inputs too; returns its tensors by output name, complex ones in pairs.

        Raises:
            ModelRaised: it raised.
        """
        args, kwargs = self.model.arguments(inputs)
        floats = {name for name, array in inputs.items() if array.dtype.kind == "f"}
        self.inputs = dict(zip(self.port.inputs, leaves((args, kwargs), self.framework.is_tensor), strict=True))
        self.inputs = {n: self.learning.watched(t) if n in floats else t for n, t in self.inputs.items()}
        args, kwargs = rebuild((args, kwargs), self.framework.is_tensor, iter(self.inputs.values()))
        try:
            result = name_outputs(self.model.root(*args, **kwargs), tuple(self.port.outputs), self.framework.is_tensor)
            return {name: self.framework.in_pairs(tensor) for name, tensor in result.items()}
        except Exception as error:
            require_memory(error)
            require_kernel(error, self.side, self.model.precision)
            raise ModelRaised(self.side, "", f"in training mode: {one_line(error)}") from error

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model in evaluation mode."""
        self.model.root.eval()
        return self.model.run(inputs)

    @contextlib.contextmanager
    def _outputs_into(self, outputs: dict[str, Any]) -> Iterator[None]:
        def wrap(_: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def forwarded(*args: Any, **kwargs: Any) -> Any:
                result = forward(*args, **kwargs)
                outputs.update(name_outputs(result, tuple(self.port.outputs), self.framework.is_tensor))
                return result

            return forwarded

        with wrapped_forwards([("", self.model.root)], wrap):
            yield

    def _seed_framework(self) -> None:
        self.learning.seed(zlib.crc32(f"{self.seed}:{self.own_seed}:{self.steps}".encode()))

    def _is_dropout(self, module: Any) -> bool:
        """Whether a module is a dropout of the framework, or one of somebody's own: so named, with a rate, no parts."""
        if self.framework.layer(module) in _LAYERS:
            return True
        named = "dropout" in type(module).__name__.lower() and self.framework.is_leaf(module)
        return named and isinstance(getattr(module, "p", None), float)

    @contextlib.contextmanager
    def _as_trained(self) -> Iterator[None]:
        """Run in training mode with nothing left to chance, for the time of the block."""
        precise = self.model.computing(lambda: "")
        with _quiet(), precise, self._shared_masks(), self._no_inner_dropout():
            yield

    @contextlib.contextmanager
    def _no_inner_dropout(self) -> Iterator[None]:
        """Set the dropout inside layers that are run in one piece to 0: its masks cannot be shared."""
        found = [] if self.dropout == "own" else inner_dropouts(self.model)
        before = [module.dropout for module in found]
        for module in found:
            module.dropout = 0.0
        try:
            yield
        finally:
            for module, rate in zip(found, before, strict=True):
                module.dropout = rate

    def _shared_masks(self) -> contextlib.AbstractContextManager[None]:
        if self.dropout == "own":
            return contextlib.nullcontext()
        found = [(path, m) for path, m in self.framework.modules(self.model.root) if self._is_dropout(m)]
        own, calls = dict(found), dict.fromkeys((path for path, _ in found), 0)

        def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            module = own[path]

            def masked(x: Any) -> Any:
                if not module.training or self.dropout == "off":
                    return x
                calls[path] += 1
                key = zlib.crc32(f"{self.keys.get(path, path)}#{calls[path]}".encode())
                rng = np.random.default_rng([DROPOUT, self.seed, self.steps, key])
                mask = dropout_mask(rng, tuple(x.shape), float(module.p), self.framework.layer(module))
                mask = mask[::-1].copy() if self.reversed else mask
                if getattr(module, "mode", "upscale_in_train") == "upscale_in_train":
                    mask /= 1 - float(module.p)
                return x * self.framework.to_tensor(mask, self.model.precision)

            return masked

        return wrapped_forwards(found, wrap)


def inner_dropouts(model: Model) -> list[Any]:
    """Return the layers that are run in one piece and drop inside it: attention, recurrent layers."""
    wholes = [module for _, module in whole_layers(model) if is_whole(model.framework.layer(module))]
    return [module for module in wholes if getattr(module, "dropout", 0.0)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves what the frameworks warn of because they are watched, or because they are as they are."""
    with warnings.catch_warnings():
        for message in ("Seems like `optimizer.step", "When training, we now always track"):
            warnings.filterwarnings("ignore", message=message)
        yield


def dropout_mask(rng: np.random.Generator, shape: tuple[int, ...], p: float, layer: str) -> Array:
    """Return ones where a dropout keeps and zeros where it drops, whole channels for the layers that drop these."""
    drawn = shape if layer not in _LAYERS[1:] else shape[:2] + (1,) * (len(shape) - 2)
    return np.asarray(np.broadcast_to(rng.random(drawn) >= p, shape), np.float64)


def training_of(port: Port, side: str) -> Callable[..., Any]:
    """Return a port's training on one side.

    Raises:
        BadInput: it has none, or its name leads nowhere.
    """
    require_declared(port, [side])
    return resolve_callable(port.training[side], f"{side} training of port '{port.name}'")


def require_declared(port: Port, sides: Iterable[str]) -> None:
    """Raise :class:`BadInput` where a port names no training for a side; nothing is imported to know that."""
    for side in sides:
        if side not in port.training:
            raise BadInput(
                f"port '{port.name}' has no training on the {side} side; add training={{'{side}': 'module:Training'}} "
                "to it, see docs/training.md."
            )


def ready_framework(job: RunnerJob) -> Framework:
    """Load the framework of a job's side, on its device and with its threads."""
    framework = load_framework(job.side)
    framework.use_device(job.device)
    framework.set_threads(job.threads)
    return framework


def with_steps(port: Port, side: str, settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return settings with the number of steps, where the training takes it and nobody said another."""
    takes = "steps" in settings_of(training_of(port, side))
    return {"steps": steps, **settings} if takes else dict(settings)


def require_training(port: Port) -> None:
    """Raise :class:`BadInput` where a side of a port has no training, before anything is run."""
    for side in port.sides:
        training_of(port, side)


def settings_of(factory: Callable[..., Any]) -> list[str]:
    """Return the keyword arguments that a training takes beside the model."""
    return list(inspect.signature(factory).parameters)[1:]
