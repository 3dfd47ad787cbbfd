"""The runners that come with portproof, by what they compute in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portproof.ports._port import LEADING
from portproof.runners._info import RunnerInfo

_ORT = "portproof.runners._onnxruntime:OnnxRuntime"
_OPENVINO = "portproof.runners._openvino"
#: Whether the batch dimension is left open, or fixed before the graph is optimised.
_SHAPES = {"shapes": ("dynamic", "static")}


def _exports(name: str, title: str, path: str, needs: tuple[str, ...], **more: Any) -> tuple[RunnerInfo, ...]:
    """Return one runner an export."""
    return tuple(
        RunnerInfo(
            name.format(side=side), side, f"{title}, {side.title} export", path,
            needs=needs, process="runtime", **{"artefact": "onnx", **more},
        )
        for side in LEADING
    )  # fmt: skip


_FRAMEWORKS = (
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


def _halves(name: str, title: str, path: str, devices: tuple[str, ...], **more: Any) -> tuple[RunnerInfo, ...]:
    """Return one runner of torch a half; a CPU has fast kernels for bfloat16 alone."""
    return tuple(
        RunnerInfo(
            f"torch-{half}-{name}", "torch", f"torch {half}, {title}", path, needs=("torch",), process="torch",
            precisions=(half,), devices=tuple(d for d in devices if d == "cuda" or half == "bfloat16"), **more,
        )
        for half in ("bfloat16", "float16")
    )  # fmt: skip


_INT8: Mapping[str, Any] = {"precisions": ("int8",), "claims": {"arithmetic": "int8"}}

_LOWER = (
    *_halves("eager", "eager", "portproof.runners._eager:Eager", ("cpu", "cuda")),
    *_halves("compile", "torch.compile", "portproof.runners._torch:Compile", ("cpu", "cuda")),
    *_halves(
        "compile-graphs", "torch.compile, CUDA graphs", "portproof.runners._torch:Compile", ("cuda",),
        settings={"cuda_graphs": ("on",), "autotune": ("off", "on")},
    ),
    *_halves("cuda-graph", "CUDA graph", "portproof.runners._torch:CudaGraph", ("cuda",)),
    RunnerInfo(
        "torch-float16-channels-last", "torch", "torch float16, channels_last", "portproof.runners._torch:ChannelsLast",
        needs=("torch",), process="torch", precisions=("float16",), devices=("cuda",),
        claims={"layout": "channels_last"},
    ),
    RunnerInfo(
        "torch-int8-compile", "torch", "torch int8, torch.compile", "portproof.runners._torch:Int8",
        needs=("torch", "torchao"), process="torch", artefact="model-int8", devices=("cpu",), **_INT8,
    ),
    RunnerInfo(
        "torch-tf32", "torch", "torch TF32, eager", "portproof.runners._torch:Tf32",
        needs=("torch",), process="torch", precisions=("tf32",), devices=("cuda",),
    ),
    RunnerInfo(
        "paddle-inference-bfloat16", "paddle", "Paddle Inference bfloat16", "portproof.runners._paddle:Inference",
        needs=("paddle",), process="paddle", artefact="program", precisions=("bfloat16",), devices=("cpu",),
    ),
    *_exports(
        "onnxruntime-int8-{side}", "ONNX Runtime int8, per channel", _ORT, ("onnxruntime", "onnx"),
        artefact="onnx-int8", devices=("cpu",), **_INT8,
    ),
    *_exports(
        "onnxruntime-dynamic-int8-{side}", "ONNX Runtime int8, dynamic", _ORT, ("onnxruntime", "onnx"),
        artefact="onnx-dynamic-int8", devices=("cpu",), **_INT8,
    ),
    *_exports(
        "onnxruntime-float16-weights-{side}", "ONNX Runtime, float16 weights", _ORT, ("onnxruntime", "onnx"),
        artefact="onnx-float16-weights", precisions=("float16",), claims={"stored": "float16"},
    ),
    *_exports(
        "onnxruntime-float16-{side}", "ONNX Runtime float16", _ORT, ("onnxruntime", "onnx"),
        artefact="onnx-float16", precisions=("float16",), claims={"stored": "float16"},
    ),
    *_exports(
        "onnxruntime-tensorrt-float16-{side}", "ONNX Runtime TensorRT float16", _ORT, ("onnxruntime", "onnx"),
        devices=("cuda",), precisions=("float16",), settings={"provider": ("tensorrt",), "lower": ("float16",)},
    ),
    *_exports(
        "onnxruntime-tensorrt-int8-{side}", "ONNX Runtime TensorRT int8", _ORT, ("onnxruntime", "onnx"),
        artefact="onnx-signed-int8", devices=("cuda",), precisions=("int8",),
        settings={"provider": ("tensorrt",), "lower": ("int8",)},
    ),
    *_exports(
        "openvino-bfloat16-{side}", "OpenVINO bfloat16", f"{_OPENVINO}:OpenVino", ("openvino",),
        devices=("cpu",), precisions=("bfloat16",), settings=_SHAPES,
        claims={"precision_hint": "bf16", "arithmetic": "bfloat16"},
    ),
    *_exports(
        "openvino-int8-{side}", "OpenVINO int8, per channel", f"{_OPENVINO}:OpenVino", ("openvino", "onnx"),
        artefact="onnx-int8", devices=("cpu",), settings=_SHAPES, **_INT8,
    ),
)  # fmt: skip

OWN = (*_FRAMEWORKS, *_LOWER)
