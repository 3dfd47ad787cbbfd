"""Runners with one thing wrong: what the proofs of a benchmark have to refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from portproof.runners import RunnerInfo
from portproof.runners._eager import Eager
from portproof.runners._torch import CudaGraph

Arrays = Mapping[str, np.ndarray[Any, Any]]


class Tf32(Eager):
    """Full float32 is asked for, and the model's own code switches TF32 on, as many training scripts do."""

    def __enter__(self) -> Self:
        super().__enter__()
        switch_tf32_on()
        return self


def switch_tf32_on() -> None:
    """Let convolutions and products of this process round their operands to ten bits."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


class Unsynchronised(CudaGraph):
    """A call returns when its work is queued, not when it is done."""

    def bind(self, inputs: Arrays) -> Callable[[], None]:
        return self.enqueue(inputs)


class Deferred(Eager):
    """The same on a CPU: the work goes to a thread, and a call returns at once."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._worker = ThreadPoolExecutor(1)
        self._last: Future[Any] = self._worker.submit(lambda: None)
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.shutdown()
        super().__exit__(*error)

    def bind(self, inputs: Arrays) -> Callable[[], None]:
        call = self.enqueue(inputs)

        def deferred() -> None:
            self._last = self._worker.submit(call)

        return deferred

    def synchronise(self) -> None:
        """Wait for what was handed over."""
        self._last.result()


def planted(kind: type) -> RunnerInfo:
    """Return the entry of a runner that is not registered."""
    path = f"{kind.__module__}:{kind.__name__}"
    return RunnerInfo(kind.__name__.lower(), "torch", kind.__name__, path, ("torch",), "torch")
