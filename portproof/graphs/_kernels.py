"""The operators that take the time of a graph: convolutions on a framework's kernels, pools on NumPy's windows."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_resize import Resize as Reference

from portproof._errors import require_packages
from portproof._numbers import Array


class Conv(OpRun):  # type: ignore[misc]
    """Convolution on a framework's kernels, in the dtype of its input."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        return (convolved(x, weight, bias, auto_pad, dilations, group, pads, strides),)


def convolved(
    x: Array,
    weight: Array,
    bias: Array | None,
    auto_pad: str | None,
    dilations: Sequence[int] | None,
    group: int | None,
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
) -> Array:
    """Convolve as ONNX's attributes say, with zeros around."""
    axes = x.ndim - 2
    strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *_pads(auto_pad, pads, x.shape[2:], reach, strides)])
    return _convolve(padded, weight, bias, strides, dilations, group or 1)


class ConvTranspose(OpRun):  # type: ignore[misc]
    """Transposed convolution on a framework's kernels: the reference evaluator's knows no groups."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        axes = x.ndim - 2
        both = list(pads or [0] * (2 * axes))
        if auto_pad not in (None, "NOTSET") or output_shape or both[:axes] != both[axes:]:
            raise NotImplementedError("auto_pad, output_shape or uneven pads")
        strides, dilations = list(strides or [1] * axes), list(dilations or [1] * axes)
        given = (strides, both[:axes], list(output_padding or [0] * axes), group or 1, dilations)
        return (_on_a_framework(f"conv{axes}d_transpose", f"conv_transpose{axes}d", (x, weight, bias), given),)


class MaxPool(OpRun):  # type: ignore[misc]
    """Max-pool over NumPy windows."""

    op_domain = ""

    def _run(self, x: Array, storage_order: int | None = None, **attributes: Any) -> tuple[Array]:
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        return (_pooled(x, least, _largest, attributes),)


class AveragePool(OpRun):  # type: ignore[misc]
    """Average-pool over NumPy windows; padded cells count where ``count_include_pad`` says so."""

    op_domain = ""

    def _run(self, x: Array, count_include_pad: int | None = None, **attributes: Any) -> tuple[Array]:
        sums = _pooled(x, 0.0, lambda windows: windows.sum(axis=_last(x)), attributes)
        counted = np.ones((1, 1, *x.shape[2:]), x.dtype)
        fill = 1.0 if count_include_pad else 0.0
        counts = _pooled(counted, fill, lambda windows: windows.sum(axis=_last(x)), attributes, beyond=0.0)
        return (sums / counts,)


def _largest(windows: Array) -> Array:
    """Return the largest value of each window, place after place: NumPy takes five times as long over short axes."""
    within = windows.shape[1 + windows.ndim // 2 :]
    return functools.reduce(np.maximum, (windows[..., *place] for place in np.ndindex(within)))


def _last(x: Array) -> tuple[int, ...]:
    return tuple(range(-(x.ndim - 2), 0))


def _pads(
    auto_pad: str | None, pads: Sequence[int] | None, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Return what is padded before and after each axis."""
    axes = len(sizes)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        both = [max(0, (-(-n // s) - 1) * s + r - n) for n, s, r in zip(sizes, strides, reach, strict=True)]
        small = [(total // 2, total - total // 2) for total in both]
        return small if auto_pad == "SAME_UPPER" else [(b, a) for a, b in small]
    pads = [0] * (2 * axes) if pads is None or auto_pad == "VALID" else list(pads)
    return list(zip(pads[:axes], pads[axes:], strict=True))


def _pooled(
    x: Array,
    fill: float,
    reduce: Callable[[Array], Array],
    attributes: Mapping[str, Any],
    beyond: float | None = None,
) -> Array:
    """Pad, cut windows, reduce them. ``beyond``: what fills the cells that only ceil_mode reaches."""
    kernel = list(attributes["kernel_shape"])
    axes = len(kernel)
    strides = list(attributes.get("strides") or [1] * axes)
    dilations = list(attributes.get("dilations") or [1] * axes)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(attributes.get("auto_pad"), attributes.get("pads"), x.shape[2:], reach, strides)
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)
    if attributes.get("ceil_mode"):
        missing = [
            (-(n - r) % s if (-(-(n - r) // s)) * s < size + before else 0)
            for n, r, s, size, (before, _) in zip(padded.shape[2:], reach, strides, x.shape[2:], pads, strict=True)
        ]
        value = fill if beyond is None else beyond
        padded = np.pad(padded, [(0, 0), (0, 0), *((0, n) for n in missing)], constant_values=value)
    windows = sliding_window_view(padded, reach, axis=tuple(range(2, 2 + axes)))
    steps = [slice(None)] * 2 + [slice(None, None, s) for s in strides] + [slice(None, None, d) for d in dilations]
    return np.asarray(reduce(windows[tuple(steps)]))


def _convolve(
    x: Array, weight: Array, bias: Array | None, strides: list[int], dilations: list[int], group: int
) -> Array:
    """Convolve an input that is padded already, with torch or Paddle, whichever is here."""
    name = f"conv{x.ndim - 2}d"
    return _on_a_framework(name, name, (x, weight, bias), (strides, 0, dilations, group))


def _on_a_framework(paddles: str, torchs: str, arrays: Sequence[Array | None], given: Sequence[Any]) -> Array:
    """Call a function of ``nn.functional``, of torch or Paddle, whichever is here; the one that is imported already."""
    here = next((name for name in ("torch", "paddle") if name in sys.modules), "")
    if here != "paddle" and importlib.util.find_spec("torch") is not None:
        import torch

        tensors = [None if a is None else torch.tensor(a) for a in arrays]
        with torch.inference_mode():
            return np.asarray(getattr(torch.nn.functional, torchs)(*tensors, *given).numpy())
    if importlib.util.find_spec("paddle") is not None:
        import paddle

        tensors = [None if a is None else paddle.to_tensor(a) for a in arrays]
        with paddle.no_grad():
            return np.asarray(getattr(paddle.nn.functional, paddles)(*tensors, *given).numpy())
    require_packages("a graph's convolutions, or paddle in its place", "torch")
    raise AssertionError("torch is here")


#: Coordinates that torch's ``interpolate`` computes, by mode: which of them means aligned corners.
_RESIZED: dict[str, dict[str, bool | None]] = {
    "nearest": {"asymmetric": None},
    "linear": {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True},
    "cubic": {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True},
}


class Resize(Reference):  # type: ignore[misc]
    """Resizing on torch's kernels where they compute the same; the reference takes minutes for a small image."""

    op_domain = ""

    def _run(self, x: Array, *given: Any, **attributes: Any) -> tuple[Array]:
        mode, coordinates = attributes.get("mode"), attributes.get("coordinate_transformation_mode")
        scales, sizes = (list(given[i]) if len(given) > i and given[i] is not None else [] for i in (1, 2))
        usual = (
            x.ndim == 4
            and coordinates in _RESIZED.get(str(mode), {})
            and (mode != "nearest" or attributes.get("nearest_mode") == "floor")
            and (mode != "cubic" or attributes.get("cubic_coeff_a") in (None, -0.75))
            and not attributes.get("antialias")
            and not attributes.get("axes")
            and (list(scales[:2]) == [1, 1] or list(sizes[:2]) == list(x.shape[:2]))
        )
        if not usual or importlib.util.find_spec("torch") is None:
            resized: tuple[Array] = super()._run(x, *given, **attributes)
            return resized
        import torch

        names = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
        aligned = _RESIZED[str(mode)][str(coordinates)]
        how: dict[str, Any] = {"scale_factor": [float(f) for f in scales[2:]]}
        if sizes:
            how = {"size": [int(n) for n in sizes[2:]]}
        with torch.inference_mode():
            found = torch.nn.functional.interpolate(
                torch.tensor(x),
                mode=names[str(mode)],
                align_corners=aligned,
                **how,
            )
        return (np.asarray(found.numpy()),)
