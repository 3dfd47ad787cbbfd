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
    replaced, undo = _replaced(), list[Callable[[], None]]()
    replaced.around.append(around)
    try:
        for inside, name, function, new in replaced.functions():
            inside[name] = new
            undo.append(functools.partial(inside.__setitem__, name, function))
        for name, method, new in replaced.methods():
            setattr(paddle.Tensor, name, new)
            undo.append(functools.partial(setattr, paddle.Tensor, name, method))
        yield
    finally:
        for back in reversed(undo):
            back()
        replaced.around.pop()


@functools.cache
def _replaced() -> _Replaced:
    return _Replaced()


class _Replaced:
    """What stands for Paddle's functions and methods while calls are seen, and where modules hold them.

    A process keeps it: a search runs a small model some hundred times, and to look for it all takes longer than to run.
    What is in a place now counts, since others replace functions, too (the float64 model's operators).

    Attributes:
        around: what makes the calls, the last one now.
    """

    def __init__(self) -> None:
        self.around: list[Callable[..., Any]] = []
        self._new: dict[int, tuple[Any, Any]] = {}
        self._of_tensors: dict[str, tuple[Any, Any]] = {}
        self._held: dict[str, tuple[dict[str, Any], int, list[str]]] = {}

    def functions(self) -> Iterator[tuple[dict[str, Any], str, Any, Any]]:
        """Return the names by which modules hold functions: namespace, name, function, and what stands for it.

        A module is looked at again when names have come or gone.
        """
        known = self._new
        self._new = {id(f): known.get(id(f)) or (f, self._wrapped(name, f)) for name, f in _functions()}
        for path, module in list(sys.modules.items()):
            inside = getattr(module, "__dict__", None)
            if not isinstance(inside, dict) or getattr(module, "__name__", "").startswith("portproof"):
                continue
            held = self._held.get(path)
            if held is None or held[0] is not inside or held[1] != len(inside):
                names = [name for name, value in list(inside.items()) if self._stands_for(value) is not None]
                held = self._held[path] = (inside, len(inside), names)
            for name in held[2]:
                value = inside.get(name)
                new = self._stands_for(value)
                if new is not None:
                    yield inside, name, value, new

    def methods(self) -> Iterator[tuple[str, Any, Any]]:
        """Return tensors' methods: name, method, and what stands for it."""
        for name, method in _methods():
            if name not in self._of_tensors or self._of_tensors[name][0] is not method:
                called: Any = method.fget if isinstance(method, property) else method
                new: Any = self._wrapped(name, called)
                self._of_tensors[name] = (method, property(new) if isinstance(method, property) else new)
            yield name, *self._of_tensors[name]

    def _stands_for(self, value: Any) -> Any:
        function, new = self._new.get(id(value), (None, None))
        return new if function is value else None

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.around:  # a module that was imported meanwhile has kept it
                return function(*args, **kwargs)
            return self.around[-1](name, function, args, kwargs)

        # Some of Paddle asks a function for its signature.
        try:
            functools.update_wrapper(call, function)
        except (AttributeError, TypeError):
            call.__name__ = name
        return call


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


def _methods() -> Iterator[tuple[str, Any]]:
    for name, method in list(vars(paddle.Tensor).items()):
        if isinstance(method, property):
            if name in _PROPERTIES and method.fget is not None:
                yield name, method
            continue
        taken = (not name.startswith("_") or name in _OPERATORS) and name not in _OF_TENSORS
        if taken and callable(method) and not isinstance(method, (type, staticmethod, classmethod)):
            yield name, method
