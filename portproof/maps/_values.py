"""Values that need no map: the same on both sides for all tensors of the same sizes, whatever their layout.

A tensor's *canonical* form has its axes in the order in which their sizes descend, as most convolutions store them.
Where sizes are equal that order is not settled, so the common values are symmetric in those axes: a square matrix is
its own transpose. Once a tensor's partner and their layouts are known, both get values of their own, which are not.
"""

from __future__ import annotations

import functools
import itertools
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from portproof._numbers import Array
from portproof.convert._transfer import put_together
from portproof.maps._units import Cut, Sizes, Unit, View, orders_of, sizes_of

#: Numbers that a gradient is told by: products with as many fixed random tensors of rank one.
SKETCH = 16
#: Elements that are worked on at a time.
_IN_CACHE = 2**15


@dataclass(frozen=True)
class Fill:
    """What a unit is filled with on its side.

    Attributes:
        tensor: its first name.
        shape: of the part.
        order: of its axes of more than one element, in which it is canonical.
        key: what its values are drawn from; the same key and sizes give the same values on both sides. "": as built.
        symmetric: whether they are the same for every order of equal axes.
        cut, part: where it is one part of a tensor.
        view: where the tensor has some of its axes joined.
    """

    tensor: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    key: str
    symmetric: bool = False
    cut: Cut | None = None
    part: int = 0
    view: View | None = None


def fill_of(unit: Unit, key: str, order: tuple[int, ...], *, symmetric: bool = False) -> Fill:
    """Return what a unit is filled with."""
    return Fill(unit.entry.name, unit.shape, order, key, symmetric, unit.cut, unit.part, unit.view)


def _rng(*key: object) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(zlib.crc32(repr(key).encode())))  # faster than the usual one


def _scale(sizes: Sizes) -> float:
    """Return the standard deviation that keeps a signal's variance about as it is, whichever axis is summed over."""
    if len(sizes) == 3 and sizes[0] == sizes[1]:
        return math.sqrt(2 / (sizes[0] * sizes[1]))  # a depthwise convolution: only the window is summed over
    widest = math.sqrt(sizes[-1] * sizes[-2])
    gain = 2 if len(sizes) > 2 else 1  # behind most convolutions stands a ReLU
    return math.sqrt(gain * widest / math.prod(sizes))


def canonical(key: str, sizes: Sizes, *, symmetric: bool) -> Array:
    """Draw a canonical array: of one axis between 0.5 and 1.5, as a variance has to be; else uniform about zero."""
    rng, shape = _rng(key, sizes), sizes[::-1]
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape)
    half = math.sqrt(3) * _scale(sizes)
    drawn: Array = rng.uniform(-half, half, shape)
    if not symmetric or len(set(shape)) == len(shape):
        return drawn
    runs = [tuple(run) for _, run in itertools.groupby(range(len(shape)), key=lambda axis: shape[axis])]
    turns = [tuple(itertools.chain(*chosen)) for chosen in itertools.product(*map(itertools.permutations, runs))]
    return np.asarray(np.sum([drawn.transpose(turn) for turn in turns], axis=0) / math.sqrt(len(turns)))


def stored(fill: Fill, values: Array) -> Array:
    """Return canonical values as a unit's side stores them."""
    back = np.argsort(fill.order) if fill.order else ()
    return values.transpose(back).reshape(fill.shape) if fill.order else values.reshape(fill.shape)


def drawn(fills: Sequence[Fill], nudged: int = 0) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of the tensors that some fills make up, one at a time; what is as built is not among them.

    Args:
        fills: the parts of a tensor follow each other.
        nudged: above 0, every value is moved by about a unit in the last place, drawn from this number.
    """
    common: dict[tuple[str, Sizes], Array] = {}
    for tensor, group in itertools.groupby(fills, key=lambda fill: fill.tensor):
        parts = list(group)
        if not parts[0].key:
            continue
        arrays = [_of_part(fill, common, nudged) for fill in parts]
        cut, view = parts[0].cut, parts[0].view
        whole = arrays[0] if cut is None else put_together(arrays, cut.axis, cut.groups)
        yield tensor, whole if view is None else view.stored(whole)


def _nudge(array: Array, rng: np.random.Generator) -> None:
    """Move every value of a contiguous array by a unit in the last place, up or down."""
    flat, eps = array.reshape(-1), np.finfo(np.float64).eps
    room = np.empty(min(_IN_CACHE, flat.size))
    for begin in range(0, flat.size, _IN_CACHE):
        part = flat[begin : begin + _IN_CACHE]
        factors = room[: part.size]
        up = np.unpackbits(np.frombuffer(rng.bytes(part.size // 8 + 1), np.uint8), count=part.size)
        np.multiply(up, 2 * eps, out=factors)
        factors += 1 - eps
        part *= factors


def _of_part(fill: Fill, common: dict[tuple[str, Sizes], Array], nudged: int) -> Array:
    """Return one part's array; ``common`` keeps the values that many share."""
    key = fill.key, sizes_of(fill.shape)
    if not fill.symmetric:
        values = canonical(*key, symmetric=False)
    else:
        if key not in common:
            common[key] = canonical(*key, symmetric=True)
        values = common[key].copy() if nudged else common[key]
    if nudged:
        _nudge(values, _rng(nudged, fill.tensor, fill.part))
    return stored(fill, values)


def sketched(array: Array, fill: Fill, *, every: bool) -> Array:
    """Return what a tensor of a unit's shape is told by: ``(orders, SKETCH)``, a row for each order of its axes.

    The first row belongs to the fill's own order, the others, if ``every`` one is asked for, to each further order in
    which sizes descend. The array is left as it lies: another order gives its axes other vectors.
    """
    shape = tuple(size for size in fill.shape if size != 1) or (1,)
    array = array.reshape(shape).astype(np.float64, copy=False)
    vectors = _told_by(sizes_of(fill.shape))
    last = len(shape) - 1
    first = 0 if shape[0] >= shape[last] else last  # one product of matrices leaves little to be done
    rest, known, rows = shape[1:] if first == 0 else shape[:-1], dict[int, Array](), []
    for order in _orders(fill) if every else [fill.order]:
        place = {axis: at for at, axis in enumerate(order or (0,))}
        at = place.pop(first)
        if at not in known:
            flat = array.reshape(shape[0], -1) if first == 0 else array.reshape(-1, shape[last]).T
            known[at] = vectors[at] @ flat
        left = known[at].reshape(SKETCH, *rest)
        for axis in sorted(place, reverse=True):
            left = np.einsum("k...i,ki->k...", left, vectors[place[axis]])
        rows.append(left)
    return np.stack(rows)


@functools.lru_cache(maxsize=256)
def _told_by(sizes: Sizes) -> list[Array]:
    """Return the vectors for each axis of a canonical array."""
    return [_rng("sketch", sizes, axis).standard_normal((SKETCH, size)) for axis, size in enumerate(sizes[::-1])]


def _orders(fill: Fill) -> list[tuple[int, ...]]:
    every = orders_of(tuple(size for size in fill.shape if size != 1))
    return [fill.order, *(order for order in every if order != fill.order)]


def outputs_sketched(outputs: Mapping[str, Array]) -> Array:
    """Return what a set of outputs is told by, ``(1, SKETCH)``: few numbers, the same on both sides."""
    total = np.zeros(SKETCH)
    for name, array in outputs.items():
        flat = array.reshape(-1).astype(np.float64)
        rng = _rng("outputs", name, flat.size)
        total += np.array([rng.standard_normal(flat.size) @ flat for _ in range(SKETCH)])
    return total[None]
