"""The catalogue: what goes wrong when people port models, as kinds of faults that apply themselves to any model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from portproof._numbers import Array
from portproof.faults._kinds import (
    Fault,
    Kind,
    Site,
    changes_output,
    changes_setting,
    changes_tensor,
    everywhere,
    generator,
)
from portproof.frameworks._settings import write_setting
from portproof.frameworks._tree import leaves, rebuild

_ACTIVATIONS = {
    "ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "GELU", "SiLU", "Sigmoid", "Tanh", "Hardswish", "PReLU", "Softmax",
    "Hardsigmoid", "Hardtanh", "Softplus", "Mish", "LogSoftmax", "SELU",
}  # fmt: skip
_NORMS = ("BatchNorm", "SyncBatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm")

Rng = np.random.Generator


# Where a kind applies.


def _conv(site: Site) -> bool:
    return site.layer.startswith("Conv") and site.has("weight")


def _plain_conv(site: Site) -> bool:
    """A convolution, not transposed, whose padding is a number an axis."""
    return site.layer in ("Conv1d", "Conv2d", "Conv3d") and isinstance(site.settings["padding"], list)


def _wide(site: Site) -> bool:
    return _conv(site) and max(site.tensor("weight").shape[2:], default=1) > 1


def _square(site: Site) -> bool:
    shape = site.tensor("weight").shape if site.mixes else (1, 2)
    return shape[0] == shape[1] > 1


def _pool(site: Site) -> bool:
    return site.layer.startswith(("MaxPool", "AvgPool"))


def _pool2d(site: Site) -> bool:
    return site.layer in ("MaxPool2d", "AvgPool2d") and site.settings["layout"] == "channels first"


def _norm(site: Site) -> bool:
    return site.layer.startswith(_NORMS)


def _batch_norm(site: Site) -> bool:
    return site.layer.startswith(("BatchNorm", "SyncBatchNorm")) and site.statistics() is not None


def _dropout(site: Site) -> bool:
    return site.layer.startswith("Dropout") and float(site.settings["p"]) > 0


def _same_shape(site: Site) -> bool:
    """The module returns one tensor of the shape of the first that it receives."""
    shapes = [[array.shape for array in arrays] for arrays in (site.received[:1], site.returned)]
    return len(shapes[1]) == 1 and shapes[0] == shapes[1]


def _vector(name: str) -> Callable[[Site], bool]:
    return lambda site: site.has(name) and len(site.tensor(name)) > 1


# Changes of tensors, in torch's layout.


def _one_off(array: Array, rng: Rng) -> Array:
    place = np.unravel_index(int(rng.integers(array.size)), array.shape)
    array[place] *= 1.001
    return array


def _swapped(array: Array, rng: Rng) -> Array:
    one, two = rng.choice(len(array), 2, replace=False)
    array[[one, two]] = array[[two, one]]
    return array


def _gates_swapped(array: Array, rng: Rng) -> Array:
    size = len(array) // (4 if len(array) % 4 == 0 else 3)
    array[: 2 * size] = np.concatenate([array[size : 2 * size], array[:size]])
    return array


def _first_two(array: Array, rng: Rng) -> Array:
    array[[0, 1]] = array[[1, 0]]
    return array


def _grouped(array: Array, rng: Rng) -> Array:
    rows, columns = array.shape[0] // 2, array.shape[1] // 2
    array[:rows, columns:] = 0
    array[rows:, :columns] = 0
    return array


def _filter_negated(array: Array, rng: Rng) -> Array:
    array[rng.integers(len(array))] *= -1
    return array


def _half(array: Array, rng: Rng) -> Array:
    return array.astype(np.float16).astype(array.dtype)


def _statistics(change: Callable[[Site, str, str], None]) -> Callable[..., AbstractContextManager[None]]:
    """Return ``plant``: a BatchNorm's running statistics changed."""

    @contextmanager
    def plant(sites: Sequence[Site], rng: Rng) -> Iterator[None]:
        (site,) = sites
        names = site.statistics()
        assert names is not None
        with site.restored(*names):
            change(site, *names)
            yield

    return plant


