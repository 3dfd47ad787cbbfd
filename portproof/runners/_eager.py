"""The framework itself: torch eager, Paddle dygraph; and what their other runners share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from portproof._numbers import Array
from portproof.frameworks import load_framework
from portproof.frameworks._model import Model
from portproof.frameworks._tree import name_outputs
from portproof.ports._locate import resolve_factory
from portproof.runners import RunnerJob


class Eager:
    """Calls the side's model as a user would.

    Other ways to run the same model override :meth:`arguments` (what it is called with) or :meth:`callable` (how).
    """

    model: Model

    def __init__(self, job: RunnerJob) -> None:
        self.job = job
        self.framework = load_framework(job.side)

    def __enter__(self) -> Self:
        job = self.job
        self.framework.use_device(job.device)
        self.framework.set_threads(job.threads)
        self.model = self.built()
        return self

    def built(self) -> Model:
        """Build what is run, with its weights."""
        job = self.job
        factory = resolve_factory(job.port, job.side)
        model = Model(self.framework, job.port, factory, job.precision, job.module, job.hollow)
        if job.weights is not None:
            from safetensors.numpy import load_file

            model.load(load_file(job.weights))
        return model

    def __exit__(self, *_: object) -> None:
        del self.model

    def arguments(self, inputs: Mapping[str, Array]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the model is called with, on its device."""
        return self.model.arguments(inputs)

    def callable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        """Return one call of the model on these arguments."""
        return lambda: self.model.root(*args, **kwargs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if type(self).callable is Eager.callable and type(self).arguments is Eager.arguments:
            with self.framework.sooner():
                return self.model.run(inputs)  # the plain way, which also says where a model raised
        with self.framework.inference():
            result = self.callable(*self.arguments(inputs))()
        named = name_outputs(result, tuple(self.job.port.outputs), self.framework.is_tensor)
        return self.model.arrays(named)

    def enqueue(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return one call on inputs that are on the device already; on a GPU it may return before it is finished."""
        with self.framework.inference():
            call = self.callable(*self.arguments(inputs))

        def enqueued() -> None:
            with self.framework.inference():
                call()

        return enqueued

    def bind(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return one call on inputs that are on the device already, finished when it returns."""
        enqueued = self.enqueue(inputs)

        def bound() -> None:
            enqueued()
            self.framework.synchronise()

        return bound

    def evidence(self) -> dict[str, Any]:
        return {"versions": self.framework.versions(), "threads": self.job.threads, "device": self.job.device}
