"""ONNX Runtime on an exported file."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime

from portproof._errors import BadInput, Unavailable, one_line, require_memory
from portproof._numbers import Array
from portproof.runners import RunnerJob
from portproof.runners._left import MULTIPLYING, may_be_float
from portproof.runners._placement import on_the_cpu

#: Kernels that multiply levels.
_COUNTING = frozenset((
    "QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention",
))  # fmt: skip
_PROVIDERS = {
    "cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider",
}  # fmt: skip


def preload() -> None:
    """Load CUDA and cuDNN as pip installs them, which the system's loader does not find.

    ``onnxruntime.preload_dlls`` (since 1.21) looks for them beside itself alone (1.31), and prints what
    it does not find; they may lie in any folder that packages are imported from.
    """
    if not hasattr(onnxruntime, "preload_dlls"):
        return
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec is not None else None
    folders = [str(folder) for place in places or () for folder in sorted(Path(place).glob("*/lib"))]
    with contextlib.redirect_stdout(io.StringIO()):
        for folder in (*folders, None):
            onnxruntime.preload_dlls(directory=folder)


def run_bytes(model: bytes, optimise: bool, without: Collection[str], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model that is in memory on the CPU, with some optimiser passes left out; returns all its outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model, options, providers=[_PROVIDERS["cpu"]], disabled_optimizers=list(without) or None
    )
    taken = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    found = session.run(names, {name: array for name, array in inputs.items() if name in taken})
    return dict(zip(names, found, strict=True))


def run_optimised(model: bytes, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model that is in memory on the CPU as it would be deployed."""
    return run_bytes(model, True, (), inputs)


def optimiser_log(path: str) -> str:
    """Return what ONNX Runtime logs, verbosely, while it optimises a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 0
    with _heard() as said:
        onnxruntime.InferenceSession(path, options, providers=[_PROVIDERS["cpu"]])
    return said()


@contextlib.contextmanager
def _heard() -> Iterator[Callable[[], str]]:
    """Catch what ONNX Runtime writes to standard error, below Python; the text is there when the block has ended."""
    text: list[str] = []
    with tempfile.TemporaryFile() as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield lambda: "".join(text)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            log.seek(0)
            text.append(log.read().decode(errors="replace"))


def _reason(log: str) -> str:
    """Return the first error of a log, as the end of a sentence: a library that cannot be opened, a driver too old."""
    line = next((line for line in log.splitlines() if "[E:" in line or "Failed" in line or "rror" in line), "")
    line = re.sub(r"^.*(?:FAIL|EXCEPTION) : ", "] ", line)
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", line).rpartition("] ")[2].split())
    return f" ({text[:200]})" if text else ""


def _free_dimensions(path: str) -> set[str]:
    """Return the names of the leading dimensions that a model's inputs leave open."""
    import onnx

    shapes = [value.type.tensor_type.shape.dim for value in onnx.load(path, load_external_data=False).graph.input]
    return {shape[0].dim_param for shape in shapes if shape and shape[0].dim_param}


def _stored(path: str) -> str | None:
    """Return the precision that most of a graph's weights are stored in."""
    import onnx

    sizes: Counter[int] = Counter()
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        sizes[tensor.data_type] += math.prod(tensor.dims)
    return onnx.helper.tensor_dtype_to_np_dtype(sizes.most_common(1)[0][0]).name if sizes else None


