"""ONNX's own reference evaluator as a runner: slow, and nobody's optimiser in the way."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from portproof.runners import RunnerInfo, RunnerJob

RUNNER = RunnerInfo(
    "onnx-reference",
    side="torch",
    title="ONNX reference evaluator",
    path="portproof_onnx_reference:Reference",
    needs=("onnx",),
    process="runtime",
    artefact="onnx",
    devices=("cpu",),
)


class Reference:
    """Runs the torch export in NumPy."""

    def __init__(self, job: RunnerJob) -> None:
        self.job = job

    def __enter__(self) -> Self:
        from onnx.reference import ReferenceEvaluator

        self.evaluator = ReferenceEvaluator(str(self.job.artefact))
        return self

    def __exit__(self, *_: object) -> None:
        del self.evaluator

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Map input arrays, rows first, to output arrays by name."""
        names = list(self.job.port.outputs)
        return dict(zip(names, self.evaluator.run(names, dict(inputs)), strict=True))

    def evidence(self) -> dict[str, Any]:
        """Say what ran: NumPy takes as many threads as its BLAS was told to."""
        return {"versions": {"numpy": np.__version__}, "device": "cpu"}
