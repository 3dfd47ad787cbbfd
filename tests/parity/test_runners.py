"""Runners that are asked for by name run on the rows and on the weights of the rest."""

from pathlib import Path

from portproof import verify
from portproof.judge._report import HOLDS
from tests import small_ports

NAMED = "ONNX Runtime, torch export, float32"


def test_a_named_runner_takes_the_few_rows_of_a_quick_run() -> None:
    report = verify(small_ports.MLP, quick=True, runners=("onnxruntime-torch",))
    assert [hop.verdict in HOLDS for hop in report.hops if hop.target == NAMED] == [True]


def test_a_named_runner_takes_each_set_of_weights_in_turn(tmp_path: Path) -> None:
    import torch

    torch.save(small_ports.torch_mlp().state_dict(), tmp_path / "mlp.pt")
    report = verify(small_ports.MLP, quick=True, weights=tmp_path / "mlp.pt", runners=("onnxruntime-torch",))
    named = [hop for hop in report.hops if hop.target == NAMED]
    assert [hop.weights for hop in named] == ["given (mlp.pt)", "sensitised"]
    assert all(hop.verdict in HOLDS for hop in named)
