"""The rule: what is compared, what a floor is, and the edges at which a naive ratio would lie."""

import math

import numpy as np
import pytest

from portproof._numbers import EPSILON, compare
from portproof.judge._floor import FLOOR_MULTIPLE, Floor, measure_floor, ratio, verdict_of
from portproof.judge._hops import judge_outputs

RNG = np.random.default_rng(0)
REFERENCE = RNG.standard_normal((16, 100))
FLOOR = Floor(EPSILON["float32"])


def noisy(size: float) -> np.ndarray:
    return REFERENCE + RNG.standard_normal(REFERENCE.shape) * size


def test_rounding_is_equivalent_and_a_fault_is_divergent() -> None:
    assert verdict_of(compare(REFERENCE.copy(), REFERENCE, "float32"), FLOOR, "float32") == "identical"
    rounded = compare(REFERENCE.astype(np.float32), REFERENCE, "float32")
    assert verdict_of(rounded, FLOOR, "float32") == "equivalent"
    assert verdict_of(compare(noisy(1e-4), REFERENCE, "float32"), FLOOR, "float32") == "divergent"


def test_one_wrong_element_among_many_is_seen_by_its_peak() -> None:
    large = RNG.standard_normal((64, 10_000))
    wrong = large.copy()
    wrong[7, 7] += 400 * EPSILON["float32"]
    difference = compare(wrong, large, "float32")
    assert difference.rms < FLOOR.at("float32")
    assert verdict_of(difference, FLOOR, "float32") == "divergent"


def test_a_dim_row_counts_as_much_as_a_bright_one() -> None:
    scaled = REFERENCE.copy()
    scaled[0] *= 1e-6
    wrong = scaled.copy()
    wrong[0] *= 1.001
    assert verdict_of(compare(wrong, scaled, "float32"), FLOOR, "float32") == "divergent"


def test_the_floor_is_the_smaller_side_s_so_that_a_hidden_cast_cannot_raise_it() -> None:
    honest = compare(REFERENCE.astype(np.float32), REFERENCE, "float32")
    cast = compare(REFERENCE.astype(np.float16).astype(np.float32), REFERENCE, "float32")
    floor = measure_floor([honest, cast])
    assert floor.rms == honest.rms
    assert ratio(cast, floor, "float32") > FLOOR_MULTIPLE


def test_a_side_that_adds_in_a_worse_order_errs_farther_in_each_precision_and_is_right() -> None:
    near, far = (compare(noisy(size * EPSILON["float32"]), REFERENCE, "float32") for size in (1, 1000))
    apart = compare(noisy(1500 * EPSILON["float64"]), REFERENCE, "float64")
    floor = measure_floor([near, far], apart=apart)
    assert ratio(apart, floor, "float64") < FLOOR_MULTIPLE
    assert ratio(far, floor, "float32") < FLOOR_MULTIPLE
    for size in (1e-9, 5 * EPSILON["float64"]):  # another function; a lower precision, which float64 knows nothing of
        assert measure_floor([near, far], apart=compare(noisy(size), REFERENCE, "float64")).rms == near.rms
    alike = [near, compare(noisy(3 * EPSILON["float32"]), REFERENCE, "float32")]
    assert measure_floor(alike, apart=compare(noisy(3 * EPSILON["float64"]), REFERENCE, "float64")).rms == near.rms


def test_a_floor_is_never_below_half_an_ulp() -> None:
    assert Floor(0.0).at("float32") == EPSILON["float32"] / 2
    assert Floor(0.0).at("float64") == EPSILON["float64"] / 2


def test_a_floor_is_carried_to_float64_by_the_ratio_of_the_epsilons() -> None:
    assert Floor(2.0**-20).at("float64") == 2.0**-49


def test_a_module_without_rounding_must_agree_exactly() -> None:
    exact = measure_floor([compare(REFERENCE.copy(), REFERENCE, "float32", detail=False)] * 2)
    assert exact.exact
    assert verdict_of(compare(REFERENCE.copy(), REFERENCE, "float64"), exact, "float64") == "identical"
    assert verdict_of(compare(REFERENCE * (1 + 2**-52), REFERENCE, "float64"), exact, "float64") == "divergent"


def test_a_few_elements_without_error_are_luck_and_not_a_property() -> None:
    few = REFERENCE[:4, :2]
    assert not measure_floor([compare(few.copy(), few, "float32")]).exact


@pytest.mark.parametrize("tensor", [np.zeros((16, 10)), np.ones((16, 10)), np.ones((16, 10)) + 1e-9])
def test_a_tensor_that_does_not_move_with_the_input_sees_nothing(tensor: np.ndarray) -> None:
    assert verdict_of(compare(tensor.copy(), tensor, "float32"), FLOOR, "float32") == "inconclusive"


def test_a_fault_in_a_constant_tensor_is_still_a_fault() -> None:
    assert verdict_of(compare(np.ones((16, 10)), np.zeros((16, 10)), "float32"), FLOOR, "float32") == "divergent"


def test_nan_and_infinity_are_compared_by_place() -> None:
    one, two = REFERENCE.copy(), REFERENCE.copy()
    one[3, 4] = two[3, 4] = np.nan
    one[5, 6] = two[5, 6] = np.inf
    assert compare(one, two, "float32").mismatch is None
    two[5, 6] = -np.inf
    assert "NaN or infinity" in str(compare(one, two, "float32").mismatch)
    assert "NaN or infinity" in str(compare(one, REFERENCE, "float32").mismatch)
    assert ratio(compare(one, REFERENCE, "float32"), FLOOR, "float32") == math.inf


def test_shapes_and_kinds_are_never_made_to_fit() -> None:
    assert "shape [16, 100, 1]" in str(compare(REFERENCE[..., None], REFERENCE, "float32").mismatch)
    assert "dtype" in str(compare(REFERENCE.astype(int), REFERENCE, "float32").mismatch)
    assert "1 of 3" in str(compare(np.array([1, 2, 3]), np.array([1, 2, 4]), "float32").mismatch)


def test_a_hop_carries_the_tensor_that_settles_its_verdict() -> None:
    found = {"good": noisy(1e-8), "bad": noisy(1e-3)}
    expected = {"good": REFERENCE, "bad": REFERENCE}
    hop = judge_outputs("numerics", "a", "b", "float32", "w", found, expected, {"good": FLOOR, "bad": FLOOR})
    assert hop.verdict == "divergent"
    assert hop.worst is not None
    assert hop.worst.tensor == "bad"


def test_figures_for_people_are_what_they_say() -> None:
    difference = compare(np.array([[1.0, 3.0]]), np.array([[1.0, 2.0]]), "float32")
    assert difference.max_abs == 1.0
    assert difference.max_rel == 0.5
    assert difference.max_ulp == pytest.approx(1.0 / (2 * EPSILON["float32"]))
    assert difference.cosine == pytest.approx(7 / math.sqrt(10 * 5))
