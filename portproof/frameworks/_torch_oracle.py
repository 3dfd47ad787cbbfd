"""torch in float64 all through: while the oracle runs, a request for float32 is one for float64."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class ComputingInFloat64(TorchFunctionMode):  # type: ignore[misc]
    """Lifts ``.float()``, ``.to(torch.float32)``, ``dtype=torch.float32`` and ``torch.FloatTensor(…)``.

    Args:
        lifted: counts what was asked for in float32, by the name that ``where`` returns.
        where: names what runs at the moment.
    """

    def __init__(self, lifted: Counter[str], where: Callable[[], str]) -> None:
        super().__init__()
        self._lifted, self._where = lifted, where
        self._float, self._scripted = torch.FloatTensor, torch.jit.ScriptFunction.__call__

    def __enter__(self) -> ComputingInFloat64:
        torch.FloatTensor = torch.DoubleTensor  # its constructor asks no function mode
        torch.jit.ScriptFunction.__call__ = _as_written  # nor does what is compiled
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        torch.FloatTensor, torch.jit.ScriptFunction.__call__ = self._float, self._scripted
        super().__exit__(*raised)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.float:
            func, args = torch.Tensor.to, (*args, torch.float32)
        if any(value is torch.float32 for value in (*args, *kwargs.values())):
            self._lifted[self._where()] += 1
            args = tuple(torch.float64 if value is torch.float32 else value for value in args)
            kwargs = {key: torch.float64 if value is torch.float32 else value for key, value in kwargs.items()}
        exact = EXACT.get(func)
        return (exact or func)(*args, **kwargs)


_SCRIPTED = torch.jit.ScriptFunction.__call__


def _as_written(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call what ``torch.jit.script`` compiled as it was written in Python, where torch has kept that."""
    written = getattr(function, "_torchdynamo_inline", None)
    return _SCRIPTED(function, *args, **kwargs) if written is None else written(*args, **kwargs)


def _celu(x: torch.Tensor, alpha: float = 1.0, inplace: bool = False) -> torch.Tensor:
    """CELU as it is written: its kernel keeps ``1 / alpha`` in float32 for the gradient."""
    made = x.clamp(min=0) + alpha * torch.expm1(x.clamp(max=0) / alpha)
    return x.copy_(made) if inplace else made


def _hardsigmoid(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """Hardsigmoid as it is written: its kernel keeps a sixth in float32 for the gradient."""
    made = (x / 6 + 0.5).clamp(0.0, 1.0)
    return x.copy_(made) if inplace else made


def _batch_norm(
    x: torch.Tensor, mean: Any, variance: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> torch.Tensor:  # fmt: skip
    """BatchNorm as it is written where a gradient of its running statistics is asked for: its kernel has none."""
    if training or not any(isinstance(t, torch.Tensor) and t.requires_grad for t in (mean, variance)):
        return torch.nn.functional.batch_norm(x, mean, variance, weight, bias, training, momentum, eps)
    shape = [1, -1] + [1] * (x.dim() - 2)
    made = (x - mean.reshape(shape)) / torch.sqrt(variance.reshape(shape) + eps)
    made = made if weight is None else made * weight.reshape(shape)
    return made if bias is None else made + bias.reshape(shape)


def _max_pool(pool: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """Max-pooling in the layout in which torch's kernel is two to five times as fast; a largest value is the same."""
    plain = isinstance(x, torch.Tensor) and x.dim() == 4 and x.device.type == "cpu" and x.is_contiguous()
    if not plain or x.requires_grad or len(args) > 5 or kwargs.get("return_indices"):
        return pool(x, *args, **kwargs)
    return pool(x.contiguous(memory_format=torch.channels_last), *args, **kwargs).contiguous()


#: By the functions that are asked for.
SOONER: dict[Callable[..., Any], Callable[..., Any]] = {
    pool: functools.partial(_max_pool, pool) for pool in (torch.max_pool2d, torch.nn.functional.max_pool2d)
}


class Sooner(TorchFunctionMode):  # type: ignore[misc]
    """Computes the very same numbers by kernels that take less time."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return SOONER.get(func, func)(*args, **(kwargs or {}))


#: Functions whose kernels round a scalar, leave a gradient out or take long, to what they stand for.
EXACT: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.nn.functional.celu: _celu, torch.celu: _celu, torch.nn.functional.hardsigmoid: _hardsigmoid,
    torch.nn.functional.batch_norm: _batch_norm, **SOONER,
}  # fmt: skip
