"""What a model computes, told without its text: sensitised weights are kept for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof import Input, Port
from portproof._disk import save_arrays
from portproof.sides._tasks import Tasks
from portproof.sides._workplace import Workplace

Forward = Callable[[Any, Any], Any]


def side(forward: Forward, table: int = 3) -> Tasks:
    """Return a torch side whose model holds a table that is no weight, and a parameter of its own."""

    def net() -> Any:
        import torch

        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.last = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)
                self.gain = torch.nn.Parameter(torch.ones(8))
                self.register_buffer("table", torch.arange(table, table + 8))

            def forward(self, x: Any) -> Any:
                return forward(self, x)

        return Net()

    return Tasks(Workplace(Port("net", torch=net, inputs={"x": Input(("batch", 6))}), "torch"))


def plain(net: Any, x: Any) -> Any:
    return net.last(net.first(x).relu() * net.table * net.gain)


def rewritten(net: Any, x: Any) -> Any:
    hidden = net.first(x).clamp(min=0)
    return net.last(hidden * net.table * net.gain)


def shifted(net: Any, x: Any) -> Any:
    return net.last((net.first(x) + 0.25).relu() * net.table * net.gain)


def clipped(net: Any, x: Any) -> Any:
    return plain(net, x.clamp(max=8))  # which only the row that reaches farthest meets


def of_sixteen(net: Any, x: Any) -> Any:
    return plain(net, x.reshape(16, 6))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file, array = tmp_path / "rows.safetensors", np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    array[11] *= 64
    save_arrays(file, {"x": array})
    return file


def test_one_function_is_one_however_it_is_written_and_the_model_stays_as_it_was(rows: Path) -> None:
    tasks = side(plain)
    before = tasks.place.model("float32").state()
    found = tasks.function(rows, 0)
    assert found == side(rewritten).function(rows, 0) != ""
    after = tasks.place.model("float32").state()
    assert all(np.array_equal(array, after[name]) for name, array in before.items())


@pytest.mark.parametrize(
    "other", [side(shifted), side(clipped), side(plain, table=4)], ids=["computes", "clips", "table"]
)
def test_another_function_is_told_apart(rows: Path, other: Tasks) -> None:
    assert other.function(rows, 0) not in ("", side(plain).function(rows, 0))


def test_tensors_that_stay_as_the_model_made_them_count(rows: Path) -> None:
    assert side(plain).function(rows, 0, keep=["gain"]) != side(plain).function(rows, 0)


def test_a_model_that_takes_no_two_rows_has_none(rows: Path) -> None:
    assert side(of_sixteen).function(rows, 0) == ""
