"""Other ways to run the torch side: memory layout, lower precision, tracing, compiling, CUDA graphs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import torch

from portproof._errors import BadInput, Unavailable
from portproof._numbers import Array
from portproof.frameworks._model import Model
from portproof.runners import RunnerJob
from portproof.runners._eager import Eager


class ChannelsLast(Eager):
    """Weights and images in channels-last order, which oneDNN and cuDNN compute in without reordering."""

    layout = torch.channels_last

    def __enter__(self) -> Self:
        super().__enter__()
        self.model.root.to(memory_format=self.layout)
        return self

    def arguments(self, inputs: Mapping[str, Array]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().arguments(inputs)
        ordered = [self._ordered(value) for value in args]
        return tuple(ordered), {name: self._ordered(value) for name, value in kwargs.items()}

    def _ordered(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim == 4:
            return value.contiguous(memory_format=self.layout)
        return value

    def evidence(self) -> dict[str, Any]:
        # A kernel of one pixel is in both orders at once and shows nothing.
        kernels = [p for p in self.model.root.parameters() if p.ndim == 4 and p.shape[2] * p.shape[3] > 1]
        ordered = all(p.is_contiguous(memory_format=self.layout) for p in kernels)
        layout = ("channels_last" if ordered else "channels_first") if kernels else None
        return {**super().evidence(), "layout": layout}


class Tf32(Eager):
    """float32 whose products a GPU's tensor cores round to ten bits: asked for by name, off everywhere else."""

    def __init__(self, job: RunnerJob) -> None:
        if job.device != "cuda":
            raise Unavailable("TF32 is of NVIDIA's tensor cores: use --device cuda")
        super().__init__(replace(job, precision="float32"))

    def __enter__(self) -> Self:
        super().__enter__()
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        return self

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        super().__exit__()

    def callable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        return lambda: self.model.root(*args, **kwargs)


class Jit(Eager):
    """Traced, frozen, and fused by oneDNN: TorchScript's way to deploy on a CPU."""

    def __enter__(self) -> Self:
        super().__enter__()
        if self.job.device != "cpu":
            raise Unavailable("torch-jit fuses with oneDNN, which is for CPUs; use torch-compile on a GPU")
        self._traced: Any = None
        return self

    def callable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        if self._traced is None:
            if kwargs:
                raise Unavailable("torch.jit.trace takes inputs by position; this port hands them over by name")
            torch.jit.enable_onednn_fusion(True)
            self._traced = torch.jit.freeze(torch.jit.trace(self.model.root, args, check_trace=False))
        return lambda: self._traced(*args)


class Compile(Eager):
    """``torch.compile``, with weights frozen into the code on a CPU and CUDA graphs on a GPU where asked for.

    ``autotune=on`` also times kernels against each other while it compiles: minutes for each shape of a convolutional
    network, where capturing graphs alone costs no more than compiling.
    """

    def __enter__(self) -> Self:
        super().__enter__()
        if self.job.device == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
            raise Unavailable("torch.compile needs a C++ compiler, and none is on the path: install g++")
        if self.job.cache is not None:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self.job.cache)
        import torch._inductor.config as inductor

        inductor.freezing = self.job.device == "cpu"
        tuned = self.job.setting("autotune") == "on"
        graphs = self.job.setting("cuda_graphs") == "on"
        mode = "max-autotune" if tuned else "reduce-overhead" if graphs else "default"
        self._compiled = torch.compile(self.to_compile(), mode=mode)
        return self

    def to_compile(self) -> Any:
        """Return what is compiled."""
        return self.model.root

    def callable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        return lambda: self._compiled(*args, **kwargs)


class Int8(Compile):
    """A program that torch's own tools quantised, compiled: its products are oneDNN's."""

    def built(self) -> Model:
        if self.job.artefact is None:
            raise BadInput(f"runner '{self.job.side}-int8' needs a quantised program.")
        from portproof.frameworks._torch_int8 import load_program

        self._program = load_program(self.job.artefact)
        return Model(self.framework, self.job.port, lambda **_: torch.nn.Module(), "float32")

    def to_compile(self) -> Any:
        return self._program

    def evidence(self) -> dict[str, Any]:
        from torch._dynamo.utils import counters

        from portproof.frameworks._torch_int8 import products_of

        found = counters["inductor"]
        packed = sum(found[f"q{kind}_weight_prepack_matcher_count"] for kind in ("conv", "linear"))
        products = products_of(self._program)
        arithmetic = "int8" if packed >= products > 0 else f"int8 in {packed} of {products} products"
        return {**super().evidence(), "products": {"int8": packed}, "arithmetic": arithmetic}


class CudaGraph(Eager):
    """One forward captured as a CUDA graph and replayed: no launch costs. It runs one shape, on a GPU."""

    def __enter__(self) -> Self:
        if self.job.device != "cuda":
            raise Unavailable("CUDA graphs need a GPU: use --device cuda")
        self._captured: dict[Any, Any] = {}
        return super().__enter__()

    def callable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        values = [*args, *kwargs.values()]
        if not all(isinstance(value, torch.Tensor) for value in values):
            raise Unavailable("a CUDA graph is captured over tensors; this port hands over a dictionary of them")
        shapes = tuple(value.shape for value in values)
        if shapes not in self._captured:
            self._captured[shapes] = self._capture([value.clone() for value in values], list(kwargs))
        graph, places, held = self._captured[shapes]

        def replay() -> Any:
            for place, value in zip(places, values, strict=True):
                place.copy_(value)
            graph.replay()
            return held

        return replay

    def _capture(
        self, places: list[torch.Tensor], names: list[str]
    ) -> tuple[torch.cuda.CUDAGraph, list[torch.Tensor], Any]:
        """Warm up on a stream of its own, as torch.cuda.graph's notes ask for, then capture.

        ``names``: of the last places, which are handed over by keyword.
        """
        count = len(places) - len(names)
        args, kwargs = places[:count], dict(zip(names, places[count:], strict=True))
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.model.root(*args, **kwargs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            held = self.model.root(*args, **kwargs)
        return graph, places, held
