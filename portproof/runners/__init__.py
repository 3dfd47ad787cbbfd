"""Runners: each is one way to execute a side. Parity and benchmarks use the very same ones.

A runner of somebody else's is a class like those here, named by an entry point of the group ``portproof.runners``
whose value is a :class:`RunnerInfo`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from portproof._errors import BadInput
from portproof._port import Port

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RunnerJob:
    """What a runner is asked to run.

    Attributes:
        port: the port.
        side: the side that it executes, or that exported the artefact.
        precision: ``"float64"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        weights: state dict of the side as safetensors; None keeps the factory's own.
        artefact: the exported file, for runners of files.
        module: path of the part of the model that is judged, "" for all of it.
        device: ``"cpu"`` or ``"cuda"``.
        threads: compute threads.
        optimise: for runners of graphs, whether the runtime may rewrite the graph.
        hollow: build the model without its parameters, for ``portproof._stream``.
    """

    port: Port
    side: str
    precision: str = "float32"
    weights: Path | None = None
    artefact: Path | None = None
    module: str = ""
    device: str = "cpu"
    threads: int = 1
    optimise: bool = True
    hollow: bool = False


class Runner(Protocol):
    """Built on entry, released on exit."""

    def __init__(self, job: RunnerJob) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Map input arrays, rows first, to output arrays by name."""

    def evidence(self) -> dict[str, Any]:
        """Say what really ran: versions, providers, threads, device."""


@dataclass(frozen=True)
class RunnerInfo:
    """A runner's name and where it lives.

    Attributes:
        name: on the command line.
        side: the side that it executes, or whose export it runs.
        title: in tables.
        path: ``module:Class`` of the runner.
        needs: packages that must be importable in its process.
        process: the interpreter that it runs in: a side's own, or ``"runtime"`` for the parent's.
        artefact: ``"model"`` where it runs the framework's model, ``"onnx"`` where it runs the export, ``"program"``
            where it runs a saved Paddle program.
        precisions: what it can run.
    """

    name: str
    side: str
    title: str
    path: str
    needs: tuple[str, ...]
    process: str
    artefact: str = "model"
    precisions: tuple[str, ...] = ("float32",)

    def load(self) -> type[Runner]:
        """Import the runner's class."""
        module, _, name = self.path.partition(":")
        runner: type[Runner] = getattr(importlib.import_module(module), name)
        return runner


_OWN = (
    RunnerInfo(
        "torch-eager", "torch", "torch eager", "portproof.runners._eager:Eager",
        needs=("torch",), process="torch", precisions=("float64", "float32"),
    ),
    RunnerInfo(
        "paddle-dygraph", "paddle", "Paddle dygraph", "portproof.runners._eager:Eager",
        needs=("paddle",), process="paddle", precisions=("float64", "float32"),
    ),
    RunnerInfo(
        "onnxruntime-torch", "torch", "ONNX Runtime, torch export", "portproof.runners._onnxruntime:OnnxRuntime",
        needs=("onnxruntime",), process="runtime", artefact="onnx",
    ),
    RunnerInfo(
        "onnxruntime-paddle", "paddle", "ONNX Runtime, Paddle export", "portproof.runners._onnxruntime:OnnxRuntime",
        needs=("onnxruntime",), process="runtime", artefact="onnx",
    ),
    RunnerInfo(
        "paddle-program", "paddle", "Paddle program", "portproof.runners._paddle_program:PaddleProgram",
        needs=("paddle",), process="paddle", artefact="program",
    ),
)  # fmt: skip


def runners() -> dict[str, RunnerInfo]:
    """Return every runner by name: portproof's and those of installed packages.

    Raises:
        BadInput: two packages register one name.
    """
    from importlib.metadata import entry_points

    table = {info.name: info for info in _OWN}
    for point in entry_points(group="portproof.runners"):
        info = point.load()
        if info.name in table:
            raise BadInput(f"runner '{info.name}' is registered twice; '{point.value}' must choose another name.")
        table[info.name] = info
    return table


def find_runner(name: str) -> RunnerInfo:
    """Return a runner by name.

    Raises:
        BadInput: there is none; the message lists those there are.
    """
    table = runners()
    if name not in table:
        raise BadInput(f"no runner '{name}'; there are {', '.join(table)}.")
    return table[name]