class OnnxRuntime:
    """An inference session whose provider is the one that was asked for, or an error."""

    session: Any

    def __init__(self, job: RunnerJob) -> None:
        if job.artefact is None:
            raise BadInput("ONNX Runtime runs a file; this job names none.")
        if job.precision not in ("float32", "float16", "int8"):
            raise Unavailable(
                "ONNX Runtime runs a file in what it is written in, and convolutes no float64 or bfloat16."
            )
        self.job = job

    def __enter__(self) -> Self:
        job = self.job
        provider = _PROVIDERS[job.setting("provider") or job.device]
        if job.device == "cuda":
            preload()
        if provider not in onnxruntime.get_available_providers():
            raise Unavailable(
                f"device {job.device}: this onnxruntime ({onnxruntime.__version__}) has no {provider}; "
                "pip install 'portproof[gpu]' in place of [cpu], or use --device cpu"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
        options.log_severity_level = 3
        if job.setting("spinning") == "off":
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if job.setting("shapes") == "static":
            if job.rows is None:
                raise Unavailable("static shapes need requests of one size")
            for name in _free_dimensions(str(job.artefact)):
                options.add_free_dimension_override_by_name(name, job.rows)
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if job.optimise else level.ORT_DISABLE_ALL
        wanted = [provider] if job.device == "cpu" else list(dict.fromkeys([provider, _PROVIDERS["cuda"]]))
        placed = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")
        if job.device != "cpu":
            # A node that no GPU provider takes runs on the CPU and says nothing. Where the runtime can tell which do,
            # those of shape arithmetic may; else none may.
            key = "record_ep_graph_assignment_info" if placed else "disable_cpu_ep_fallback"
            options.add_session_config_entry(f"session.{key}", "1")
        with _heard() if job.device != "cpu" else contextlib.nullcontext(lambda: "") as said:
            try:
                self.session = onnxruntime.InferenceSession(
                    str(job.artefact), options, providers=wanted,
                    provider_options=[*map(self._provider_options, wanted)],
                )  # fmt: skip
            except Exception as error:  # onnxruntime's own errors share no base class
                require_memory(error)
                raise BadInput(f"ONNX Runtime cannot load '{job.artefact}': {one_line(error)}") from error
        got = self.session.get_providers()
        if got[0] != provider:
            why = _reason(said())
            raise Unavailable(f"device {job.device}: asked ONNX Runtime for {provider}, got {got[0]}{why}.")
        self._products = self._kernels(options) if job.precision != "float32" and job.device == "cpu" else None
        self._cpu_nodes = self._on_the_cpu() if placed and job.device != "cpu" else {}
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        job.port.require_interface(str(job.artefact), [v.name for v in inputs], [v.name for v in outputs])
        return self

    def _kernels(self, options: Any) -> dict[str, int]:
        """Count the kernels of products in what the optimiser made of the graph: they say what they compute in.

        They are read from the graph as it is written after optimising, in a session that is let go again.
        """
        import onnx

        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder, "optimised.onnx"))
            onnxruntime.InferenceSession(str(self.job.artefact), options, providers=[_PROVIDERS["cpu"]])
            optimised = onnx.load(options.optimized_model_filepath, load_external_data=False)
        operators = Counter(node.op_type for node in optimised.graph.node)
        return {name: count for name, count in operators.items() if name in _COUNTING or name in MULTIPLYING}

    def _arithmetic(self) -> str | None:
        """Say what the products are computed in; on a CPU a float16 graph is computed in float32.

        Those that a quantised graph leaves in float may be, and those of two activations.
        """
        if not self._products:
            return None
        floats = sum(count for name, count in self._products.items() if name in MULTIPLYING)
        if floats == sum(self._products.values()) or (floats and floats > may_be_float(str(self.job.artefact))):
            return "float32"
        return "int8"

    def _on_the_cpu(self) -> Mapping[str, int]:
        """Count the nodes on the CPU that compute shapes, by operator.

        Raises:
            Unavailable: a node that carries an activation runs there.
        """
        import onnx

        assigned = [
            (node.name, node.op_type)
            for part in self.session.get_provider_graph_assignment_info()
            if part.ep_name == _PROVIDERS["cpu"]
            for node in part.get_nodes()
        ]
        graph = onnx.load(str(self.job.artefact), load_external_data=False).graph
        shapes, activations = on_the_cpu(graph, assigned)
        if activations:
            name, operator = activations[0]
            more = f" and {len(activations) - 1} more" if len(activations) > 1 else ""
            raise Unavailable(
                f"device {self.job.device}: ONNX Runtime runs {operator} '{name}'{more} on the CPU, with activations: "
                "its GPU provider has no kernel for it; use a runner of the framework, or --device cpu"
            )
        return shapes

    def _provider_options(self, provider: str) -> dict[str, str]:
        """Full float32 everywhere; TensorRT takes that from the environment, ``NVIDIA_TF32_OVERRIDE=0``."""
        if provider == _PROVIDERS["cuda"]:
            return {"use_tf32": "0"}
        if provider == _PROVIDERS["tensorrt"]:
            lower = self.job.setting("lower")
            found = {"trt_fp16_enable": "1"} if lower == "float16" else {"trt_int8_enable": "1"} if lower else {}
            if self.job.cache is not None:
                found |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(self.job.cache)}
            return found
        return {}

    def __exit__(self, *_: object) -> None:
        del self.session

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        names = list(self.job.port.outputs)
        return dict(zip(names, self.session.run(names, self._as_taken(inputs)), strict=True))

    def _as_taken(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return inputs in the types that the graph takes: a float16 graph takes float16."""
        halves = {value.name for value in self.session.get_inputs() if value.type == "tensor(float16)"}
        return {name: array.astype(np.float16) if name in halves else array for name, array in inputs.items()}

    def bind(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return one call on inputs and outputs that are bound to the device: run() would copy both ways."""
        device = "cpu" if self.job.device == "cpu" else "cuda"
        binding = self.session.io_binding()
        for name, array in self._as_taken(inputs).items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        for name in self.job.port.outputs:
            binding.bind_output(name, device, 0)

        def bound() -> None:
            self.session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return bound

    def evidence(self) -> dict[str, Any]:
        return {
            "versions": {"onnxruntime": onnxruntime.__version__},
            "providers": self.session.get_providers(),
            "provider_options": self.session.get_provider_options().get(_PROVIDERS["cuda"], {}),
            "cpu_nodes": dict(self._cpu_nodes),
            "products": self._products,
            "arithmetic": self._arithmetic(),
            "stored": _stored(str(self.job.artefact)) if self.job.precision == "float16" else None,
            "threads": self.job.threads,
            "inputs": {value.name: value.shape for value in self.session.get_inputs()},
            "device": self.job.device,
        }
