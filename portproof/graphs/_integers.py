"""Quantised operators exactly as ONNX writes them: half to even, saturated, with zero points, an axis at a time.

The reference evaluator's own take biases through float32, let QLinearMatMul wrap round, and round QLinearConv after the
zero point is added, where a half goes the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_dequantize_linear import DequantizeLinear_21
from onnx.reference.ops.op_quantize_linear import QuantizeLinear_21

from portproof._numbers import Array
from portproof.graphs._kernels import convolved

_COUNTS = ("int8", "uint8", "int16", "uint16", "int32")


def along(values: Array, axes: int, axis: int) -> Array:
    """Return scales or zero points in a shape that is broadcast along an axis."""
    if values.size == 1:
        return values.reshape(())
    shape = [1] * axes
    shape[axis] = values.size
    return values.reshape(shape)


def saturated(levels: Array, zero_point: Array, dtype: Any) -> Array:
    """Round to whole levels, half to even, move by the zero point, and keep to what the type holds."""
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(levels) + zero_point, limits.min, limits.max).astype(dtype))


class QuantizeLinear(QuantizeLinear_21):  # type: ignore[misc]
    """From numbers to levels; float8 and int4 stay the reference's."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero_point: Array | None = None,
        axis: int | None = None,
        saturate: bool | None = None,
        block_size: int | None = None,
        output_dtype: int | None = None,
        precision: int | None = None,
    ) -> tuple[Array]:
        kind = "uint8" if zero_point is None else zero_point.dtype.name
        if kind not in _COUNTS or block_size or (zero_point is None and output_dtype):
            found: tuple[Array] = super()._run(
                x, scale, zero_point, 1 if axis is None else axis, bool(saturate), block_size, output_dtype
            )
            return found
        zero = np.zeros((), kind) if zero_point is None else zero_point
        where = (x.ndim, 1 if axis is None else axis)
        return (saturated(x / along(scale, *where), along(zero, *where).astype(x.dtype), zero.dtype),)


class DequantizeLinear(DequantizeLinear_21):  # type: ignore[misc]
    """From levels to numbers, in the type of the scale; float8 and int4 stay the reference's."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero_point: Array | None = None,
        axis: int | None = None,
        block_size: int | None = None,
        output_dtype: int | None = None,
    ) -> tuple[Array]:
        if x.dtype.name not in _COUNTS or block_size:
            found: tuple[Array] = super()._run(
                x, scale, zero_point, axis=1 if axis is None else axis, block_size=block_size
            )
            return found
        where = (x.ndim, 1 if axis is None else axis)
        levels = x.astype(scale.dtype)
        if zero_point is not None:
            levels = levels - along(zero_point, *where).astype(scale.dtype)
        return ((levels * along(scale, *where)).astype(scale.dtype),)


class DynamicQuantizeLinear(OpRun):  # type: ignore[misc]
    """From numbers to levels of a scale that their own range gives."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array, Array, Array]:
        low, high = (x.dtype.type(bound) for bound in (min(0.0, x.min(initial=0.0)), max(0.0, x.max(initial=0.0))))
        scale = (high - low) / x.dtype.type(255) or x.dtype.type(1)
        zero = np.rint(np.clip(-low / scale, 0, 255))
        return saturated(x / scale, zero, np.uint8), np.asarray(scale, x.dtype), np.asarray(zero, np.uint8)


def _level(x: Array, zero_point: Array | None, axis: int = 0) -> Array:
    """Return levels counted from the zero point, exact in float64."""
    levels = x.astype(np.float64)
    return levels if zero_point is None else levels - along(zero_point, x.ndim, axis).astype(np.float64)


class QLinearConv(OpRun):  # type: ignore[misc]
    """A convolution from levels to levels."""

    op_domain = ""

    def _run(
        self, x: Array, x_scale: Array, x_zero: Array, w: Array, w_scale: Array, w_zero: Array, y_scale: Array,
        y_zero: Array, bias: Array | None = None, auto_pad: str | None = None, dilations: Sequence[int] | None = None,
        group: int | None = None, kernel_shape: Sequence[int] | None = None, pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:  # fmt: skip
        whole = None if bias is None else bias.astype(np.float64)
        counts = convolved(_level(x, x_zero), _level(w, w_zero), whole, auto_pad, dilations, group, pads, strides)
        factor = along(np.asarray(x_scale * w_scale / y_scale), counts.ndim, 1)
        return (saturated((counts * factor).astype(y_scale.dtype), y_zero.astype(y_scale.dtype), y_zero.dtype),)


class QLinearMatMul(OpRun):  # type: ignore[misc]
    """A product from levels to levels; ``a`` may have a scale a row, ``b`` one a column."""

    op_domain = ""

    def _run(
        self, a: Array, a_scale: Array, a_zero: Array, b: Array, b_scale: Array, b_zero: Array, y_scale: Array,
        y_zero: Array,
    ) -> tuple[Array]:  # fmt: skip
        counts = _level(a, a_zero, a.ndim - 2) @ _level(b, b_zero, b.ndim - 1)
        rows, columns = along(a_scale, counts.ndim, counts.ndim - 2), along(b_scale, counts.ndim, counts.ndim - 1)
        levels = (counts * (rows * columns / along(y_scale, counts.ndim, counts.ndim - 2))).astype(y_scale.dtype)
        zero = along(y_zero, counts.ndim, counts.ndim - 2).astype(y_scale.dtype)
        return (saturated(levels, zero, y_zero.dtype),)


class ConvInteger(OpRun):  # type: ignore[misc]
    """A convolution of levels, counted in 32 bits."""

    op_domain = ""

    def _run(
        self, x: Array, w: Array, x_zero: Array | None = None, w_zero: Array | None = None, auto_pad: str | None = None,
        dilations: Sequence[int] | None = None, group: int | None = None, kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None, strides: Sequence[int] | None = None,
    ) -> tuple[Array]:  # fmt: skip
        counts = convolved(_level(x, x_zero), _level(w, w_zero), None, auto_pad, dilations, group, pads, strides)
        return (_int32(counts),)


class MatMulInteger(OpRun):  # type: ignore[misc]
    """A product of levels, counted in 32 bits."""

    op_domain = ""

    def _run(self, a: Array, b: Array, a_zero: Array | None = None, b_zero: Array | None = None) -> tuple[Array]:
        return (_int32(_level(a, a_zero, a.ndim - 2) @ _level(b, b_zero, b.ndim - 1)),)


def _int32(counts: Array) -> Array:
    """Return whole numbers as int32; what does not fit wraps round, as it does in a register."""
    return np.rint(counts).astype(np.int64).astype(np.int32)


COUNTED = [
    QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger,
]  # fmt: skip
