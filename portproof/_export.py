"""ONNX exports with one interface: the port's input and output names, one dynamic batch, nothing written half."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portproof._atomic import atomic_path
from portproof._errors import BadInput, Unavailable, one_line, require_memory
from portproof._port import Port

if TYPE_CHECKING:
    from portproof._model import Model

#: Opset of the Paddle export; torch chooses its own.
PADDLE_OPSET = 18


class ExportFailed(BadInput):
    """An exporter raised; in ``verify`` this is one failed hop, and the others are still judged."""


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
    import importlib.util

    needed = {"torch": ("onnx", "onnxscript"), "paddle": ("onnx", "onnxscript", "onnxoptimizer", "paddle2onnx")}
    for package in needed[model.framework.side]:
        if importlib.util.find_spec(package) is None:
            extra = "paddle2onnx" if package in ("paddle2onnx", "onnxoptimizer") else "onnx"
            raise Unavailable(f"the {model.framework.side} export needs {package}: pip install 'portproof[{extra}]'")
    import onnx

    arguments = {name: model.framework.to_tensor(inputs[name]) for name in model.port.inputs}
    with atomic_path(target) as temporary:
        try:
            with _quiet():
                model.framework.export(model.root, arguments, model.port, str(temporary))
            proto = onnx.load(temporary)
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
def _quiet() -> Iterator[None]:
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


def paddle_program(layer: Any, port: Port, target: Path) -> None:
    """Save a Paddle layer as a program: ``target`` with ``.json`` and ``.pdiparams``.

    Raises:
        ExportFailed: Paddle cannot trace it.
    """
    import paddle

    if port.call == "dictionary":
        raise ExportFailed("Paddle cannot trace a model that takes one dictionary; wrap it to take its entries.")
    specs = [
        paddle.static.InputSpec([-1 if isinstance(n, str) else n for n in declared.shape], declared.dtype, name)
        for name, declared in port.inputs.items()
    ]
    try:
        paddle.jit.save(layer, str(target), input_spec=specs)
    finally:
        layer.eval()


def paddle_to_onnx(layer: Any, port: Port, target: Path) -> None:
    """Export a Paddle layer: ``paddle.jit.save``, paddle2onnx, then constants folded and biases fused here.

    ``paddle.onnx.export`` is not used: it lets paddle2onnx fold through Polygraphy, which tries to install packages
    from an outside index while it runs. paddle2onnx itself runs in a process of its own: it aborts where it does not
    know an operator's attribute, and would take a test run with it.

    Raises:
        ExportFailed: paddle2onnx gave up.
    """
    import onnx
    import onnxoptimizer
    import onnxscript.optimizer

    names = {parameter.name: name for name, parameter in layer.state_dict().items()}
    with tempfile.TemporaryDirectory(prefix="portproof-") as folder:
        program, raw = Path(folder) / "inference", Path(folder) / "raw.onnx"
        paddle_program(layer, port, program)
        _run_paddle2onnx(program, raw, port.name)
        proto = onnxscript.optimizer.optimize(onnx.load(raw))
    fusions = ["fuse_add_bias_into_conv", "fuse_matmul_add_bias_into_gemm", "eliminate_unused_initializer"]
    proto = onnxscript.optimizer.optimize(onnxoptimizer.optimize(proto, fusions))
    _rename(proto, names)
    _rename(proto, _folded_biases(proto, set(names.values())))
    onnx.save(proto, target)


_CONVERT = """
import sys
import paddle2onnx
program, parameters, target, opset = sys.argv[1:]
paddle2onnx.export(program, parameters, target, opset_version=int(opset), optimize_tool="None")
"""


def _run_paddle2onnx(program: Path, raw: Path, name: str) -> None:
    """Convert a program that was saved; raises ExportFailed with paddle2onnx's own last words."""
    import subprocess

    arguments = [f"{program}.json", f"{program}.pdiparams", str(raw), str(PADDLE_OPSET)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CONVERT, *arguments], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, errors="replace",
    )  # fmt: skip
    if done.returncode == 0 and raw.is_file():
        return
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    said = [line.strip() for line in plain.splitlines() if _WORDS.search(line)]
    how = f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"gave up (exit {done.returncode})"
    raise ExportFailed(f"paddle2onnx {how} on port '{name}'{': ' + said[-1][:300] if said else ''}")


_WORDS = re.compile(r"\[ERROR\]|Error|error:|what\(\)|not support|unsupported|Assert|Oops|failed", re.IGNORECASE)


def _rename(proto: Any, names: Mapping[str, str]) -> None:
    for initializer in proto.graph.initializer:
        initializer.name = names.get(initializer.name, initializer.name)
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _folded_biases(proto: Any, parameters: set[str]) -> dict[str, str]:
    """Return new names for biases that lost theirs when they were folded into convolutions: their layer's."""
    stored = {initializer.name for initializer in proto.graph.initializer}
    found: dict[str, str] = {}
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or len(node.input) < 3:
            continue
        weight, bias = node.input[1:3]
        name = f"{weight.removesuffix('weight')}bias"
        if weight in parameters and name in parameters - stored and bias in stored - parameters:
            found[bias] = name
    return found
