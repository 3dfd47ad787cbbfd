"""A model too large to hold is judged module by module: weights read once a side, one module in memory at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from portproof import BadInput, Input, Port, find_port, verify
from portproof._disk import save_arrays
from portproof.ports._inputs import make_batch
from portproof.ports._locate import Located, Project
from portproof.replay._tasks import ReplayTasks
from portproof.sides._process import Place, WorkerSession
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks
from tests import large_stack, small_ports
from tests.conftest import Run


def torch_mixed() -> Any:
    from torch import nn

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU())
            self.wide = nn.Sequential(nn.ConvTranspose2d(4, 6, 2), nn.GroupNorm(2, 6))
            self.head = nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.wide(self.features(x)).mean((2, 3)))

    return Mixed()


def paddle_mixed() -> Any:
    from paddle import nn

    class Mixed(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.PReLU())
            self.wide = nn.Sequential(nn.Conv2DTranspose(4, 6, 2), nn.GroupNorm(2, 6))
            self.head = nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.wide(self.features(x)).mean((2, 3)))

    return Mixed()


MIXED = Port("mixed", paddle_mixed, torch_mixed, {"x": Input(("batch", 3, 8, 8))})


def sensitised(port: Port, path: Path) -> Path:
    """Write weights for a port, in torch's layouts."""
    with Sessions(Located(port, None, Project())) as sessions:
        sides = Sides(sessions)
        sides.require_match()
        inputs = sides.folder / "inputs.safetensors"
        save_arrays(inputs, make_batch(port).arrays)
        tensors, side, _ = sides.sensitise(inputs, 0)
        save_file({n: np.asarray(a, order="C") for n, a in tensors.items()}, path, {"portproof.side": side})
    return path


def streamed(report: Any) -> dict[str, Any]:
    return {side: found["streamed"] for side, found in report.environment["sides"].items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "stack.safetensors"
    large_stack.write_weights(path, **large_stack.SMALL)
    return path


def test_a_right_stack_holds_and_each_weight_is_read_once_a_side(weights: Path) -> None:
    report = verify(large_stack.STACK, weights=weights, blockwise=True)
    assert report, report
    assert [hop.kind for hop in report.hops] == ["semantics"]
    assert {s: (f["tensors"], f["most_reads"]) for s, f in streamed(report).items()} == {
        "torch": (20, 1), "paddle": (20, 1),
    }  # fmt: skip
    assert any("no planted fault" in note for note in report.notes)


def test_a_wrong_activation_is_named_with_one_reading_of_the_weights(weights: Path) -> None:
    report = verify(large_stack.BROKEN, weights=weights, blockwise=True)
    assert report.verdict == "divergent"
    assert [culprit.module for culprit in report.culprits] == ["1.act"]
    assert {found["most_reads"] for found in streamed(report).values()} == {1}


@pytest.mark.parametrize("port", [MIXED, small_ports.PACKED, small_ports.RAW, small_ports.TWO_INPUTS])
def test_layers_of_every_make_are_lent_their_weights(port: Port, tmp_path: Path) -> None:
    report = verify(port, weights=sensitised(port, tmp_path / "w.safetensors"), blockwise=True)
    assert report, report
    assert {found["most_reads"] for found in streamed(report).values()} == {1}


def test_it_judges_as_the_whole_model_would(tmp_path: Path) -> None:
    file = sensitised(MIXED, tmp_path / "w.safetensors")
    whole, blocks = verify(MIXED, weights=file, quick=True), verify(MIXED, weights=file, blockwise=True)
    assert whole.modules is not None
    assert blocks.modules is not None
    assert blocks.modules.judged == whole.modules.judged
    assert blocks.modules.worst_module == whole.modules.worst_module


def test_a_file_that_cannot_be_streamed_is_refused(
    weights: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = ("verify", "tests.large_stack:STACK", "--blockwise")
    run(*port).refused(2, "--weights FILE")
    run(*port, "--weights", weights, "--module", "1").refused(2, "leave --module out")
    run(*port, "--weights", tmp_path / "none.safetensors").refused(2, "no such file")
    tensors = load_file(weights)
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:-4])
    run(*port, "--weights", tmp_path / "cut.safetensors").refused(2, "cut short")
    whose = {name: array if array.ndim == 1 else array[:2, :2] for name, array in tensors.items()}  # of neither side
    save_file(whose, tmp_path / "whose.safetensors")
    run(*port, "--weights", tmp_path / "whose.safetensors").refused(2, "does not say whether it holds torch's")
    tensors["1.up.bias"] = tensors["1.up.bias"][:-1]
    save_file(tensors, tmp_path / "short.safetensors", {"portproof.side": "torch"})
    run(*port, "--weights", tmp_path / "short.safetensors").refused(2, "'1.up.bias' is [64] in the model and [63]")
    with pytest.raises(BadInput, match="has not two"):
        verify(small_ports.TORCH_ONLY, weights=weights, blockwise=True)


def test_what_is_made_to_be_dropped_does_not_count_as_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two billion parameters, built hollow under a bound of a quarter of their bytes."""
    monkeypatch.setenv("PORTPROOF_MEMORY", "2GB")
    project = Project(Path(__file__).parents[2])
    session = WorkerSession(Place(project, "tests.large_stack:LARGE_STACK", large_stack.LARGE), "torch", "", "cpu", 2)
    try:
        session.call(ReplayTasks.hollow)
        assert len(session.call(Tasks.describe).entries) == 182
        assert len(session.call(Tasks.describe).entries) == 182
    finally:
        session.close()


@pytest.mark.slow
def test_two_billion_parameters_are_judged_in_four_gibibytes(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    assert large_stack.write_weights(path, **large_stack.LARGE) > 2e9
    for name, named in (("LARGE_STACK", []), ("LARGE_BROKEN", ["15.act"])):
        report = verify(find_port(f"tests.large_stack:{name}"), weights=path, blockwise=True)
        assert [culprit.module for culprit in report.culprits] == named
        assert bool(report) == (not named), report
        found = streamed(report)
        assert {side["most_reads"] for side in found.values()} == {1}
        assert {side["tensors"] for side in found.values()} == {182}
        assert sum(side["peak_memory"] for side in found.values()) < 4 * 2**30
        print(name, report.seconds, found)
