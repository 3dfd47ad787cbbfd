"""What a framework is known to do otherwise in a backward pass, as a table of causes. The tool finds a deviation by
itself, then asks whether a cause in this table explains it: whether it disappears when the other side does the same.

Paddle's average pool divides by the size of the window as a float32 reciprocal when it hands gradients back, in float64
too (``float scale = 1.0 / pool_size`` in ``pooling.cc``): 2.05e-8 of the gradient with a 7x7 window, 2.24e-8 with 5x5.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from portproof._numbers import Array
from portproof.frameworks._model import wrapped_forwards
from portproof.frameworks._settings import read_settings

if TYPE_CHECKING:
    from portproof.training._learner import Learner


#: Settings of torch's optimisers that Paddle keeps as float32 whatever the dtype of the parameters.
FLOAT32_OPTIMISER: dict[str, tuple[str, ...]] = {"SGD": ("momentum", "weight_decay"), "AdamW": ("weight_decay",)}
OPTIMISER = "Paddle's Momentum keeps momentum and weight decay in float32, its AdamW the weight decay, in float64 too"
STATISTICS = (
    "Paddle's BatchNorm keeps the variance of the batch as it is, torch's that of the population (n / (n - 1)); "
    "Paddle keeps the momentum in float32"
)
RECIPROCAL = "Paddle's average pool hands gradients back through a float32 reciprocal of the window's size"


def _reciprocal(counts: Array) -> Array:
    """Return what Paddle's gradient is multiplied with, beside the right one."""
    return (1.0 / counts).astype(np.float32).astype(np.float64) * counts


def _pool(module: Any, shape: tuple[int, ...]) -> Array:
    """Return the factors of a torch average pool for an input shape, one an output position, broadcastable."""
    axes = len(shape) - 2
    kernel, stride, padding = (_each(getattr(module, name), axes) for name in ("kernel_size", "stride", "padding"))
    sizes: list[Array] = []
    for axis, (k, s, p) in enumerate(zip(kernel, stride, padding, strict=True)):
        length = shape[2 + axis]
        count = _positions(length + 2 * p - k, s, length, p, ceil=module.ceil_mode)
        begin = np.arange(count) * s - p
        end = np.minimum(begin + k, length + p)
        inside = np.minimum(end, length) - np.maximum(begin, 0)
        sizes.append(end - begin if module.count_include_pad else inside)
    return _reciprocal(_product(sizes))


