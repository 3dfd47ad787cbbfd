"""The framework itself: torch eager, Paddle dygraph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from portproof._model import Model
from portproof._resolve import resolve_factory
from portproof.frameworks import load_framework
from portproof.runners import RunnerJob


class Eager:
    """Calls the side's model as a user would, in float32 or float64."""

    model: Model

    def __init__(self, job: RunnerJob) -> None:
        self.job = job
        self.framework = load_framework(job.side)

    def __enter__(self) -> Self:
        job = self.job
        self.framework.use_device(job.device)
        self.framework.set_threads(job.threads)
        factory = resolve_factory(job.port, job.side)
        self.model = Model(self.framework, job.port, factory, job.precision, job.module, job.hollow)
        if job.weights is not None:
            from safetensors.numpy import load_file

            self.model.load(load_file(job.weights))
        return self

    def __exit__(self, *_: object) -> None:
        del self.model

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        return self.model.run(inputs)

    def evidence(self) -> dict[str, Any]:
        return {"versions": self.framework.versions(), "threads": self.job.threads, "device": self.job.device}
