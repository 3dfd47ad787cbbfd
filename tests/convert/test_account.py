"""The bijection of two state dicts: what corresponds, what is left out and why, what is wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portproof import BadInput, Permute, Reshape, Split, WeightMap
from portproof.convert._account import match_states
from portproof.convert._table import map_csv, read_map
from portproof.convert._transfer import transfer
from portproof.frameworks._entries import Entry
from portproof.ports._weightmap import from_json, to_json


def entry(name: str, *shape: int, layer: str = "Linear", dtype: str = "float32") -> Entry:
    return Entry(name, shape, dtype, layer, name.rpartition(".")[0], "parameter")


def kinds(torch: list[Entry], paddle: list[Entry], weights: WeightMap | None = None) -> list[tuple[str, str]]:
    return [(p.kind, p.name) for p in match_states(torch, paddle, weights or WeightMap()).problems]


def test_a_square_linear_is_transposed_by_its_type_and_a_square_convolution_is_not() -> None:
    torch = [entry("a.weight", 4, 4), entry("b.weight", 4, 4, 1, 1, layer="Conv2d")]
    account = match_states(torch, torch, WeightMap())
    assert [row.transform for row in account.rows] == ["transpose", "copy"]


def test_missing_surplus_shape_dtype_and_layer_are_each_named() -> None:
    assert kinds([entry("a.bias", 4)], []) == [("missing", "a.bias")]
    assert kinds([], [entry("a.bias", 4)]) == [("surplus", "a.bias")]
    assert kinds([entry("a.weight", 3, 4)], [entry("a.weight", 3, 4)]) == [("shape", "a.weight")]
    assert kinds([entry("a.bias", 4)], [entry("a.bias", 4, dtype="float64")]) == [("dtype", "a.bias")]
    assert kinds([entry("a.bias", 4)], [entry("a.bias", 4, layer="Conv2d")]) == [("layer", "a.bias")]


def test_a_message_names_the_tensors_on_both_sides() -> None:
    problem = match_states([entry("a.bias", 4)], [entry("a.bias", 5)], WeightMap()).problems[0]
    assert "torch has 'a.bias' [4] float32" in problem.message
    assert "paddle has 'a.bias' [5] float32" in problem.message


def test_renames_translate_modules_and_the_longest_wins() -> None:
    weights = WeightMap(rename={"layer{n}.{i}": "block.{n}.{i}", "layer1.0": "stem"})
    torch = [entry("layer1.0.bias", 4), entry("layer2.3.bias", 4)]
    paddle = [entry("stem.bias", 4), entry("block.2.3.bias", 4)]
    account = match_states(torch, paddle, weights)
    assert account.problems == ()
    assert [row.paddle for row in account.rows] == [("stem.bias",), ("block.2.3.bias",)]


def test_a_rename_may_drop_a_placeholder_and_invents_none() -> None:
    with pytest.raises(BadInput, match=r"nothing says what \{m\} stands for"):
        WeightMap(rename={"layer{n}": "block.{m}"})
    assert WeightMap(rename={"layer.{n}.only.{m}": "block.{n}"}).paddle_path("layer.3.only.0.bias") == "block.3.bias"


def test_a_module_is_left_out_with_all_that_is_in_it() -> None:
    weights = WeightMap(ignore={"guide.{n}": "trains only"})
    account = match_states([entry("a.bias", 4)], [entry("a.bias", 4), entry("guide.0.norm.bias", 2)], weights)
    assert account.problems == ()
    assert account.ignored == (("paddle", "guide.0.norm.bias", "trains only"),)


def test_what_fits_nothing_is_said_with_what_comes_nearest() -> None:
    weights = WeightMap(
        {"encoder.layer.{n}": "x"}, {"giude": "a slip"}, {"head.wieght": Permute((1, 0)), "head.weight": Reshape()}
    )
    names = {"torch": {"encoder", "encoder.layers.0", "head.weight"}, "paddle": {"guide", "guide.0.weight"}}
    assert weights.unused(names) == [
        "rename['encoder.layer.{n}'] fits nothing; the nearest name is 'encoder.layers.0'",
        "ignore['giude'] fits nothing; the nearest name is 'guide'",
        "transforms['head.wieght'] fits nothing; the nearest name is 'head.weight'",
    ]


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (4, 4)])
def test_a_matrix_of_an_own_class_lies_as_its_shape_tells(shape: tuple[int, int]) -> None:
    torch = [entry("a.weight", *shape, layer="Module"), entry("a.bias", 4, layer="Module")]
    account = match_states(torch, [entry("a.weight", 4, 6 if shape != (4, 4) else 4), entry("a.bias", 4)], WeightMap())
    if shape == (4, 4):
        (problem,) = account.problems
        assert "transforms={'a.weight': Permute((1, 0))}" in problem.message
        told = WeightMap(transforms={"a.weight": Permute((0, 1))})
        account = match_states(torch, [entry("a.weight", 4, 4), entry("a.bias", 4)], told)
    assert account.problems == ()
    assert account.rows[0].axes == {(4, 6): None, (6, 4): (1, 0), (4, 4): (0, 1)}[shape]


def test_ignored_tensors_need_a_reason_and_are_in_the_account() -> None:
    with pytest.raises(BadInput, match="needs a reason"):
        WeightMap(ignore={"a.bias": " "})
    account = match_states([entry("a.bias", 4)], [], WeightMap(ignore={"{m}.bias": "tied"}))
    assert account.problems == ()
    assert account.ignored == (("torch", "a.bias", "tied"),)


def test_a_split_is_taken_apart_and_joined_to_the_last_bit() -> None:
    weights = WeightMap(
        transforms={"{m}.qkv.weight": Split(("{m}.q.weight", "{m}.k.weight", "{m}.v.weight"), transpose=True)}
    )
    torch = [entry("x.qkv.weight", 12, 4)]
    paddle = [entry(f"x.{part}.weight", 4, 4) for part in "qkv"]
    account = match_states(torch, paddle, weights)
    assert account.problems == ()
    whole = np.arange(48, dtype=np.float32).reshape(12, 4)
    parts = transfer({"x.qkv.weight": whole}, account, "paddle", {})
    np.testing.assert_array_equal(parts["x.k.weight"], whole[4:8].T)
    np.testing.assert_array_equal(transfer(parts, account, "torch", {})["x.qkv.weight"], whole)


def test_a_whole_on_paddle_s_side_is_split_towards_torch() -> None:
    weights = WeightMap(transforms={"qkv.bias": Split(("q.bias", "k.bias"), whole="paddle")})
    account = match_states([entry("q.bias", 2), entry("k.bias", 2)], [entry("qkv.bias", 4)], weights)
    assert account.problems == ()
    joined = transfer({"q.bias": np.zeros(2), "k.bias": np.ones(2)}, account, "paddle", {})
    assert joined["qkv.bias"].tolist() == [0, 0, 1, 1]


def test_a_split_that_does_not_fit_is_named() -> None:
    weights = WeightMap(transforms={"qkv.bias": Split(("q.bias", "k.bias"))})
    assert kinds([entry("qkv.bias", 4)], [entry("q.bias", 2)], weights)[0] == ("missing", "qkv.bias")
    assert kinds([entry("qkv.bias", 5)], [entry("q.bias", 2), entry("k.bias", 3)], weights)[0][0] == "shape"


def test_a_permutation_goes_both_ways() -> None:
    weights = WeightMap(transforms={"t": Permute((2, 0, 1))})
    account = match_states([entry("t", 2, 3, 4, layer="Raw")], [entry("t", 4, 2, 3, layer="Raw")], weights)
    assert account.problems == ()
    array = np.arange(24).reshape(2, 3, 4)
    there = transfer({"t": array}, account, "paddle", {})
    assert there["t"].shape == (4, 2, 3)
    np.testing.assert_array_equal(transfer(there, account, "torch", {})["t"], array)


def test_a_weight_map_survives_its_json() -> None:
    weights = WeightMap({"a": "b"}, {"c": "why"}, {"d": Split(("e", "f"), 1), "g": Permute((1, 0))})
    restored = from_json(to_json(weights))
    assert to_json(restored) == to_json(weights)


def split_in_groups() -> tuple[list[Entry], list[Entry], WeightMap]:
    torch = [entry("qkv.weight", 16, 4), entry("qkv.bias", 16)]
    paddle = [entry("q.weight", 4, 8), entry("k.weight", 4, 4), entry("v.weight", 4, 4)]
    paddle += [entry("q.bias", 8), entry("k.bias", 4), entry("v.bias", 4)]
    transforms = {
        f"qkv.{kind}": Split([f"{n}.{kind}" for n in "qkv"], transpose=kind == "weight", sizes=(8, 4, 4), groups=2)
        for kind in ("weight", "bias")
    }
    return torch, paddle, WeightMap(transforms=transforms)


def test_a_split_may_have_parts_of_several_sizes_and_a_share_in_every_group(tmp_path: Path) -> None:
    torch, paddle, weights = split_in_groups()
    account = match_states(torch, paddle, weights)
    assert account.problems == ()
    given = {"qkv.weight": np.arange(64.0).reshape(16, 4), "qkv.bias": np.arange(16.0)}
    made = transfer(given, account, "paddle", {})
    # Two groups of eight rows: four of the query, two of the key, two of the value.
    assert made["q.bias"].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert made["k.bias"].tolist() == [4, 5, 12, 13]
    assert np.array_equal(made["v.weight"], given["qkv.weight"][[6, 7, 14, 15]].T)
    back = transfer(made, account, "torch", {})
    assert all(np.array_equal(back[name], given[name]) for name in given)
    (tmp_path / "map.csv").write_text(map_csv(account, {"torch": torch, "paddle": paddle}))
    assert read_map(tmp_path / "map.csv")[0].rows == account.rows
    assert from_json(to_json(weights)).transforms["qkv.bias"].groups == 2  # type: ignore[union-attr]


def test_sizes_that_do_not_make_up_the_whole_are_named() -> None:
    torch, paddle, weights = split_in_groups()
    wrong = {name: replace(split, sizes=(8, 4, 2)) for name, split in weights.transforms.items()}  # type: ignore[type-var]
    assert ("shape", "q.weight") in kinds(torch, paddle, WeightMap(transforms=wrong))


def test_a_pointwise_convolution_may_be_a_linear_layer_of_the_other_side(tmp_path: Path) -> None:
    torch, paddle = [entry("c.weight", 3, 4, 1, 1, layer="Conv2d")], [entry("c.weight", 4, 3)]
    assert kinds(torch, paddle) == [("layer", "c.weight")]
    account = match_states(torch, paddle, WeightMap(transforms={"c.weight": Reshape((1, 0, 2, 3))}))
    assert account.problems == ()
    given = {"c.weight": np.arange(12.0).reshape(3, 4, 1, 1)}
    made = transfer(given, account, "paddle", {})
    assert np.array_equal(made["c.weight"], given["c.weight"][:, :, 0, 0].T)
    assert np.array_equal(transfer(made, account, "torch", {})["c.weight"], given["c.weight"])
    (tmp_path / "map.csv").write_text(map_csv(account, {"torch": torch, "paddle": paddle}))
    assert read_map(tmp_path / "map.csv")[0].rows == account.rows
    assert kinds(torch, paddle, WeightMap(transforms={"c.weight": Reshape((1, 1, 2, 3))})) == [
        ("transform", "c.weight")
    ]
