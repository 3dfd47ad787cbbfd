"""ONNX exports with one interface: the port's input and output names, one dynamic batch, nothing written half."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portproof._disk import atomic_path
from portproof._errors import ExportFailed, Unavailable, one_line, require_memory, require_packages
from portproof.ports._port import Port

if TYPE_CHECKING:
    from portproof.frameworks._model import Model


#: What each side's export is made with.
EXPORTING = {"torch": ("onnx", "onnxscript"), "paddle": ("onnx", "onnxscript", "onnxoptimizer", "paddle2onnx")}


def prepare_export(side: str) -> None:
    """Import what exports a side's models, as far as it is installed."""
    for name in EXPORTING[side]:
        if name != "paddle2onnx":  # which runs in a process of its own
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def export(model: Model, inputs: Any, target: Path) -> tuple[str, ...]:
    """Export one side's float32 model, check the file, and put it in place atomically.

    Args:
        model: in float32.
        inputs: example arrays by name, at least two rows (a batch of one is a constant to some tracers).
        target: the file.

    Returns:
        The free dimensions that the exporter could not keep free, and that have the size of the example.

    Raises:
        ExportFailed: the exporter or the checker refused; an older file is left as it was.
        Unavailable: a package that the export needs is not installed.
    """
    require_packages(f"the {model.framework.side} export", *EXPORTING[model.framework.side])
    import onnx

    arguments = {name: model.framework.to_tensor(inputs[name]) for name in model.port.inputs}
    with atomic_path(target) as temporary:
        try:
            with quiet(), _uncollected():
                proto = model.framework.export(model.root, arguments, model.port)
            fixed = tidy(proto, model.port, model.framework.side)
            onnx.checker.check_model(proto, full_check=True)
            onnx.save(proto, temporary)
        except (Unavailable, ExportFailed):
            raise
        except Exception as error:  # exporters raise what they like; the hop fails with their words
            require_memory(error)
            raise ExportFailed(f"{model.framework.side} export of port '{model.port.name}': {_gist(error)}") from error
    return fixed


def _gist(error: Exception) -> str:
    """Return an exporter's own reason: torch's stands behind a page of advice."""
    _, _, summary = str(error).partition("## Exception summary")
    lines = [line for line in summary.splitlines() if line.strip()]
    return lines[0].strip() if lines else one_line(error)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage, for the time of the block: tracers make millions of objects that all stay."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence exporters: their logs, their own deprecation warnings, and what they write below Python.

    Errors are raised all the same.
    """
    for name in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        with Path(os.devnull).open("w") as nowhere:
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for stream, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, stream)
            os.close(descriptor)


def tidy(proto: Any, port: Port, side: str) -> tuple[str, ...]:
    """Name the graph's free dimensions, inputs and outputs as the port does, and say where it comes from.

    Returns:
        The free dimensions of the port that have a fixed size in the graph.

    Raises:
        ExportFailed: the graph has other inputs or another number of outputs than the port.
    """
    graph = proto.graph
    stored = {initializer.name for initializer in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if [value.name for value in inputs] != list(port.inputs) or len(graph.output) != len(port.outputs):
        raise ExportFailed(
            f"{side} export has inputs {[v.name for v in inputs]} and {len(graph.output)} outputs; "
            f"the port has {list(port.inputs)} and {len(port.outputs)}."
        )
    renamed = {v.name: name for v, name in zip(graph.output, port.outputs, strict=True) if v.name != name}
    if renamed:
        clashing = {name for node in graph.node for name in node.output} & set(renamed.values())
        renamed |= {name: f"{name}__inner" for name in clashing if name not in renamed}
        for node in graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        for value in (*graph.output, *graph.value_info):
            value.name = renamed.get(value.name, value.name)
    fixed: dict[str, None] = {}
    for value in inputs:
        for dimension, size in zip(value.type.tensor_type.shape.dim, port.inputs[value.name].shape, strict=True):
            if isinstance(size, str) and dimension.HasField("dim_value"):
                fixed[size] = None
            elif isinstance(size, str):
                dimension.dim_param = size
    batched = any(declared.has_rows for declared in port.inputs.values())
    for value in graph.output:
        dims = value.type.tensor_type.shape.dim
        if batched and len(dims) and not dims[0].HasField("dim_value"):
            dims[0].dim_param = "batch"
    del graph.value_info[:]
    proto.producer_name = f"portproof ({side} export of {port.name})"
    proto.doc_string = ""
    return tuple(fixed)
