"""What a runtime may compute in float of a quantised graph, and still have done as it was asked to."""

from __future__ import annotations

from pathlib import Path

#: Operators that multiply floats.
MULTIPLYING = frozenset(
    ("Conv", "FusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Attention")
)


def may_be_float(path: str | Path) -> int:
    """Count the products of a graph that are given no levels, or that are of two activations.

    Levels of weights are what int8 is for; for those of two activations, as attention has them, OpenVINO (2026.4) has
    few kernels and multiplies the levels as floats.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    levels: set[str] = set()
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            levels.update(node.output)
        if constants.issuperset(filter(None, node.input)):
            constants.update(node.output)
    products = (node for node in graph.node if node.op_type in MULTIPLYING)
    return sum(not levels & set(node.input[:2]) or not constants & set(node.input[:2]) for node in products)
