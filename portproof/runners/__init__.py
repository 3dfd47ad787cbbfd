"""Runners: each is one way to execute a side. Parity and benchmarks use the very same ones.

A runner of somebody else's is a class like those here, named by an entry point of the group ``portproof.runners``
whose value is a :class:`RunnerInfo`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from portproof._errors import BadInput
from portproof.ports._hints import near
from portproof.ports._port import LEADING, Port

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from portproof._numbers import Array


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
            where it runs a saved Paddle program.
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

    def load(self) -> type[Runner]:
        """Import the runner's class."""
        module, _, name = self.path.partition(":")
        runner: type[Runner] = getattr(importlib.import_module(module), name)
        return runner


_ORT = "portproof.runners._onnxruntime:OnnxRuntime"
_OPENVINO = "portproof.runners._openvino"
#: Whether the batch dimension is left open, or fixed before the graph is optimised.
_SHAPES = {"shapes": ("dynamic", "static")}


def _exports(name: str, title: str, path: str, needs: tuple[str, ...], **more: Any) -> tuple[RunnerInfo, ...]:
    """Return one runner an export."""
    return tuple(
        RunnerInfo(
            name.format(side=side), side, f"{title}, {side.title} export", path,
            needs=needs, process="runtime", artefact="onnx", **more,
        )
        for side in LEADING
    )  # fmt: skip


_OWN = (
    RunnerInfo(
        "torch-eager", "torch", "torch eager", "portproof.runners._eager:Eager",
        needs=("torch",), process="torch", precisions=("float64", "float32"),
    ),
    RunnerInfo(
        "torch-channels-last", "torch", "torch channels_last", "portproof.runners._torch:ChannelsLast",
        needs=("torch",), process="torch", claims={"layout": "channels_last"},
    ),
    RunnerInfo(
        "torch-jit", "torch", "torch jit, frozen, oneDNN", "portproof.runners._torch:Jit",
        needs=("torch",), process="torch", devices=("cpu",),
    ),
    RunnerInfo(
        "torch-compile", "torch", "torch.compile", "portproof.runners._torch:Compile",
        needs=("torch",), process="torch",
    ),
    RunnerInfo(
        "torch-compile-graphs", "torch", "torch.compile, CUDA graphs", "portproof.runners._torch:Compile",
        needs=("torch",), process="torch", devices=("cuda",),
        settings={"cuda_graphs": ("on",), "autotune": ("off", "on")},
    ),
    RunnerInfo(
        "torch-cuda-graph", "torch", "torch CUDA graph", "portproof.runners._torch:CudaGraph",
        needs=("torch",), process="torch", devices=("cuda",),
    ),
    RunnerInfo(
        "torch-bfloat16", "torch", "torch bfloat16, channels_last", "portproof.runners._torch:ChannelsLast",
        needs=("torch",), process="torch", precisions=("bfloat16",), claims={"layout": "channels_last"},
    ),
    RunnerInfo(
        "paddle-dygraph", "paddle", "Paddle dygraph", "portproof.runners._eager:Eager",
        needs=("paddle",), process="paddle", precisions=("float64", "float32"),
    ),
    RunnerInfo(
        "paddle-static", "paddle", "Paddle to_static", "portproof.runners._paddle:Static",
        needs=("paddle",), process="paddle",
    ),
    RunnerInfo(
        "paddle-inference", "paddle", "Paddle Inference", "portproof.runners._paddle:Inference",
        needs=("paddle",), process="paddle", artefact="program", settings={"onednn": ("on", "off")},
    ),
    RunnerInfo(
        "paddle-tensorrt", "paddle", "Paddle Inference, TensorRT", "portproof.runners._paddle:Inference",
        needs=("paddle",), process="paddle", artefact="program", devices=("cuda",), settings={"tensorrt": ("on",)},
    ),
    RunnerInfo(
        "paddle-program", "paddle", "Paddle program", "portproof.runners._paddle:Program",
        needs=("paddle",), process="paddle", artefact="program",
    ),
    *_exports(
        "onnxruntime-{side}", "ONNX Runtime", _ORT, ("onnxruntime",), settings={"spinning": ("on", "off"), **_SHAPES},
    ),
    *_exports(
        "onnxruntime-tensorrt-{side}", "ONNX Runtime TensorRT", _ORT, ("onnxruntime",),
        devices=("cuda",), settings={"provider": ("tensorrt",)},
    ),
    *_exports(
        "openvino-{side}", "OpenVINO", f"{_OPENVINO}:OpenVino", ("openvino",),
        devices=("cpu",), settings=_SHAPES, claims={"precision_hint": "f32"},
    ),
    *_exports(
        "openvino-throughput-{side}", "OpenVINO throughput", f"{_OPENVINO}:OpenVino", ("openvino",),
        devices=("cpu",), scenarios=("offline",), settings={"hint": ("throughput",)}, claims={"precision_hint": "f32"},
    ),
)  # fmt: skip


@functools.cache
def registered() -> tuple[EntryPoint, ...]:
    """Return what installed packages register, looked for once in a process and its forks."""
    from importlib.metadata import entry_points

    return tuple(entry_points(group="portproof.runners"))


def runners() -> dict[str, RunnerInfo]:
    """Return every runner by name: portproof's and those of installed packages.

    Raises:
        BadInput: two packages register one name.
    """
    table = {info.name: info for info in _OWN}
    for point in registered():
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
        listed = f"; there are {', '.join(table)}."
        raise BadInput(f"no runner '{name}'{near(name, table) or listed} `portproof ports` lists them.")
    return table[name]
