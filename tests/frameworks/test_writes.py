"""Both frameworks count the writes into a tensor, through whatever view they go; a replay asks nothing else."""

from collections.abc import Callable
from typing import Any

import paddle
import pytest
import torch

from portproof.frameworks import load_framework

WRITES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "torch": {
        "relu": lambda x: torch.nn.functional.relu(x, inplace=True),
        "element": lambda x: x.__setitem__((0, 0), 5.0),
        "column": lambda x: x[:, 0].zero_(),
        "reshaped": lambda x: x.view(-1)[2:3].fill_(3),
        "transposed": lambda x: x.t().mul_(2),
        "out": lambda x: torch.add(x, 1, out=x),
    },
    "paddle": {
        "relu": paddle.nn.functional.relu_,
        "element": lambda x: x.__setitem__((0, 0), 5.0),
        "column": lambda x: x[:, 0].zero_(),
        "reshaped": lambda x: x.reshape([-1])[2:3].fill_(3),
        "transposed": lambda x: x.t().scale_(2),
        "assigned": lambda x: paddle.assign(paddle.zeros([3, 4]), x),
    },
}


@pytest.mark.parametrize(("side", "way"), [(side, way) for side, ways in WRITES.items() for way in ways])
def test_a_write_is_counted_and_a_reading_is_not(side: str, way: str) -> None:
    framework = load_framework(side)
    tensor = (torch if side == "torch" else paddle).ones([3, 4])
    with framework.no_grad():
        before = framework.version(tensor)
        framework.to_array(tensor.clone() + tensor)
        assert framework.version(tensor) == before
        WRITES[side][way](tensor)
        assert framework.version(tensor) > before
