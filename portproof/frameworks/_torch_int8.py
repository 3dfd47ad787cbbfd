"""torch's own int8: a program that PT2E calibrates and quantises, and that ``torch.compile`` lowers to oneDNN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from portproof._disk import atomic_path
from portproof._errors import Unavailable, one_line, require_memory, require_packages
from portproof._machine import instruction_sets
from portproof.frameworks._export import quiet, tidy
from portproof.frameworks._model import Model

#: Products that x86 has in int8, as a program names them.
_PRODUCTS = ("aten.conv1d", "aten.conv2d", "aten.linear")


def quantise(model: Model, inputs: Mapping[str, Any], calibration: Mapping[str, Any], out: Path) -> None:
    """Write a model in int8 as a program, and the graph that it claims to be in a file with ``.onnx`` behind its name.

    Weights have a scale a channel, activations are counted from 0 to 255. Without VNNI activations are counted to 127
    alone: two products of bytes do not fit into the 16 bits that their sum has there.

    Args:
        model: in float32.
        inputs: example arrays by name, at least two rows.
        calibration: rows that the ranges of activations are read from.
        out: the file to write, ``.pt2``.

    Raises:
        Unavailable: torchao is missing, or torch's tools raise.
    """
    require_packages("int8 in torch", "torchao", "onnx", "onnxscript")
    framework: Any = model.framework
    args, kwargs = model.arguments(inputs)
    shapes = framework.free_shapes(model.port, {"batch": torch.export.Dim.DYNAMIC})
    try:
        with quiet(), torch.no_grad():
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
            from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

            narrow = not any("vnni" in name for name in instruction_sets())
            quantiser = x86.X86InductorQuantizer()
            quantiser.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=narrow))
            traced = torch.export.export(model.root, args, kwargs, dynamic_shapes=shapes).module()
            prepared = prepare_pt2e(traced, quantiser)
            rows, named = model.arguments(calibration)
            prepared(*rows, **named)
            program = torch.export.export(_of_use(convert_pt2e(prepared)), args, kwargs, dynamic_shapes=shapes)
            _export(program, model, out.with_name(f"{out.name}.onnx"))
            with atomic_path(out) as temporary:
                torch.export.save(program, temporary)
    except Exception as error:  # the tools raise whatever they trip over
        require_memory(error)
        raise Unavailable(f"torch's tools make no int8 program: {one_line(error)}") from error


def load_program(path: Path) -> Any:
    """Return a program to call, as :func:`quantise` wrote it."""
    import torch.ao.quantization.fx._decomposed  # its operators are known from here on

    return torch.export.load(path).module()


def products_of(program: Any) -> int:
    """Count the products of a program that take values from levels."""

    def from_levels(node: Any) -> bool:
        return any("dequantize" in str(one.target) for one in node.all_input_nodes)

    return sum(str(node.target).startswith(_PRODUCTS) and from_levels(node) for node in program.graph.nodes)


def _of_use(program: Any) -> Any:
    """Drop the parameters that only the model in float32 had a use for."""
    used = {str(node.target) for node in program.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in program.named_parameters() if name not in used]:
        path, _, own = name.rpartition(".")
        delattr(program.get_submodule(path), own)
    return program


def _export(program: Any, model: Model, path: Path) -> None:
    import onnx

    exported = torch.onnx.export(
        program, dynamo=True, input_names=list(model.port.inputs), output_names=list(model.port.outputs),
        verbose=False, external_data=False,
    )  # fmt: skip
    assert exported is not None
    with atomic_path(path) as temporary:
        exported.save(str(temporary))
        proto = onnx.load(temporary)
        tidy(proto, model.port, "torch")
        onnx.save(proto, temporary)
