"""Paddle in float64 all through: requests for float32 are lifted, scalars that its kernels keep in float32 are exact.

Every operator of eager Paddle is called through the module ``paddle._C_ops``, by methods of tensors too, so that one
place sees them all. Kernels that take a scalar as float32 (the eps of a norm, the slope of an activation, where a
resized map is sampled) are computed as what they stand for, from operators that are exact in float64;
``tests/frameworks/test_oracle.py`` holds them to torch's.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from portproof.frameworks._layers import KERNEL

_OPS = paddle._C_ops
#: What is written where 1/6 is meant.
_SIXTH = 0.1666667
#: Methods that make float32 of integers, whatever the default is: division always, the others with a float.
_DIVISIONS = ("__truediv__", "__rtruediv__")
_METHODS = {
    name: getattr(paddle.Tensor, name)
    for name in (
        "__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__pow__", "__rpow__", *_DIVISIONS
    )
}  # fmt: skip
_INTEGERS = (paddle.int64, paddle.int32, paddle.int16, paddle.int8, paddle.uint8)
#: What ``paddle.to_tensor`` calls, whoever imported that under whatever name.
_CREATION: Any = sys.modules["paddle.tensor.creation"]
_TO_TENSOR = _CREATION._to_tensor_non_static
_ORIGINAL: dict[str, Callable[..., Any]] = {
    name: function for name, function in vars(_OPS).items() if callable(function) and not name.startswith("__")
}


@dataclass
class _Block:
    lifted: Counter[str]
    where: Callable[[], str]


#: What is computed in float64 at the moment, innermost last.
_BLOCKS: list[_Block] = []
#: Whether gradients are to be exact as well; the deviations of a backward pass are else for a person to see.
_EXACT_BACKWARD = [False]


@contextmanager
def exact_backward() -> Iterator[None]:
    """Also compute those operators as what they stand for of which only the gradient rounds a scalar."""
    before, _EXACT_BACKWARD[0] = _EXACT_BACKWARD[0], True
    try:
        yield
    finally:
        _EXACT_BACKWARD[0] = before


@contextmanager
def computing_in_float64(lifted: Counter[str], where: Callable[[], str]) -> Iterator[None]:
    """Let all operators compute in float64, for the time of the block.

    Args:
        lifted: counts what was asked for in float32, by the name that ``where`` returns, and kernels that would have
            rounded a scalar, by ``KERNEL`` and its name.
        where: names what runs at the moment.
    """
    _BLOCKS.append(_Block(lifted, where))
    if len(_BLOCKS) == 1:
        _install(_wrappers())
        for name, method in _METHODS.items():
            setattr(paddle.Tensor, name, _on_integers(name, method))
        _CREATION._to_tensor_non_static = _made
    try:
        yield
    finally:
        _BLOCKS.pop()
        if not _BLOCKS:
            _install(_ORIGINAL)
            for name, method in _METHODS.items():
                setattr(paddle.Tensor, name, method)
            _CREATION._to_tensor_non_static = _TO_TENSOR


def _install(functions: Mapping[str, Callable[..., Any]]) -> None:
    for name, function in functions.items():
        setattr(_OPS, name, function)


@functools.cache
def _wrappers() -> dict[str, Callable[..., Any]]:
    exact = {**EXACT, **BACKWARD}
    return {name: _wrapped(name, original, exact.get(name)) for name, original in _ORIGINAL.items()}


def _wrapped(name: str, original: Callable[..., Any], exact: Callable[..., Any] | None) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        block = _BLOCKS[-1]
        if any(_is_low(value) for value in (*args, *kwargs.values())):
            block.lifted[block.where()] += 1
            args = tuple(paddle.float64 if _is_low(value) else value for value in args)
            kwargs = {key: paddle.float64 if _is_low(value) else value for key, value in kwargs.items()}
        if exact is not None and args[0].dtype == paddle.float64 and all(value is None for value in kwargs.values()):
            made = exact(*args)
            if made is not None:
                block.lifted[f"{KERNEL}{name}"] += 1
                return made
        if name in ADDED and args and args[0].dtype == paddle.float64:
            made = ADDED[name](*args, **kwargs)
            if made is not None:
                return made
        made = original(*args, **kwargs)
        return made.astype("float64") if name in LOW else made

    return call


def _is_low(value: Any) -> bool:
    return type(value) is paddle.dtype and value == paddle.float32


def _on_integers(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of tensors that makes float64 of integers, and raises to powers that float32 does not hold."""
    divides, powers = name in _DIVISIONS, "pow" in name

    @functools.wraps(method)
    def call(self: Any, other: Any) -> Any:
        if self.dtype in _INTEGERS and (isinstance(other, float) or divides):
            self = self.astype("float64")
            other = other.astype("float64") if _is_integer(other) else other
        if powers and isinstance(other, float) and self.dtype == paddle.float64:
            other = _scalar(other)
        return method(self, other)

    return call


