"""OpenVINO on an exported file: one request at a time, or as many at once as it likes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import openvino

from portproof._errors import BadInput, PortproofError, Unavailable, one_line, require_memory
from portproof._numbers import Array
from portproof.runners import RunnerJob
from portproof.runners._left import may_be_float

#: Layers that take the time, and how their kernels' names end.
_PRODUCTS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_ENDINGS = {"i8": "int8", "bf16": "bfloat16", "f16": "float16", "f32": "float32"}


def run_bytes(model: bytes, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model that is in memory as it would be deployed; what it leaves in float stays in float32."""
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(dict(inputs))
    return {value.get_any_name(): np.array(found[value]) for value in compiled.outputs}


class OpenVino:
    """A compiled model on the CPU in the precision asked for, which OpenVINO would choose by itself.

    float32 is asked for where a quantised graph runs: what it leaves in float stays in float32.
    """

    model: Any

    def __init__(self, job: RunnerJob) -> None:
        if job.artefact is None:
            raise BadInput("OpenVINO runs a file; this job names none.")
        self.job = job

    def __enter__(self) -> Self:
        job = self.job
        throughput = job.setting("hint") == "throughput"
        config = {
            "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
            "INFERENCE_NUM_THREADS": job.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if job.precision == "bfloat16" else "f32",
        }
        if not throughput:
            config["NUM_STREAMS"] = 1
        try:
            core = openvino.Core()
            graph = core.read_model(str(job.artefact))
            if job.setting("shapes") == "static":
                graph.reshape(self._fixed(graph))
            self.model = core.compile_model(graph, "CPU", config)
        except PortproofError:
            raise
        except Exception as error:  # openvino's own errors share no base class
            require_memory(error)
            raise BadInput(f"OpenVINO cannot load '{job.artefact}': {one_line(error)}") from error
        inputs, outputs = ([v.get_any_name() for v in values] for values in (self.model.inputs, self.model.outputs))
        job.port.require_interface(str(job.artefact), inputs, outputs)
        self.request = self.model.create_infer_request()
        return self

    def _fixed(self, graph: Any) -> dict[str, Any]:
        """Return the shapes of a graph's inputs with the rows of a request in place of an open first dimension."""
        if self.job.rows is None:
            raise Unavailable("static shapes need requests of one size")
        shapes = {}
        for value in graph.inputs:
            shape = value.partial_shape
            if len(shape) and shape[0].is_dynamic:
                shape[0] = self.job.rows
            shapes[value.get_any_name()] = shape
        return shapes

    def __exit__(self, *_: object) -> None:
        del self.request, self.model

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = self.request.infer(dict(inputs))
        return {name: np.array(found[name]) for name in self.job.port.outputs}

    def bind(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return one call on inputs that the request holds already."""
        for name, array in inputs.items():
            self.request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(array)))
        return lambda: self.request.infer()

    def stream(self, inputs: Mapping[str, Array], seconds: float) -> tuple[int, float]:
        """Run requests in parallel for a time; returns how many finished and the seconds that they took."""
        queue = openvino.AsyncInferQueue(self.model)
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            queue.start_async(dict(inputs))
            count += 1
        queue.wait_all()
        return count, time.perf_counter() - begun

    def evidence(self) -> dict[str, Any]:
        get = self.model.get_property
        return {
            "versions": {"openvino": openvino.__version__.split("-")[0]},
            "threads": int(get("INFERENCE_NUM_THREADS")),
            "precision_hint": get("INFERENCE_PRECISION_HINT").get_type_name(),
            "streams": int(get("NUM_STREAMS")),
            "inputs": {value.get_any_name(): str(value.partial_shape) for value in self.model.inputs},
            "device": self.job.device,
            **self._products(),
        }

    def _products(self) -> dict[str, Any]:
        """Say what the kernels of products compute in, from the graph that is executed; asking is not getting."""
        kinds: Counter[str] = Counter()
        for node in self.model.get_runtime_model().get_ops():
            about = node.get_rt_info()
            if about["layerType"].astype(str) in _PRODUCTS:
                kinds[about["primitiveType"].astype(str)] += 1
        endings: Counter[str] = Counter()
        for kernel, count in kinds.items():
            endings[kernel.rpartition("_")[2].lower()] += count
        assert self.job.artefact is not None
        floats = endings.total() - endings["i8"]
        if 0 < floats < endings.total() and floats <= may_be_float(self.job.artefact):
            found = "i8"
        else:
            found = next(iter(endings)) if len(endings) == 1 else "mixed" if endings else ""
        return {"products": dict(kinds), "arithmetic": _ENDINGS.get(found, found or None)}
