"""The contract: what a Port and an Input refuse, and how inputs are made."""

import numpy as np
import pytest

from portproof import Accepted, BadInput, Input, Port
from portproof.frameworks._tree import name_outputs
from portproof.ports._inputs import make_batch, preprocess


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape": (2,), "dtype": "float8"}, "none of float16"),
        ({"shape": ("batch", "length")}, "'length' has no size"),
        ({"shape": ("batch", 0)}, "at least 1"),
        ({"shape": ("batch",), "dtype": "int64"}, "cannot be guessed"),
    ],
)
def test_an_input_says_what_is_wrong_with_it(arguments: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Input(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "a b", "torch": "m:f"}, "a name is made of"),
        ({"name": "a"}, "a paddle or a torch side"),
        ({"name": "a", "torch": "m:f", "inputs": {}}, "inputs is empty"),
        ({"name": "a", "torch": "m:f", "outputs": ("o", "o")}, "each output once"),
        ({"name": "a", "torch": "m:f", "call": "guess"}, "positional"),
    ],
)
def test_a_port_says_what_is_wrong_with_it(arguments: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Port(**{"inputs": {"x": Input(("batch", 2))}, **arguments})


def test_an_accepted_deviation_needs_a_bound_and_a_reason() -> None:
    for bound, reason in ((0.0, "because"), (1e-6, " "), ("because", 1e-6)):
        with pytest.raises(BadInput, match="a bound above 0 and a reason"):
            Accepted(bound, reason)  # type: ignore[arg-type]


def port(**inputs: Input) -> Port:
    return Port("p", torch="m:f", inputs=inputs)


def test_inputs_are_the_same_for_the_same_seed_and_differ_for_another() -> None:
    one, two, three = (make_batch(port(x=Input(("batch", 4))), seed=seed).arrays["x"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, three)


def test_ranges_values_and_free_dimensions_are_kept() -> None:
    batch = make_batch(
        port(
            tokens=Input(("batch", "length"), "int32", range=(3, 5), sizes={"length": 7}),
            mask=Input(("batch",), "bool"),
            level=Input(("batch", 2), values=(0.25, 4.0)),
        )
    ).arrays
    assert batch["tokens"].shape == (64, 7)
    assert batch["tokens"].dtype == np.int32
    assert set(np.unique(batch["tokens"])) == {3, 4, 5}
    assert batch["mask"].dtype == bool
    assert set(np.unique(batch["level"])) == {0.25, 4.0}


def test_an_image_gets_photographs_and_probes_and_fewer_rows() -> None:
    batch = make_batch(port(image=Input(("batch", 3, 96, 128))))
    assert batch.arrays["image"].shape == (16, 3, 96, 128)
    assert sum(family.startswith("photograph") for family in batch.families) == 8
    assert len(batch.families) == 16


def test_preprocessing_normalises_a_known_colour() -> None:
    grey = np.full((50, 80, 3), 128, np.uint8)
    row = preprocess(grey, 32, 32)
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(row.mean(axis=(1, 2)), expected, rtol=1e-5)


def test_a_port_s_own_preprocessing_is_used_and_its_shape_checked() -> None:
    own = Input(("batch", 3, 64, 64), preprocess=lambda photograph: photograph[:64, :64].transpose(2, 0, 1) / 255)
    assert make_batch(port(image=own)).arrays["image"][:8].max() <= 1
    wrong = Input(("batch", 3, 64, 64), preprocess=lambda photograph: photograph)
    with pytest.raises(BadInput, match="preprocess made shape"):
        make_batch(port(image=wrong))


def test_outputs_are_named_strictly() -> None:
    is_leaf = lambda value: isinstance(value, int)  # noqa: E731
    assert name_outputs((1, [2, 3]), ("a", "b", "c"), is_leaf) == {"a": 1, "b": 2, "c": 3}
    assert name_outputs({"b": 1, "a": 2}, ("a", "b"), is_leaf) == {"a": 2, "b": 1}
    assert name_outputs((1, 2, 3), ("a", "b"), is_leaf) == {"a": 1, "b": 2}  # what has no name is left out
    assert name_outputs({"a": 1, "cache": 2}, ("a",), is_leaf) == {"a": 1}
    with pytest.raises(ValueError, match="names 2 outputs"):
        name_outputs((1,), ("a", "b"), is_leaf)
    with pytest.raises(ValueError, match="returned"):
        name_outputs({"a": 1}, ("a", "b"), is_leaf)
