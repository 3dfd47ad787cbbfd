"""torch's calls, seen by a function mode."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: What asks a tensor about itself, and makes none.
_ASKING = {
    "__repr__", "__str__", "__format__", "__len__", "__hash__", "__bool__", "__int__", "__float__", "__index__",
    "__contains__", "__array__", "__deepcopy__", "__setstate__", "__reduce_ex__",
    "size", "dim", "numel", "stride", "storage_offset", "untyped_storage", "is_contiguous", "item", "tolist", "numpy",
    "requires_grad_", "type", "is_floating_point", "is_complex", "data_ptr", "element_size", "ndimension", "nelement",
    "get_device", "is_same_size", "is_nonzero", "dtype", "shape", "device", "layout", "grad", "requires_grad", "ndim",
    "is_nested", "is_leaf", "grad_fn", "is_sparse", "is_quantized", "is_meta", "is_cuda", "is_mkldnn", "_version",
    "register_hook", "names", "itemsize", "nbytes", "is_inference", "manual_seed", "_is_view", "retain_grad",
}  # fmt: skip
#: Functions written in Python around others: their body is run again, and seen inside.
_COMPOSITE = {"multi_head_attention_forward"}


def seeing_calls(around: Callable[..., Any]) -> AbstractContextManager[None]:
    """Let ``around`` make every call of torch's, for the time of the block."""
    return _Seeing(around)


class _Seeing(TorchFunctionMode):  # type: ignore[misc]
    def __init__(self, around: Callable[..., Any]) -> None:
        super().__init__()
        self._around = around

    def __torch_function__(
        self, func: Callable[..., Any], types_: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        if name == "__get__":  # a property
            name = getattr(getattr(func, "__self__", None), "__name__", name)
        if name in _ASKING or name == "__set__":
            return func(*args, **kwargs)
        if name in _COMPOSITE and isinstance(func, types.FunctionType):
            # Its own question whether somebody looks on would lead back here.
            asked = {**func.__globals__, "has_torch_function": lambda *_: False}
            body = types.FunctionType(func.__code__, asked, func.__name__, func.__defaults__, func.__closure__)
            body.__kwdefaults__ = func.__kwdefaults__
            with self:
                return body(*args, **kwargs)
        return self._around(name, func, args, kwargs)


def is_tensor(value: object) -> bool:
    """Whether a value is a tensor."""
    return isinstance(value, torch.Tensor)