def _positions(room: int, stride: int, length: int, padding: int, *, ceil: bool) -> int:
    count = (-(-room // stride) if ceil else room // stride) + 1
    return count - 1 if ceil and (count - 1) * stride >= length + padding else count


def _adaptive(module: Any, shape: tuple[int, ...]) -> Array:
    axes = len(shape) - 2
    sizes: list[Array] = []
    for axis, wanted in enumerate(_each(module.output_size, axes)):
        length = shape[2 + axis]
        places = np.arange(wanted or length)
        begin = places * length // len(places)
        sizes.append(-(-(places + 1) * length // len(places)) - begin)
    return _reciprocal(_product(sizes))


def _each(value: Any, axes: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


def _product(sizes: list[Array]) -> Array:
    """Return the sizes of all windows, one axis after the other."""
    total = np.ones((1, 1), np.float64)
    for axis, size in enumerate(sizes):
        total = total[..., None] * size.reshape((1, 1) + (1,) * axis + (-1,))
    return total


#: What a training on the torch side can take into account: cause to the kinds of arrays that show it first, where it
#: lies, and in words.
CAUSES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "backward": (("gradient",), "average pool", RECIPROCAL),
    "statistics": (("buffer",), "BatchNorm", STATISTICS),
    "optimiser": (("momentum_buffer", "weight"), "optimiser", OPTIMISER),
}
#: Layer type, by torch's name, to the factors on the gradient at its output that make torch do as Paddle does.
BACKWARD: dict[str, tuple[str, Callable[[Any, tuple[int, ...]], Array]]] = {
    **{f"AvgPool{n}d": (RECIPROCAL, _pool) for n in (2, 3)},
    **{f"AdaptiveAvgPool{n}d": (RECIPROCAL, _adaptive) for n in (2, 3)},
}


def paddles_optimiser(learner: Learner) -> None:
    """On the torch side, round those settings of the optimiser that Paddle keeps in float32."""
    optimizer = learner.training.optimizer
    for group in optimizer.param_groups:
        for name in FLOAT32_OPTIMISER.get(type(optimizer).__name__, ()):
            group[name] = float(np.float32(group[name]))


def paddles_backward(learner: Learner) -> contextlib.AbstractContextManager[list[tuple[str, str, float]]]:
    """In float64, let torch do in the backward pass what Paddle is known to do.

    A layer of Paddle's without a partner, beside a function in torch, is set right instead.

    Returns:
        A context; it yields, of each layer that was set right, its path, type, and how far off it is.
    """
    if len(learner.port.sides) < 2 or learner.model.precision != "float64":
        return contextlib.nullcontext([])
    return _backward_alike(learner)


@contextlib.contextmanager
def _backward_alike(learner: Learner) -> Iterator[list[tuple[str, str, float]]]:
    framework, righted = learner.framework, dict[str, tuple[str, str, float]]()
    paired = {p: p in learner.keys or not learner.keys for p, _ in framework.modules(learner.model.root)}
    torch = learner.side == "torch"
    found = [
        (p, m)
        for p, m in framework.modules(learner.model.root)
        if framework.layer(m) in BACKWARD and paired[p] == torch
    ]
    own = dict(found)

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        layer = framework.layer(own[path])

        def forwarded(x: Any) -> Any:
            result = forward(x)
            if learner.learning.is_open(result):
                factors = factors_of(framework.side, layer, own[path], tuple(x.shape))
                if not torch:
                    righted[path] = path, layer, float(np.abs(factors - 1).max())
                    factors = 1 / factors
                learner.learning.scaled_backward(result, framework.to_tensor(factors, "float64"))
            return result

        return forwarded

    told: list[tuple[str, str, float]] = []
    with wrapped_forwards(found, wrap):
        yield told
        told += righted.values()


def factors_of(side: str, layer: str, module: Any, shape: tuple[int, ...]) -> Array:
    """Return what Paddle multiplies the gradient at a layer's output with, beside the right one."""
    return BACKWARD[layer][1](SimpleNamespace(**read_settings(side, layer, module)), shape)


def paddles_statistics(learner: Learner) -> contextlib.AbstractContextManager[None]:
    """On the torch side, keep BatchNorm's running variance as Paddle does, for the time of the block."""
    found = _batch_norms(learner)
    own = dict(found)

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        module = own[path]

        def forwarded(x: Any) -> Any:
            if not module.training or module.running_var is None or module.momentum is None:
                return forward(x)
            before, mean_before = module.running_var.clone(), module.running_mean.clone()
            result = forward(x)
            kept = float(np.float32(1 - module.momentum))
            axes = [axis for axis in range(x.dim()) if axis != 1]
            own = x.detach()  # in two passes: torch's own var loses a digit to its running update
            mean = own.mean(axes, keepdim=True)
            variance = (own - mean).square().mean(axes)
            # Past autograd, which keeps the tensors for the backward pass and does not read them there.
            module.running_mean.data.copy_(kept * mean_before + (1 - kept) * mean.flatten())
            module.running_var.data.copy_(kept * before + (1 - kept) * variance)
            return result

        return forwarded

    return wrapped_forwards(found, wrap)


def _batch_norms(learner: Learner) -> list[tuple[str, Any]]:
    modules = learner.framework.modules(learner.model.root)
    return [(path, module) for path, module in modules if learner.framework.layer(module).startswith("BatchNorm")]
