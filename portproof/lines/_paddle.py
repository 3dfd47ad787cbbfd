"""Paddle's calls. It has no mode: functions are replaced wherever a module holds them, and methods of tensors.

All is undone when the block ends. What was hidden from the replacement (a function that a closure or an instance
holds) calls the operators of ``paddle._C_ops`` or their older twins, which are replaced too, so that at least these are
seen.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paddle

_PLAIN = (types.FunctionType, types.BuiltinFunctionType)
#: Functions that make no tensor of a forward: settings, questions, files, contexts.
_ASKING = {
    "set_device", "get_device", "no_grad", "seed", "set_default_dtype", "get_default_dtype", "is_tensor", "save",
    "load",
    "in_dynamic_mode", "is_grad_enabled", "set_grad_enabled", "enable_grad", "enable_static", "disable_static", "grad",
    "summary", "flops", "get_flags", "set_flags", "is_compiled_with_cuda", "device_guard", "finfo", "iinfo", "batch",
    "in_dynamic_or_pir_mode", "set_printoptions", "is_floating_point", "is_integer", "is_complex", "in_pir_mode",
    "broadcast_shape", "create_parameter", "get_rng_state", "set_rng_state", "rank", "is_empty", "device", "dtype",
    "is_compiled_with_xpu", "get_cuda_rng_state", "set_cuda_rng_state", "shape",
}  # fmt: skip
#: Methods of tensors that make none, or that others are made of.
_OF_TENSORS = {
    "numpy", "item", "tolist", "data_ptr", "value", "get_tensor", "is_floating_point", "is_dense", "is_dist",
    "is_sparse", "dim", "ndimension", "numel", "element_size", "backward", "set_value", "gradient", "clear_grad",
    "clear_gradient", "register_hook", "is_contiguous", "is_same_shape", "get_strides", "is_complex", "is_integer",
    "zero_grad", "is_selected_rows", "nelement", "get_device", "retain_grads", "to_dense", "is_sparse_coo",
}  # fmt: skip
_OPERATORS = {
    f"__{prefix}{name}__"
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
    for prefix in ("", "r", "i")
}
_OPERATORS |= {f"__{name}__" for name in ("neg", "abs", "invert", "lt", "le", "gt", "ge", "eq", "ne")}
_OPERATORS |= {"__getitem__", "__setitem__"}
_PROPERTIES = ("T", "mT")


@contextmanager
def seeing_calls(around: Callable[..., Any]) -> Iterator[None]:
    """Let ``around`` make every call of Paddle's, for the time of the block."""
    undo: list[Callable[[], None]] = []
    try:
        _replace_functions(around, undo)
        _replace_methods(around, undo)
        yield
    finally:
        for back in reversed(undo):
            back()


def _replace_functions(around: Callable[..., Any], undo: list[Callable[[], None]]) -> None:
    held = {id(f): (name, f) for name, f in _functions()}
    new = {number: _wrapped(name, function, around) for number, (name, function) in held.items()}
    for module in list(sys.modules.values()):
        inside = getattr(module, "__dict__", None)
        if not isinstance(inside, dict) or getattr(module, "__name__", "").startswith("portproof"):
            continue
        for name, value in list(inside.items()):
            if id(value) in new and held[id(value)][1] is value:
                inside[name] = new[id(value)]
                undo.append(functools.partial(inside.__setitem__, name, value))


def _functions() -> Iterator[tuple[str, Any]]:
    spaces = [
        paddle, paddle.nn.functional, paddle.linalg, paddle.fft, paddle.signal, paddle.tensor, paddle.vision.ops,
        paddle.incubate.nn.functional, paddle.nn.utils, paddle.geometric, paddle.incubate,
    ]  # fmt: skip
    for space in spaces:
        for name, function in list(vars(space).items()):
            taken = isinstance(function, _PLAIN) and not name.startswith("_") and name not in _ASKING
            if taken and not inspect.isgeneratorfunction(function):
                yield name, function
    for operators in (paddle._C_ops, paddle._legacy_C_ops):
        for name, function in list(vars(operators).items()):
            if callable(function) and not name.startswith("__"):
                yield name, function


def _replace_methods(around: Callable[..., Any], undo: list[Callable[[], None]]) -> None:
    kind = paddle.Tensor
    for name, method in list(vars(kind).items()):
        if name in _PROPERTIES and isinstance(method, property) and method.fget is not None:
            setattr(kind, name, property(_wrapped(name, method.fget, around)))
        elif callable(method) and not isinstance(method, (type, staticmethod, classmethod)):
            if (name.startswith("_") and name not in _OPERATORS) or name in _OF_TENSORS:
                continue
            setattr(kind, name, _wrapped(name, method, around))
        else:
            continue
        undo.append(functools.partial(setattr, kind, name, method))


def _wrapped(name: str, function: Callable[..., Any], around: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return around(name, function, args, kwargs)

    # Some of Paddle asks a function for its signature.
    try:
        functools.update_wrapper(call, function)
    except (AttributeError, TypeError):
        call.__name__ = name
    return call
