"""A saved Paddle program: ``inference.json`` beside ``inference.pdiparams``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from portproof._errors import BadInput, one_line
from portproof._tree import name_outputs
from portproof.frameworks import load_framework
from portproof.runners import RunnerJob


class PaddleProgram:
    """Runs a program that ``paddle.jit.save`` wrote, without the code that it was traced from."""

    layer: Any

    def __init__(self, job: RunnerJob) -> None:
        if job.artefact is None:
            raise BadInput("a Paddle program is run from a file; this job names none.")
        self.job = job
        self.framework = load_framework("paddle")

    def __enter__(self) -> Self:
        import paddle

        self.framework.use_device(self.job.device)
        self.framework.set_threads(self.job.threads)
        path = Path(self.job.artefact or "")
        if not path.with_suffix(".pdiparams").is_file():
            raise BadInput(f"'{path.with_suffix('.pdiparams')}' is missing beside '{path.name}'.")
        try:
            self.layer = paddle.jit.load(str(path.with_suffix("")))
        except Exception as error:  # the loader raises whatever the damaged part of the file trips over
            raise BadInput(f"'{path}' is no Paddle program ({one_line(error, 120)}).") from error
        self.layer.eval()
        return self

    def __exit__(self, *_: object) -> None:
        del self.layer

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        tensors = [self.framework.to_tensor(array) for array in inputs.values()]
        with self.framework.no_grad():
            result = self.layer(*tensors)
        named = name_outputs(result, tuple(self.job.port.outputs), self.framework.is_tensor)
        return {name: self.framework.to_array(tensor) for name, tensor in named.items()}

    def evidence(self) -> dict[str, Any]:
        return {"versions": self.framework.versions(), "threads": self.job.threads, "device": self.job.device}
