"""What of a graph is interpreted: arithmetic, in bounded work. A file from a stranger starts nothing and ends in time.

ONNX's reference evaluator runs whatever an operator's Python code does; that of ``ImageDecoder`` hands bytes to an
image library, which may start a program for them. So operators are allowed by name, and the rest is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from onnx.reference.ops.op_loop import Loop as ReferenceLoop
from onnx.reference.ops.op_scan import Scan as ReferenceScan

from portproof._errors import Unavailable

#: Operators of ONNX's own domain whose reference is nothing but arithmetic on tensors, or which it defines by others of
#: these. Not here: what draws random numbers, texts, images.
ARITHMETIC = frozenset(
    """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization
    BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip
    Col2Im Compress Concat ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh
    CumSum DeformConv DepthToSpace DequantizeLinear Det DFT Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf
    Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
    GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization GRU HammingWindow HannWindow Hardmax
    HardSigmoid HardSwish Identity If InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax Loop LpNormalization LpPool LRN LSTM MatMul MatMulInteger Max MaxPool MaxUnpool Mean
    MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Neg NegativeLogLikelihoodLoss NonMaxSuppression
    NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Or Pad Pow PRelu QLinearConv QLinearMatMul
    QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RMSNormalization RNN RoiAlign
    RotaryEmbedding Round Scan ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty
    SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
    SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze STFT Sub Sum Swish Tan
    Tanh ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor
    """.split()  # noqa: SIM905
)
#: Most nodes that a graph runs once its functions are spelt out, and most turns of one loop.
MOST_NODES, MOST_TURNS = 1_000_000, 100_000


def require_allowed(proto: onnx.ModelProto) -> None:
    """Check that a graph is arithmetic and its functions are of bounded size.

    Raises:
        Unavailable: it has another operator, a function that calls itself, or more nodes than are run here.
    """
    functions = {(function.domain, function.name): function for function in proto.functions}
    nodes = _Counted(functions).of(proto.graph.node)
    if nodes > MOST_NODES:
        raise Unavailable(
            f"the graph is not interpreted: spelt out it has {nodes:.3g} nodes, at most {MOST_NODES} are."
        )


class _Counted:
    """Counts nodes, those of functions as often as they are called, each function looked at once."""

    def __init__(self, functions: Mapping[tuple[str, str], onnx.FunctionProto]) -> None:
        self.functions = functions
        self.sizes: dict[tuple[str, str], int] = {}
        self.inside: list[tuple[str, str]] = []

    def of(self, nodes: Any) -> int:
        return sum(1 + self._behind(node) for node in _with_inner(nodes))

    def _behind(self, node: onnx.NodeProto) -> int:
        key = (node.domain, node.op_type)
        if key not in self.functions:
            _require_arithmetic(node)
            return 0
        if key in self.inside:
            raise Unavailable(f"the graph is not interpreted: its function '{node.op_type}' calls itself.")
        if key not in self.sizes:
            self.inside.append(key)
            self.sizes[key] = self.of(self.functions[key].node)
            self.inside.pop()
        return self.sizes[key]


def _require_arithmetic(node: onnx.NodeProto) -> None:
    own = node.domain in ("", "ai.onnx")
    if own and node.op_type in ARITHMETIC:
        return
    of = f" of domain '{node.domain}'" if not own else ""
    raise Unavailable(
        f"node '{node.name}' ({node.op_type}{of}) cannot be interpreted: it is none of the operators that are plain "
        "arithmetic, and no other is run."
    )


def _with_inner(nodes: Any) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those of the graphs within them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _with_inner(graph.node)


class _Bounded:
    """A node with a body that is run over and over, a bounded number of times."""

    op_domain = ""
    _run_body: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        run = self._run_body  # the reference makes it an attribute of the instance
        self.turns = 0

        def bounded(*args: Any, **kwargs: Any) -> Any:
            self.turns += 1
            if self.turns > MOST_TURNS:
                raise Unavailable(f"a loop makes more than {MOST_TURNS} turns")
            return run(*args, **kwargs)

        self._run_body = bounded

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the node."""
        self.turns = 0
        return super().run(*args, **kwargs)  # type: ignore[misc]


class Loop(_Bounded, ReferenceLoop):  # type: ignore[misc]
    """A loop of bounded length."""


class Scan(_Bounded, ReferenceScan):  # type: ignore[misc]
    """A scan of bounded length."""
