"""A model whose weights are overwritten anyway is built fast: described without parameters, drawn by the block."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from portproof import find_port
from portproof._numbers import DRAWN
from portproof.frameworks import load_framework
from portproof.maps._tasks import MapTasks
from portproof.sides._tasks import Tasks
from portproof.sides._workplace import Workplace


def _linear(side: str) -> Callable[[], Any]:
    if side == "torch":
        import torch

        return lambda: torch.nn.Linear(1000, 200)
    import paddle

    return lambda: paddle.nn.Linear(1000, 200)


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_large_parameters_repeat_a_block_of_draws_for_the_time_of_the_block_alone(side: str) -> None:
    framework = load_framework(side)

    def drawn() -> np.ndarray[Any, Any]:
        return framework.to_array(framework.build(_linear(side), {}, "float64").weight).reshape(-1)

    with framework.repeating_draws():
        repeated = drawn()
    plain = drawn()
    assert np.array_equal(repeated[:DRAWN], repeated[DRAWN : 2 * DRAWN])
    assert not np.array_equal(plain[:DRAWN], plain[DRAWN : 2 * DRAWN])
    assert repeated.std() == pytest.approx(plain.std(), rel=0.05)


@pytest.mark.parametrize("side", ["torch", "paddle"])
@pytest.mark.parametrize("name", ["bert", "crnn"])
def test_a_model_is_described_without_its_parameters_as_with_them(name: str, side: str) -> None:
    port = find_port(name).port
    assert MapTasks(Workplace(port, side)).describe() == Tasks(Workplace(port, side)).describe()
