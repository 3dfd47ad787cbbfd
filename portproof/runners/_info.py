"""What a runner is asked to run, what it must be able to do, and what is known of it before it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from portproof.ports._port import Port

if TYPE_CHECKING:
    from portproof._numbers import Array


@dataclass(frozen=True)
class RunnerJob:
    """What a runner is asked to run.

    Attributes:
        port: the port.
        side: the side that it executes, or that exported the artefact.
        precision: ``"float64"``, ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"tf32"`` or ``"int8"``.
        weights: state dict of the side as safetensors; None keeps the factory's own.
        artefact: the exported file, for runners of files.
        module: path of the part of the model that is judged, "" for all of it.
        device: ``"cpu"`` or ``"cuda"``.
        threads: compute threads.
        optimise: for runners of graphs, whether the runtime may rewrite the graph.
        hollow: build the model without its parameters, for ``portproof.replay._stream``.
        settings: of the runner's own, by name; see :attr:`RunnerInfo.settings`.
        cache: folder for what is costly to build again (TensorRT engines, compiled code); None keeps nothing.
        rows: in every request, where that is known and a runner may fix its shapes; None where it varies.
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
    settings: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None
    rows: int | None = None

    def setting(self, name: str) -> str | None:
        """Return one setting of the runner, None where it was not given."""
        return self.settings.get(name)


class Runner(Protocol):
    """Built on entry, released on exit.

    A runner may also have ``bind(inputs) -> callable``: one call on inputs that are on the device already, finished
    when it returns; ``enqueue(inputs) -> callable``: the same, but it need not be finished, for a framework that times
    by events; and ``stream(inputs, seconds) -> rows``: as many rows as it can in parallel. Without them it is timed
    from host to host, one request at a time.
    """

    def __init__(self, job: RunnerJob) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
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
            where it runs a saved Paddle program; ``"model-int8"`` where it runs a program that torch quantised;
            ``"onnx-int8"``, ``"onnx-dynamic-int8"``, ``"onnx-float16"``, ``"onnx-float16-weights"`` where it runs what
            :mod:`portproof.graphs._lower` makes of the export.
        precisions: what it can run; the last is the one that is timed.
        devices: where it can run.
        scenarios: that it is meant for.
        settings: its own settings, each with its values, the default first. ``name:setting=value`` on the command line.
        claims: what its evidence must say for a number of it to be printed, by name.
    """

    name: str
    side: str
    title: str
    path: str
    needs: tuple[str, ...]
    process: str
    artefact: str = "model"
    precisions: tuple[str, ...] = ("float32",)
    devices: tuple[str, ...] = ("cpu", "cuda")
    scenarios: tuple[str, ...] = ("single", "offline", "server")
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What its artefact is made from: ``"model"``, ``"onnx"`` or ``"program"``."""
        return self.artefact.partition("-")[0]

    @property
    def variables(self) -> dict[str, str]:
        """Variables of the environment of its process, which has TF32 off otherwise."""
        return {"NVIDIA_TF32_OVERRIDE": "1"} if "tf32" in self.precisions else {}

    def load(self) -> type[Runner]:
        """Import the runner's class."""
        module, _, name = self.path.partition(":")
        runner: type[Runner] = getattr(importlib.import_module(module), name)
        return runner
