"""Values that need no map, and gradients told in few numbers."""

import itertools

import numpy as np
import pytest

from portproof.convert._transfer import put_together, taken_apart
from portproof.frameworks._entries import Entry
from portproof.maps._splits import Packed, layouts, packed
from portproof.maps._told import assigned
from portproof.maps._units import Unit, orders_of, sizes_of, units_of
from portproof.maps._values import canonical, drawn, fill_of, sketched
from portproof.ports._port import Side


def unit(side: Side, name: str, *shape: int) -> Unit:
    return Unit(side, (Entry(name, shape, "float32", "Linear", name.rpartition(".")[0], "parameter"),), shape)


@pytest.mark.parametrize("shape", [(5,), (4, 4), (6, 3), (3, 3, 4, 4), (4, 1, 3, 3), ()])
def test_common_values_are_the_same_in_every_layout(shape: tuple[int, ...]) -> None:
    one = unit(Side.TORCH, "a.weight", *shape)
    axes = tuple(reversed(range(len(shape))))
    other = unit(Side.PADDLE, "b.weight", *(shape[axis] for axis in axes))
    mine = dict(drawn([fill_of(one, "common", one.orders[0], symmetric=True)]))["a.weight"]
    theirs = dict(drawn([fill_of(other, "common", other.orders[0], symmetric=True)]))["b.weight"]
    assert mine.shape == shape
    assert np.allclose(theirs, mine.transpose(axes), rtol=1e-12)


def test_values_of_a_pair_are_not_symmetric_and_go_with_its_layout() -> None:
    torch, paddle = unit(Side.TORCH, "a", 4, 4), unit(Side.PADDLE, "b", 4, 4)
    mine = dict(drawn([fill_of(torch, "pair", torch.orders[0])]))["a"]
    turned = dict(drawn([fill_of(paddle, "pair", paddle.orders[1])]))["b"]
    assert np.array_equal(turned, mine.T)
    assert not np.allclose(mine, mine.T)


@pytest.mark.parametrize("shape", [(7,), (5, 5), (3, 3, 4, 4)])
def test_a_gradient_is_told_with_every_order_of_its_axes(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).standard_normal(shape)
    one = unit(Side.TORCH, "a", *shape)
    told = sketched(array, fill_of(one, "common", one.orders[0]), every=True)
    assert len(told) == len(one.orders)
    for place, order in enumerate(one.orders):
        other = unit(Side.PADDLE, "b", *sizes_of(shape)[::-1])
        again = sketched(array.transpose(order), fill_of(other, "common", other.orders[0]), every=True)
        assert np.allclose(told[place], again[0])


def test_vectors_are_positive_as_a_variance_has_to_be() -> None:
    assert canonical("common", (64,), symmetric=True).min() >= 0.5


@pytest.mark.parametrize(("sizes", "groups"), [((4, 4, 4), 1), ((8, 2, 2), 1), ((8, 4, 4), 4)])
def test_what_is_taken_apart_goes_together_again(sizes: tuple[int, ...], groups: int) -> None:
    whole = np.arange(sum(sizes) * 3).reshape(sum(sizes), 3)
    parts = taken_apart(whole, 0, sizes, groups)
    assert [len(part) for part in parts] == list(sizes)
    assert np.array_equal(put_together(parts, 0, groups), whole)
    if groups > 1:  # every group has its share: the first head's queries, then its keys
        assert np.array_equal(parts[1][0], whole[sizes[0] // groups])


def test_a_packed_projection_is_told_by_counting() -> None:
    units = {
        Side.TORCH: [unit(Side.TORCH, "qkv.weight", 64, 32), unit(Side.TORCH, "o.weight", 32, 32)],
        Side.PADDLE: [unit(Side.PADDLE, n, 32, s) for n, s in (("q", 32), ("k", 16), ("v", 16), ("o", 32))],
    }
    assert packed(units) == [Packed(Side.TORCH, (32, 64), 64, (16, 16, 32))]
    assert layouts((16, 16, 32))[0] == ((32, 16, 16), 1)
    assert ((32, 16, 16), 2) in layouts((16, 16, 32))


def test_the_further_names_of_a_tensor_are_no_units_of_their_own() -> None:
    entries = [
        Entry("wte.weight", (9, 4), "float32", "Embedding", "wte", "parameter"),
        Entry("head.weight", (9, 4), "float32", "Linear", "head", "parameter", "wte.weight"),
        Entry("count", (), "int64", "", "", "buffer"),
    ]
    (found,) = units_of(Side.TORCH, entries)
    assert found.names == ("wte.weight", "head.weight")


def test_orders_keep_equal_axes_in_place_first() -> None:
    assert orders_of((3, 3)) == [(0, 1), (1, 0)]
    assert orders_of((2, 8)) == [(1, 0)]


def test_the_cheapest_pairing_is_found() -> None:
    rng = np.random.default_rng(1)
    for rows, columns in ((3, 3), (3, 5), (5, 3), (6, 6)):
        costs = rng.random((rows, columns))
        found = assigned(costs)
        table = costs if rows <= columns else costs.T
        best = min(
            sum(table[i, j] for i, j in enumerate(chosen))
            for chosen in itertools.permutations(range(table.shape[1]), table.shape[0])
        )
        assert len(found) == min(rows, columns)
        assert sum(costs[i, j] for i, j in found) == pytest.approx(best)
