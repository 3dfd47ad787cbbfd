"""Other ways to run the Paddle side: traced, as a saved program, and in Paddle Inference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import paddle

from portproof._errors import BadInput, Unavailable, one_line, require_memory
from portproof._numbers import Array, as_pairs
from portproof.frameworks import load_framework
from portproof.frameworks._tree import name_outputs
from portproof.runners import RunnerJob
from portproof.runners._eager import Eager

#: The executor of programs starts threads of its own, one a core and more, whatever it was given.
_SERIAL = {"FLAGS_new_executor_serial_run": True}


class Static(Eager):
    """The model traced to a program by ``paddle.jit.to_static``, run by the framework."""

    def __enter__(self) -> Self:
        super().__enter__()
        paddle.set_flags(_SERIAL)
        self._static = paddle.jit.to_static(self.model.root, full_graph=True)
        return self

    def callable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
        return lambda: self._static(*args, **kwargs)


def program_of(job: RunnerJob) -> Path:
    """Return a job's program without its suffix.

    Raises:
        BadInput: the job names none, or the weights beside it are missing.
    """
    if job.artefact is None:
        raise BadInput("a Paddle program is run from a file; this job names none.")
    if not job.artefact.with_suffix(".pdiparams").is_file():
        raise BadInput(f"'{job.artefact.with_suffix('.pdiparams')}' is missing beside '{job.artefact.name}'.")
    return job.artefact.with_suffix("")


@contextlib.contextmanager
def _old_representation() -> Iterator[None]:
    """Let programs be loaded that were written before Paddle 3: they stand in another representation (protobuf)."""
    with paddle.pir_utils.OldIrGuard():
        paddle.disable_static()  # the guard enters static mode, and programs are loaded in the other
        try:
            yield
        finally:
            paddle.enable_static()


class Program:
    """Runs a program that ``paddle.jit.save`` wrote, without the code that it was traced from."""

    layer: Any

    def __init__(self, job: RunnerJob) -> None:
        self.job, self.path = job, program_of(job)
        self.framework = load_framework("paddle")

    def __enter__(self) -> Self:
        self.framework.use_device(self.job.device)
        self.framework.set_threads(self.job.threads)
        paddle.set_flags(_SERIAL)
        is_old = self.job.artefact is not None and self.job.artefact.suffix == ".pdmodel"
        try:
            with _old_representation() if is_old else contextlib.nullcontext():
                self.layer = paddle.jit.load(str(self.path))
        except Exception as error:  # the loader raises whatever the damaged part of the file trips over
            require_memory(error)
            raise BadInput(f"'{self.job.artefact}' is no Paddle program ({one_line(error, 120)}).") from error
        self.layer.eval()
        return self

    def __exit__(self, *_: object) -> None:
        del self.layer

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        tensors = [self.framework.to_tensor(inputs[name]) for name in self.job.port.inputs]
        with self.framework.no_grad():
            result = self.layer(*tensors)
        named = name_outputs(result, tuple(self.job.port.outputs), self.framework.is_tensor)
        return {name: as_pairs(self.framework.to_array(tensor)) for name, tensor in named.items()}

    def evidence(self) -> dict[str, Any]:
        return {"versions": self.framework.versions(), "threads": self.job.threads, "device": self.job.device}


class Inference:
    """A saved program in Paddle Inference, with oneDNN on a CPU and, where asked for, TensorRT on a GPU."""

    predictor: Any

    def __init__(self, job: RunnerJob) -> None:
        self.job, self.path = job, program_of(job)
        self.framework = load_framework("paddle")

    def __enter__(self) -> Self:
        from paddle import inference

        job = self.job
        self.framework.use_device(job.device)
        config = inference.Config(str(job.artefact), f"{self.path}.pdiparams")
        config.disable_glog_info()
        # A program of the new representation is optimised only by the new executor, and before its memory is.
        config.enable_new_executor(True)
        config.enable_new_ir(True)
        config.switch_ir_optim(True)
        config.enable_memory_optim(True)
        if job.device == "cuda":
            config.enable_use_gpu(256, 0)
            if job.setting("tensorrt") == "on":
                self._use_tensorrt(config, inference)
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(job.threads)
            if job.setting("onednn") == "off":
                config.disable_mkldnn()
            else:
                config.enable_mkldnn()
                if job.precision == "bfloat16":
                    config.enable_mkldnn_bfloat16()
        try:
            self.predictor = inference.create_predictor(config)
        except Exception as error:  # the loader raises whatever the damaged part of the file trips over
            require_memory(error)
            raise BadInput(f"Paddle Inference cannot load '{job.artefact}' ({one_line(error, 120)}).") from error
        self._onednn = bool(config.mkldnn_enabled())
        names = self.predictor.get_output_names()
        if len(names) != len(job.port.outputs):
            raise BadInput(f"'{job.artefact}' has {len(names)} outputs, the port names {len(job.port.outputs)}.")
        self._outputs = dict(zip(job.port.outputs, map(self.predictor.get_output_handle, names), strict=True))
        return self

    def _use_tensorrt(self, config: Any, inference: Any) -> None:
        if not paddle.is_compiled_with_tensorrt():
            raise Unavailable(f"this Paddle build ({paddle.__version__}) has no TensorRT")
        config.enable_tensorrt_engine(
            workspace_size=1 << 30, max_batch_size=64, min_subgraph_size=3,
            precision_mode=inference.PrecisionType.Float32, use_static=self.job.cache is not None, use_calib_mode=False,
        )  # fmt: skip
        if self.job.cache is not None:
            config.set_optim_cache_dir(str(self.job.cache))

    def __exit__(self, *_: object) -> None:
        self._outputs = {}
        del self.predictor

    def _put(self, inputs: Mapping[str, Array]) -> None:
        known = set(self.predictor.get_input_names())
        if known != set(inputs):
            raise BadInput(f"'{self.job.artefact}' has inputs {sorted(known)}, the port names {sorted(inputs)}.")
        for name, array in inputs.items():
            self.predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(array))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._put(inputs)
        self.predictor.run()
        return {name: handle.copy_to_cpu() for name, handle in self._outputs.items()}

    def bind(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return one call on inputs that are on the device already, finished when it returns."""
        self._put(inputs)

        def bound() -> None:
            self.predictor.run()
            self.framework.synchronise()

        return bound

    def evidence(self) -> dict[str, Any]:
        return {
            "versions": self.framework.versions(), "threads": self.job.threads, "device": self.job.device,
            "onednn": self._onednn,
        }  # fmt: skip