def _exchange(site: Site, mean: str, variance: str) -> None:
    one, two = site.tensor(mean), site.tensor(variance)
    site.write(mean, two)
    site.write(variance, np.abs(one))


# Changes of what a module returns.


def _relu(function: Callable[[Array], Array]) -> Callable[[Site, Sequence[Array], Array], Array]:
    return lambda site, received, returned: function(received[0])


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _other_pool(site: Site, received: Sequence[Array], returned: Array) -> Array:
    """The mean where the pool takes the largest, and the other way round."""
    kernel, stride, padding = (site.settings[name] for name in ("kernel_size", "stride", "padding"))
    fill = 0.0 if site.layer.startswith("Max") else -np.inf
    ends = [max(0, (n - 1) * s + k) for n, s, k in zip(returned.shape[2:], stride, kernel, strict=True)]
    widths = [(p, max(p, end - size - p)) for p, end, size in zip(padding, ends, received[0].shape[2:], strict=True)]
    padded = np.pad(received[0], [(0, 0), (0, 0), *widths], constant_values=fill)
    windows = sliding_window_view(padded, kernel, axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    windows = windows[:, :, : returned.shape[2], : returned.shape[3]]
    return np.asarray(windows.mean((-1, -2)) if site.layer.startswith("Max") else windows.max((-1, -2)))


def _flattened_last(site: Site, received: Sequence[Array], returned: Array) -> Array:
    return np.moveaxis(received[0], 1, -1).reshape(returned.shape)


def _softmax(site: Site, received: Sequence[Array], returned: Array) -> Array:
    raised = np.exp(returned - returned.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def _with_nan(site: Site, received: Sequence[Array], returned: Array) -> Array:
    returned.flat[returned.size // 2] = np.nan
    return returned


@contextmanager
def _reflected(sites: Sequence[Site], rng: Rng) -> Iterator[None]:
    """Pad a convolution's input by reflection in place of zeros."""
    (site,) = sites
    framework, side = site.model.framework, site.model.framework.side
    widths = [(0, 0), (0, 0), *((p, p) for p in site.settings["padding"])]

    def replace(forward: Callable[..., Any], x: Any) -> Any:
        undo = write_setting(side, site.layer, site.module, "padding", [0] * (len(widths) - 2))
        try:
            return forward(framework.to_tensor(np.pad(framework.to_array(x), widths, mode="reflect")))
        finally:
            undo()

    with site.forward_replaced(replace):
        yield


# Containers and pairs of modules.


def _concat_places(sites: Sequence[Site]) -> Iterator[tuple[Site, ...]]:
    """Modules whose output is as wide as their children's outputs together: they concatenate them."""
    for site in sites:
        if site.called and _concatenated(site):
            yield (site,)


def _concatenated(site: Site) -> list[int]:
    """Return the widths of the parts that a module concatenates, none where it does not."""
    if len(site.returned) != 1 or site.returned[0].ndim < 2:
        return []
    whole = site.returned[0].shape
    parts = [child.returned[0] for child in site.children if len(child.returned) == 1]
    widths = [part.shape[1] for part in parts if part.ndim == len(whole)]
    return widths if len(widths) > 1 and sum(widths) == whole[1] else []


def _last_first(site: Site, received: Sequence[Array], returned: Array) -> Array:
    return np.roll(returned, _concatenated(site)[-1], axis=1)


def _siblings(sites: Sequence[Site]) -> Iterator[tuple[Site, ...]]:
    """Neighbouring layers of one type and shape, under the same grandparent."""
    groups: dict[Any, list[Site]] = defaultdict(list)
    for site in sites:
        if site.called and site.has("weight"):
            parent = site.path.rpartition(".")[0].rpartition(".")[0]
            groups[parent, site.layer, site.tensor("weight").shape].append(site)
    for group in groups.values():
        yield from zip(group[::2], group[1::2], strict=False)


@contextmanager
def _exchanged(sites: Sequence[Site], rng: Rng) -> Iterator[None]:
    one, two = sites
    names = [name for name in ("weight", "bias") if one.has(name) and two.has(name)]
    with one.restored(*names) as first, two.restored(*names) as second:
        for name in names:
            one.write(name, second[name])
            two.write(name, first[name])
        yield


def _roots(where: Callable[[Site], bool]) -> Callable[[Sequence[Site]], Iterator[tuple[Site, ...]]]:
    return lambda sites: ((site,) for site in sites if not site.path and where(site))


def _has_heads(site: Site) -> bool:
    shapes = [array.shape for array in site.returned]
    return len(shapes) > 1 and shapes[0] == shapes[1]


@contextmanager
def _heads_swapped(sites: Sequence[Site], rng: Rng) -> Iterator[None]:
    (site,) = sites
    is_tensor = site.model.framework.is_tensor

    def replace(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        tensors = list(leaves(result, is_tensor))
        return rebuild(result, is_tensor, iter([tensors[1], tensors[0], *tensors[2:]]))

    with site.forward_replaced(replace):
        yield


@contextmanager
def _channels_reversed(sites: Sequence[Site], rng: Rng) -> Iterator[None]:
    (site,) = sites
    framework = site.model.framework

    def replace(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        tensors = list(leaves((args, kwargs), framework.is_tensor))
        first = framework.to_tensor(np.asarray(framework.to_array(tensors[0])[:, ::-1], order="C"))
        args, kwargs = rebuild((args, kwargs), framework.is_tensor, iter([first, *tensors[1:]]))
        return forward(*args, **kwargs)

    with site.forward_replaced(replace):
        yield


# Why a fault had no effect: facts measured at the place.


def _extent(site: Site) -> str:
    low, high = float(site.received[0].min()), float(site.received[0].max())
    if site.layer == "ReLU" and low >= 0:
        return f"every value that the ReLU receives is positive (the smallest is {low:.2g}): it is the identity here"
    return f"it receives values from {low:.2g} to {high:.2g} and does the same to all of them"


def _remainder(site: Site) -> str:
    sizes = zip(
        site.received[0].shape[2:], *(site.settings[n] for n in ("kernel_size", "stride", "padding")), strict=True
    )
    rests = [(size + 2 * p - k) % s for size, k, s, p in sizes]
    if not any(rests):
        return "the stride divides the padded size without a rest, so rounding up and down agree"
    return f"the rest of {max(rests)} would begin a window beyond the input, which both frameworks leave out"


def _no_padding(site: Site) -> str:
    return f"the padding is {max(site.settings['padding'])}: no window holds a padded cell"


def _one_cell(site: Site) -> str:
    sizes = "x".join(map(str, site.received[0].shape[2:]))
    return f"each channel that it flattens is {sizes}, so that both orders are the same"


def _zero_bias(site: Site) -> str:
    return f"the largest bias is {float(np.abs(site.tensor('bias')).max()):.2g}"


def _dead_input(site: Site) -> str:
    return f"the largest value that it receives is {float(np.abs(site.received[0]).max()):.2g}"


def _tensor_kinds() -> list[Kind]:
    def one(name: str, tensor: str, change: Callable[[Array, Rng], Array], where: Callable[[Site], bool]) -> Kind:
        why = _zero_bias if tensor == "bias" else _dead_input
        return Kind(name, everywhere(where), changes_tensor({tensor: change}), why)

    return [
        one("bias zeroed", "bias", lambda a, rng: np.zeros_like(a), _vector("bias")),
        one("two channels' biases swapped", "bias", _swapped, _vector("bias")),
        one("gates swapped", "weight_ih_l0", _gates_swapped, lambda s: s.layer in ("LSTM", "GRU")),
        one("one weight off by 1e-3", "weight", _one_off, _vector("weight")),
        one("weights through float16", "weight", _half, _vector("weight")),
        one("one filter negated", "weight", _filter_negated, lambda s: s.mixes),
        one("kernel flipped", "weight", lambda a, rng: a[..., ::-1], _wide),
        one("kernel transposed", "weight", lambda a, rng: a.swapaxes(-1, -2), lambda s: _wide(s) and _even(s)),
        one("matrix untransposed", "weight", lambda a, rng: a.swapaxes(0, 1), _square),
        one("input channels reversed", "weight", lambda a, rng: a[:, ::-1], lambda s: s.mixes and _inputs(s) > 1),
        one("groups", "weight", _grouped, lambda s: _conv(s) and min(s.tensor("weight").shape[:2]) > 1),
        one("scale dropped", "weight", lambda a, rng: np.ones_like(a), lambda s: _norm(s) and s.has("weight")),
        Kind(
            "two output channels swapped",
            everywhere(lambda s: s.mixes and not s.layer.startswith("ConvT") and len(s.tensor("weight")) > 1),
            changes_tensor({"weight": _first_two, "bias": _first_two}),
            _dead_input,
        ),
        Kind("running mean stale", everywhere(_batch_norm), _statistics(lambda s, m, v: s.write(m, 0 * s.tensor(m)))),
        Kind(
            "running variance stale",
            everywhere(_batch_norm),
            _statistics(lambda s, m, v: s.write(v, np.ones_like(s.tensor(v)))),
        ),
        Kind("mean and variance swapped", everywhere(_batch_norm), _statistics(_exchange)),
    ]


def _even(site: Site) -> bool:
    shape = site.tensor("weight").shape
    return len(shape) == 4 and shape[2] == shape[3]


def _inputs(site: Site) -> int:
    return int(site.tensor("weight").shape[1])


def _setting_kinds() -> list[Kind]:
    def one(
        name: str,
        change: Callable[[Site], dict[str, Any]],
        where: Callable[[Site], bool],
        why: Callable[[Site], str] | None = None,
    ) -> Kind:
        return Kind(name, everywhere(where), changes_setting(change), why)

    def windowed(site: Site) -> bool:
        return _plain_conv(site) or _pool(site)

    def dilated(site: Site) -> dict[str, Any]:
        kernel, padding = site.settings["kernel_size"], site.settings["padding"]
        return {"dilation": [2] * len(kernel), "padding": [p + k // 2 for p, k in zip(padding, kernel, strict=True)]}

    return [
        one("stride", lambda s: {"stride": [1 if n > 1 else 2 for n in s.settings["stride"]]}, windowed),
        one(
            "padding",
            lambda s: {"padding": [n - 1 if n else 1 for n in s.settings["padding"]]},
            lambda s: _plain_conv(s) or (_pool(s) and min(s.settings["kernel_size"]) > 1),
        ),
        one("dilation", dilated, lambda s: _plain_conv(s) and _wide(s) and set(s.settings["dilation"]) == {1}),
        one("ceil_mode", lambda s: {"ceil_mode": not s.settings["ceil_mode"]}, _pool, _remainder),
        one(
            "exclusive",
            lambda s: {"count_include_pad": not s.settings["count_include_pad"]},
            lambda s: s.layer.startswith("AvgPool"),
            _no_padding,
        ),
        one("eps", lambda s: {"eps": s.settings["eps"] * 100}, lambda s: _norm(s) and bool(s.settings.get("eps"))),
        one("training mode", lambda s: {"training": True}, _batch_norm),
        one("momentum", lambda s: {"momentum": 0.9}, lambda s: _batch_norm(s) and bool(s.settings["momentum"])),
        one("dropout left on", lambda s: {"training": True}, _dropout),
        one("dropout rate", lambda s: {"p": s.settings["p"] / 2}, _dropout),
        one(
            "negative slope",
            lambda s: {"negative_slope": 2 * s.settings["negative_slope"]},
            lambda s: s.layer == "LeakyReLU",
            _extent,
        ),
    ]


def _output_kinds() -> list[Kind]:
    def one(
        name: str,
        change: Callable[[Site, Sequence[Array], Array], Array],
        where: Callable[[Site], bool],
        why: Callable[[Site], str] | None = None,
    ) -> Kind:
        return Kind(name, everywhere(where), changes_output(change), why)

    def is_relu(site: Site) -> bool:
        return site.layer == "ReLU"

    def floats(site: Site) -> bool:
        return len(site.returned) == 1 and site.returned[0].dtype.kind == "f" and site.is_leaf

    return [
        one("activation dropped", _relu(lambda x: x), lambda s: s.layer in _ACTIVATIONS, _extent),
        one("ReLU to LeakyReLU", _relu(lambda x: np.where(x > 0, x, 0.01 * x)), is_relu, _extent),
        one("ReLU to ReLU6", _relu(lambda x: np.clip(x, 0, 6)), is_relu, _extent),
        one("ReLU to GELU", _relu(_gelu), is_relu, _extent),
        one("pooling kind", _other_pool, _pool2d),
        one("dropout downscaling", lambda s, i, o: o * (1 - s.settings["p"]), _dropout),
        one("flatten order", _flattened_last, lambda s: s.layer == "Flatten" and s.received[0].ndim > 2, _one_cell),
        one("softmax added", _softmax, lambda s: s.layer == "Linear"),
        one("a NaN", _with_nan, floats),
        one(
            "output through float16",
            lambda s, i, o: o.astype(np.float16).astype(o.dtype),
            lambda s: s.mixes or _norm(s),
        ),
        one("scaled by 1 + 1e-6", lambda s, i, o: o * (1 + 1e-6), lambda s: floats(s) and (s.mixes or _norm(s))),
        one("shifted by a pixel", lambda s, i, o: np.roll(o, 1, -1), lambda s: _conv(s) and s.returned[0].ndim > 2),
        one("rows mixed", lambda s, i, o: o[::-1], lambda s: floats(s) and s.mixes and len(s.returned[0]) > 1),
        one("skipped", lambda s, i, o: i[0], lambda s: _same_shape(s) and bool(s.path) and (_norm(s) or not s.is_leaf)),
        one(
            "a residual added",
            lambda s, i, o: o + i[0],
            lambda s: _same_shape(s) and bool(s.path) and not s.is_leaf and s.received[0].dtype.kind == "f",
        ),
    ]


def _structure_kinds() -> list[Kind]:
    return [
        Kind("concat order", _concat_places, changes_output(_last_first)),
        Kind("padding mode", everywhere(lambda s: _plain_conv(s) and max(s.settings["padding"]) > 0), _reflected),
        Kind("same-shape siblings swapped", _siblings, _exchanged),
        Kind("heads swapped", _roots(_has_heads), _heads_swapped),
        Kind(
            "input RGB/BGR",
            _roots(lambda s: bool(s.received) and s.received[0].ndim > 1 and s.received[0].shape[1] > 1),
            _channels_reversed,
        ),
    ]


KINDS: tuple[Kind, ...] = (*_tensor_kinds(), *_setting_kinds(), *_output_kinds(), *_structure_kinds())


class Catalogue:
    """Every fault that applies to a model.

    Args:
        sites: the model's modules.
        extra: kinds of the port's author.
    """

    def __init__(self, sites: Sequence[Site], extra: Sequence[Kind] = ()) -> None:
        self._kinds = {kind.name: kind for kind in (*KINDS, *extra)}
        self._sites = {site.path: site for site in sites}
        self.faults = [
            Fault(kind.name, tuple(site.path for site in place))
            for kind in self._kinds.values()
            for place in kind.places(sites)
        ]

    def plant(self, fault: Fault, seed: int) -> AbstractContextManager[None]:
        """Put a fault into the model for the time of a block."""
        sites = [self._sites[path] for path in fault.modules]
        return self._kinds[fault.kind].plant(sites, generator(seed, fault))

    def why(self, fault: Fault) -> str:
        """Explain by a measured fact why a fault had no effect."""
        site, kind = self._sites[fault.modules[0]], self._kinds[fault.kind]
        if kind.why is not None:
            return kind.why(site)
        rows = len(site.received[0]) if site.received else 0
        return f"what it returns on all {rows} rows is the same to the last bit"


def sample(faults: Sequence[Fault], count: int, seed: int = 0) -> list[Fault]:
    """Draw faults so that every kind has its share."""
    rng = np.random.default_rng(seed)
    kinds = list(dict.fromkeys(fault.kind for fault in faults))
    order = [kinds[int(i)] for i in rng.permutation(len(kinds))]
    shuffled = {k: list(rng.permutation([i for i, fault in enumerate(faults) if fault.kind == k])) for k in kinds}
    drawn: list[Fault] = []
    while len(drawn) < count and any(shuffled.values()):
        drawn += [faults[shuffled[kind].pop()] for kind in order if shuffled[kind]][: count - len(drawn)]
    return drawn
