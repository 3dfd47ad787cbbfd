"""torch in float32 with sums added one term after the other, as other kernels do: honest, and less exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

#: Sums of fewer terms err alike, however they are added.
_FEW = 32


class AddingTermByTerm(TorchFunctionMode):  # type: ignore[misc]
    """Adds so in ``mean``, ``sum`` and averages over a whole map, of float32.

    Attributes:
        done: how many sums were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        slowly = _SLOWLY.get(func)
        made = None if slowly is None else slowly(*args, **(kwargs or {}))
        if made is None:
            return func(*args, **(kwargs or {}))
        self.done += 1
        return made


def _added(x: Any, dim: Any, keepdim: bool) -> tuple[torch.Tensor, int] | None:
    """Return a sum along axes, and how many terms it has; None where it has few, or is of another dtype."""
    if not isinstance(x, torch.Tensor) or x.dtype != torch.float32 or not x.numel():
        return None
    given = range(x.dim()) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    mine = sorted(axis % x.dim() for axis in given)
    rest = [axis for axis in range(x.dim()) if axis not in mine]
    terms = x.detach().cpu().permute(*rest, *mine).reshape(*(x.shape[axis] for axis in rest), -1).numpy()
    if terms.shape[-1] <= _FEW:
        return None
    made = torch.from_numpy(np.asarray(np.add.accumulate(terms, axis=-1, dtype=np.float32)[..., -1])).to(x.device)
    shape = [1 if axis in mine else x.shape[axis] for axis in range(x.dim())]
    return (made.reshape(shape) if keepdim else made), terms.shape[-1]


def _sum(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, **rest: Any) -> Any:
    """As torch.sum; what gives a dtype or an output is left to it."""
    added = None if rest else _added(input, dim if axis is None else axis, keepdim)
    return None if added is None else added[0]


def _mean(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, **rest: Any) -> Any:
    """As torch.mean."""
    added = None if rest else _added(input, dim if axis is None else axis, keepdim)
    return None if added is None else added[0] / added[1]


def _whole_map(axes: int) -> Callable[..., Any]:
    def pooled(input: Any, output_size: Any) -> Any:
        sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,)
        return _mean(input, tuple(range(-axes, 0)), keepdim=True) if all(size == 1 for size in sizes) else None

    return pooled


_F = torch.nn.functional
_SLOWLY: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.sum: _sum, torch.Tensor.sum: _sum, torch.mean: _mean, torch.Tensor.mean: _mean,
    _F.adaptive_avg_pool1d: _whole_map(1), _F.adaptive_avg_pool2d: _whole_map(2), _F.adaptive_avg_pool3d: _whole_map(3),
}  # fmt: skip