def _is_integer(value: Any) -> bool:
    return isinstance(value, paddle.Tensor) and value.dtype in _INTEGERS


def _made(data: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Make a tensor of numbers; one that is asked for in float32, a table in a constructor say, is float64."""
    if dtype == "float32" or _is_low(dtype):
        block = _BLOCKS[-1]
        block.lifted[block.where()] += 1
        dtype = "float64"
    return _TO_TENSOR(data, dtype, *args, **kwargs)


def _is_exact(*values: float) -> bool:
    """Whether float32 holds some numbers: then a kernel does, and its own way of computing is kept."""
    return all(float(np.float32(value)) == value for value in values)


def _scalar(value: float) -> Any:
    return paddle.to_tensor(value, dtype="float64")


def _elu(x: Any, alpha: float) -> Any:
    if _is_exact(alpha):
        return None
    return paddle.where(x > 0, x, _scalar(alpha) * paddle.expm1(paddle.minimum(x, _scalar(0.0))))


def _celu(x: Any, alpha: float) -> Any:
    if _is_exact(alpha):
        return None
    zero = _scalar(0.0)
    return paddle.maximum(x, zero) + _scalar(alpha) * paddle.expm1(paddle.minimum(x, zero) / _scalar(alpha))


def _selu(x: Any, scale: float, alpha: float) -> Any:
    return _scalar(scale) * paddle.where(
        x > 0, x, _scalar(alpha) * paddle.expm1(paddle.minimum(x, _scalar(0.0)))
    )  # fmt: skip


def _softshrink(x: Any, threshold: float) -> Any:
    if _is_exact(threshold):
        return None
    least = _scalar(threshold)
    return paddle.where(x > least, x - least, paddle.where(x < -least, x + least, _scalar(0.0)))


def _hardtanh(x: Any, least: float, most: float) -> Any:
    return None if _is_exact(least, most) else _between(x, least, most)


def _hardsigmoid(x: Any, slope: float, offset: float) -> Any:
    slope = 1 / 6 if slope == _SIXTH else slope
    return _between(x * _scalar(slope) + _scalar(offset), 0.0, 1.0)


def _thresholded_relu(x: Any, threshold: float, value: float) -> Any:
    if _is_exact(threshold, value):
        return None
    return paddle.where(x > _scalar(threshold), x, _scalar(value))


def _stanh(x: Any, inner: float, outer: float) -> Any:
    return _scalar(outer) * paddle.tanh(_scalar(inner) * x)


def _rrelu(x: Any, lower: float, upper: float, is_test: bool) -> Any:
    if not is_test or _is_exact((lower + upper) / 2):
        return None
    return paddle.where(x >= 0, x, _scalar((lower + upper) / 2) * x)


def _between(x: Any, least: float, most: float) -> Any:
    return paddle.minimum(paddle.maximum(x, _scalar(least)), _scalar(most))


def _power(x: Any, exponent: Any, *_: Any) -> Any:
    if not isinstance(exponent, (int, float)) or _is_exact(exponent):
        return None
    return _ORIGINAL["elementwise_pow"](x, _scalar(exponent))


def _p_norm(x: Any, order: float, axis: int, epsilon: float, keepdim: bool, flat: bool) -> Any:
    if order in (0.0, 1.0, 2.0, float("inf"), float("-inf")):
        return None
    x = x.flatten() if flat else x
    powers = _ORIGINAL["elementwise_pow"](paddle.abs(x), _scalar(order)).sum(axis, keepdim=keepdim)
    return _ORIGINAL["elementwise_pow"](powers, _scalar(1 / order))


def _addmm(added: Any, x: Any, y: Any, beta: float, alpha: float) -> Any:
    if _is_exact(beta, alpha):
        return None
    return _scalar(beta) * added + _scalar(alpha) * paddle.matmul(x, y)


def _label_smooth(label: Any, prior: Any, epsilon: float) -> Any:
    if _is_exact(epsilon):
        return None
    spread = _scalar(epsilon) * prior if prior is not None else _scalar(epsilon / label.shape[-1])
    return _scalar(1 - epsilon) * label + spread


def _dropout(x: Any, seed: Any, p: Any, is_test: bool, mode: str, *_: Any) -> Any:
    if not is_test or mode != "downgrade_in_infer" or not isinstance(p, float):
        return None
    return x * _scalar(1 - p)


def _layer_norm(x: Any, weight: Any, bias: Any, epsilon: float, begin: int) -> Any:
    if _is_exact(epsilon):
        return None
    axes = list(range(begin, x.ndim))
    made = _standardised(x, axes, epsilon)
    shape = x.shape[begin:]
    made = made if weight is None else made * weight.reshape(shape)
    return made if bias is None else made + bias.reshape(shape)


def _rms_norm(x: Any, weight: Any, shape: Any, epsilon: float) -> Any:
    if _is_exact(epsilon):
        return None
    axes = list(range(x.ndim - len(shape), x.ndim))
    made = x / paddle.sqrt((x * x).mean(axes, keepdim=True) + _scalar(epsilon))
    return made if weight is None else made * weight


def _instance_norm(x: Any, weight: Any, bias: Any, epsilon: float) -> Any:
    if _is_exact(epsilon):
        return None
    return _affine(_standardised(x, list(range(2, x.ndim)), epsilon), weight, bias, 1)


def _group_norm(x: Any, weight: Any, bias: Any, epsilon: float, groups: int, layout: str) -> Any:
    if _is_exact(epsilon):
        return None
    last = not layout.startswith("NC")
    moved = paddle.moveaxis(x, -1, 1) if last else x
    split = moved.reshape([moved.shape[0], groups, -1])
    made = _affine(_standardised(split, [2], epsilon).reshape(moved.shape), weight, bias, 1)
    return paddle.moveaxis(made, 1, -1) if last else made


def _batch_norm(
    x: Any, mean: Any, variance: Any, weight: Any, bias: Any, is_test: bool, momentum: float, epsilon: float,
    layout: str, use_global: Any = None, trainable: bool = False,
) -> Any:  # fmt: skip
    if _is_exact(epsilon):
        return None
    axis = 1 if layout.startswith("NC") else x.ndim - 1
    if use_global or (is_test and not trainable):  # use_global_stats=False: its own statistics in evaluation, too
        made = (x - _along(x, mean, axis)) / paddle.sqrt(_along(x, variance, axis) + _scalar(epsilon))
        rest = [mean, variance]
    else:
        made = _standardised(x, [i for i in range(x.ndim) if i != axis], epsilon)
        with paddle.no_grad():  # for the running statistics, which it writes in place
            arguments = (weight, bias, is_test, momentum, epsilon, layout, use_global, trainable)
            _, *rest = _ORIGINAL["batch_norm"](x, mean, variance, *arguments)
    rest = [*rest, None, None, None, None][:5]
    return (_affine(made, weight, bias, axis), *rest)


#: Terms that a kernel may add one after the other.
_BLOCK = 32


def _added(x: Any, axes: Any, keepdim: bool) -> tuple[Any, int] | None:
    """Add along axes, by blocks and blocks of blocks, as other frameworks do; returns the sum and how many terms.

    Args:
        x: of float64.
        axes: a number, several, or none for all.
        keepdim: whether they stay, of size 1.

    Returns:
        None where the kernel does as well.
    """
    given = [axes] if isinstance(axes, int) else list(range(x.ndim)) if axes is None or axes == [] else axes
    if not isinstance(given, (list, tuple)) or not all(isinstance(axis, int) for axis in given) or not x.size:
        return None
    mine = sorted(axis % x.ndim for axis in given) if x.ndim else []
    rest = [axis for axis in range(x.ndim) if axis not in mine]
    count = int(np.prod([x.shape[axis] for axis in mine]))
    if count <= _BLOCK:
        return None
    kernel, flat = _ORIGINAL["sum"], x.transpose([*rest, *mine]).reshape([*(x.shape[axis] for axis in rest), count])
    while flat.shape[-1] > _BLOCK:
        whole = flat.shape[-1] // _BLOCK * _BLOCK
        blocks = kernel(flat[..., :whole].reshape([*flat.shape[:-1], whole // _BLOCK, _BLOCK]), -1)
        flat = blocks if whole == flat.shape[-1] else paddle.concat([blocks, flat[..., whole:]], -1)
    made = kernel(flat, -1)
    return (made.reshape([1 if axis in mine else x.shape[axis] for axis in range(x.ndim)]) if keepdim else made), count


def _summed(
    x: Any, axis: Any = None, dtype: Any = None, keepdim: bool = False, *, dim: Any = None, out: Any = None,
    name: Any = None,
) -> Any:  # fmt: skip
    if out is not None or not (dtype is None or str(dtype).upper().endswith("FLOAT64")):
        return None
    added = _added(x, axis if dim is None else dim, keepdim)
    return None if added is None else added[0]


def _mean(x: Any, axis: Any = None, keepdim: bool = False, *, dim: Any = None, out: Any = None, **rest: Any) -> Any:
    if out is not None or any(value is not None for value in rest.values()):
        return None
    added = _added(x, axis if dim is None else dim, keepdim)
    return None if added is None else added[0] / _scalar(float(added[1]))


def _softmax(x: Any, axis: int = -1, *, out: Any = None, **rest: Any) -> Any:
    if out is not None or any(value is not None for value in rest.values()) or not x.ndim:
        return None
    powers = paddle.exp(x - x.max(axis, keepdim=True)) if x.shape[axis] > _BLOCK**2 else None
    added = None if powers is None else _added(powers, axis, keepdim=True)
    return None if added is None else powers / added[0]


def _averaged(
    x: Any, kernel: Any, strides: Any, paddings: Any, ceil: bool, exclusive: bool, layout: str, kind: str,
    whole: bool, adaptive: bool, algorithm: str,
) -> Any:  # fmt: skip
    """Average over a whole map, where no gradient is asked for: that of the kernel is for a person to see."""
    if paddle.is_grad_enabled() and not x.stop_gradient:
        return None
    one = adaptive and isinstance(kernel, (list, tuple)) and all(size == 1 for size in kernel)
    if kind != "avg" or not (whole or one) or layout not in ("NCHW", "NCDHW"):
        return None
    return _mean(x, list(range(2, x.ndim)), keepdim=True)


def _pooled(
    x: Any, kernel: Any, strides: Any, paddings: Any, ceil: bool, exclusive: bool, layout: str, kind: str,
    whole: bool, adaptive: bool, algorithm: str,
) -> Any:  # fmt: skip
    """Average windows, axis by axis, by matrices of float64: the kernels' backward has a float32 reciprocal."""
    axes = list(range(2, x.ndim))
    plain = kind == "avg" and layout in ("NCHW", "NCDHW") and algorithm == "EXPLICIT" and len(paddings) == len(axes)
    if not (_EXACT_BACKWARD[0] and plain and isinstance(kernel, (list, tuple)) and not x.stop_gradient):
        return None
    out = x
    for place, axis in enumerate(axes):
        held, size, pad = x.shape[axis], int(kernel[place]), int(paddings[place])
        if whole or adaptive:
            count = 1 if whole else size
            begins = np.arange(count) * held // count
            ends = -(-(np.arange(count) + 1) * held // count)
            lengths = ends - begins
        else:
            step, room = int(strides[place]), held + 2 * pad - size
            count = (-(-room // step) if ceil else room // step) + 1
            begins = np.arange(count) * step - pad
            ends = np.minimum(begins + size, held + pad)
            lengths = (np.minimum(ends, held) - np.maximum(begins, 0)) if exclusive else ends - begins
        if np.any(lengths <= 0):
            return None
        places = np.arange(held)
        inside = (places >= begins[:, None]) & (places < ends[:, None])
        weights = paddle.to_tensor(inside / lengths[:, None].astype(np.float64))
        out = paddle.moveaxis(paddle.matmul(paddle.moveaxis(out, axis, -1), weights, transpose_y=True), -1, axis)
    return out


def _standardised(x: Any, axes: list[int], epsilon: float) -> Any:
    centred = x - x.mean(axes, keepdim=True)
    return centred / paddle.sqrt((centred * centred).mean(axes, keepdim=True) + _scalar(epsilon))


def _affine(x: Any, weight: Any, bias: Any, axis: int) -> Any:
    x = x if weight is None else x * _along(x, weight, axis)
    return x if bias is None else x + _along(x, bias, axis)


def _along(x: Any, values: Any, axis: int) -> Any:
    """Return one value a channel in a shape that goes with a tensor."""
    return values.reshape([1 if i != axis else -1 for i in range(x.ndim)])


def _resized(
    x: Any, size: Any, sizes: Any, scales: Any, layout: str, depth: int, height: int, width: int, scale: list[float],
    method: str, corners: bool, mode: int,
) -> Any:  # fmt: skip
    """Sample a map, axis by axis, by matrices of float64: the kernels compute where they sample in float32."""
    if size is not None or sizes is not None or scales is not None:
        return None
    first = 2 if layout.startswith("NC") else 1
    axes = list(range(first, first + x.ndim - 2))
    asked = [depth, height, width][3 - len(axes) :]
    factors = list(scale) if len(scale) == len(axes) else [0.0] * len(axes)
    out = x
    for axis, target, factor in zip(axes, asked, factors, strict=True):
        held = x.shape[axis]
        target = target if target > 0 else int(held * factor)
        if target <= 0:
            return None
        weights = paddle.to_tensor(_sampling(held, target, factor, method == "bicubic", corners, mode))
        out = paddle.moveaxis(paddle.matmul(paddle.moveaxis(out, axis, -1), weights, transpose_y=True), -1, axis)
    return out


def _sampling(held: int, target: int, factor: float, cubic: bool, corners: bool, mode: int) -> np.ndarray[Any, Any]:
    """Return the matrix ``(target, held)`` that resizes one axis."""
    places = np.arange(target, dtype=np.float64)
    if corners:
        places = places * ((held - 1) / (target - 1) if target > 1 else 0.0)
    else:
        ratio = 1 / factor if factor > 0 else held / target
        places = ratio * places if mode == 1 and not cubic else ratio * (places + 0.5) - 0.5
    if not cubic:
        places = np.maximum(places, 0.0)
    low = np.floor(places).astype(int)
    part = places - low
    taps = [(0, 1 - part), (1, part)]
    if cubic:
        taps = [(-1, _far(1 + part)), (0, _near(part)), (1, _near(1 - part)), (2, _far(2 - part))]
    matrix = np.zeros((target, held))
    for offset, weight in taps:
        np.add.at(matrix, (np.arange(target), np.clip(low + offset, 0, held - 1)), weight)
    return matrix


def _near(distance: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Keys' cubic kernel with a = -0.75, within one sample."""
    return np.asarray(((1.25 * distance - 2.25) * distance) * distance + 1)


def _far(distance: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same kernel between one and two samples away."""
    return np.asarray(((-0.75 * distance + 3.75) * distance - 6) * distance + 3)


#: Operator to what it stands for in float64; None is returned where the kernel itself is exact.
EXACT: dict[str, Callable[..., Any]] = {
    "addmm": _addmm, "batch_norm": _batch_norm, "celu": _celu, "dropout": _dropout, "elu": _elu,
    "group_norm": _group_norm, "hardsigmoid": _hardsigmoid, "hardtanh": _hardtanh, "instance_norm": _instance_norm,
    "label_smooth": _label_smooth, "layer_norm": _layer_norm, "p_norm": _p_norm, "pow": _power, "rms_norm": _rms_norm,
    "rrelu": _rrelu, "selu": _selu, "softshrink": _softshrink, "stanh": _stanh,
    "thresholded_relu": _thresholded_relu,
    **dict.fromkeys(("linear_interp", "bilinear_interp", "trilinear_interp", "bicubic_interp"), _resized),
}  # fmt: skip
#: Operators whose kernels add one term after the other, as many as there are, so that they err by as many roundings.
ADDED: dict[str, Callable[..., Any]] = {
    "mean": _mean, "pool2d": _averaged, "pool3d": _averaged, "softmax": _softmax, "sum": _summed,
}  # fmt: skip
#: Operators that return float32 whatever the default is.
LOW = ("one_hot",)
#: Operators whose gradient alone rounds a scalar; replaced where :func:`exact_backward` asks for it.
BACKWARD: dict[str, Callable[..., Any]] = {"pool2d": _pooled, "pool3d": _pooled}
