"""Sensitised weights of a model that changed: those of before where it is the same function, else its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from portproof import Input, Port
from portproof._disk import save_arrays
from portproof._numbers import Arrays
from portproof.sides._tasks import Tasks
from portproof.sides._workplace import Workplace

Forward = Callable[[Any, Any], Any]


def side(forward: Forward, table: int = 3) -> Tasks:
    """Return a torch side whose model holds a table that is no weight."""

    def net() -> Any:
        import torch

        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.last = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)
                self.gain = torch.nn.Parameter(torch.ones(8))  # drawn around what the model made it
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
    return net.last(net.first(x).relu() * net.table * net.gain).clamp(
        max=0.5
    )  # which only the row that reaches farthest meets


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file, array = tmp_path / "rows.safetensors", np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    array[11] *= 64
    save_arrays(file, {"x": array})
    return file


@pytest.fixture
def before(tmp_path: Path, rows: Path) -> Path:
    """Weights that nothing would make, and what the plain model puts out on them."""
    folder = tmp_path / "before"
    folder.mkdir()
    tasks = side(plain)
    tasks.sensitise(rows, folder / "w", 0, put_out=folder / "put_out")
    halved = {n: array / 2 if array.dtype.kind == "f" else array for n, array in load_file(folder / "w").items()}
    save_arrays(folder / "w", halved)
    tasks.load(folder / "w")
    chosen = {"x": load_file(rows)["x"][[0, 11]]}
    save_arrays(folder / "put_out", tasks.place.model("float32").run(chosen))
    return folder / "w"


def made(tasks: Tasks, rows: Path, before: Path | None, keep: tuple[str, ...] = ()) -> Arrays:
    out = rows.parent / "made"
    tasks.sensitise(rows, out, 0, keep=keep, put_out=rows.parent / "put_out", before=before)
    return load_file(out)


def alike(one: Arrays, two: Arrays) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(array, two[name]) for name, array in one.items())


@pytest.mark.parametrize("forward", [plain, rewritten])
def test_a_model_that_puts_out_what_it_did_gets_the_weights_of_before(
    rows: Path, before: Path, forward: Forward
) -> None:
    assert alike(made(side(forward), rows, before), load_file(before))
    assert alike(load_file(rows.parent / "put_out"), load_file(before.with_name("put_out")))


@pytest.mark.parametrize("forward", [shifted, clipped])
def test_another_function_gets_the_weights_that_it_gets_alone(rows: Path, before: Path, forward: Forward) -> None:
    assert alike(made(side(forward), rows, before), made(side(forward), rows, None))


def test_a_table_that_changed_is_seen(rows: Path, before: Path) -> None:
    found = made(side(plain, table=4), rows, before)
    assert alike(found, made(side(plain, table=4), rows, None))
    assert found["table"][0] == 4


def test_without_what_was_put_out_weights_are_made(rows: Path, before: Path) -> None:
    before.with_name("put_out").unlink()
    assert alike(made(side(plain), rows, before), made(side(plain), rows, None))


def test_a_tensor_of_the_model_s_own_is_not_taken_from_before(rows: Path, before: Path) -> None:
    tasks = side(plain)
    own = tasks.place.model("float32").state(["last.bias"])["last.bias"]
    assert np.array_equal(made(tasks, rows, before, keep=("last.bias",))["last.bias"].shape, own.shape)
    assert not alike(made(side(plain), rows, before, keep=("last.bias",)), load_file(before))
