"""GoogLeNet is the same function in Paddle, in PyTorch and in both exports under ONNX Runtime."""

import functools
from pathlib import Path

import numpy as np
import pytest

from convert.googlenet import GOOGLENET
from portproof import Report, find_port, verify
from portproof.convert._account import match_states
from portproof.convert._convert import map_csv
from portproof.convert._transfer import transfer
from portproof.judge._report import HOLDS

# The proof of the flagship is made as a person makes it.
pytestmark = pytest.mark.processes

HOPS = {
    "float64: Paddle against the torch oracle": ("semantics", "Paddle float64"),
    "float32: torch eager": ("numerics", "torch eager float32"),
    "float32: Paddle dygraph": ("numerics", "Paddle dygraph float32"),
    "batch 1: torch eager": ("batch", "torch eager float32, batch 1"),
    "batch 1: Paddle dygraph": ("batch", "Paddle dygraph float32, batch 1"),
    "torch export as written": ("export", "torch export, ONNX Runtime as written"),
    "torch export optimised": ("runtime", "torch export, ONNX Runtime optimised"),
    "batch 1: torch export": ("batch", "torch export, ONNX Runtime optimised, batch 1"),
    "Paddle export as written": ("export", "Paddle export, ONNX Runtime as written"),
    "Paddle export optimised": ("runtime", "Paddle export, ONNX Runtime optimised"),
    "torch export: meaning": ("graph", "torch export, interpreted"),
    "Paddle export: meaning": ("graph", "Paddle export, interpreted"),
    "batch 1: Paddle export": ("batch", "Paddle export, ONNX Runtime optimised, batch 1"),
}


@functools.cache
def judged() -> Report:
    """Return what ``portproof verify googlenet`` finds, once a process."""
    return verify(find_port("convert.googlenet:GOOGLENET"))


@pytest.fixture(scope="module")
def report() -> Report:
    return judged()


@pytest.mark.parametrize("hop", HOPS)
def test_hop(report: Report, hop: str) -> None:
    kind, target = HOPS[hop]
    found = next(h for h in report.hops if (h.kind, h.target) == (kind, target))
    assert found.verdict in HOLDS, found.reason


def test_no_hop_is_left_out(report: Report) -> None:
    assert {(hop.kind, hop.target) for hop in report.hops} == set(HOPS.values())
    assert report.verdict in HOLDS


def test_the_float64_hop_agrees_to_1e_12_of_scale(report: Report) -> None:
    worst = next(hop.worst for hop in report.hops if hop.kind == "semantics")
    assert worst is not None
    assert worst.max_abs is not None
    assert worst.scale is not None
    assert worst.max_abs <= 1e-12 * worst.scale


def test_every_module_is_paired_and_none_is_blind(report: Report) -> None:
    assert report.modules is not None
    assert report.modules.unseen == ()
    assert report.modules.blind == ()


def test_planted_faults_are_caught_and_located(report: Report) -> None:
    assert report.sight is not None
    assert report.sight.planted == report.sight.caught == report.sight.located == 8


def test_photographs_are_among_the_inputs(report: Report) -> None:
    assert any(family.startswith("photograph") for family in report.inputs)
    assert any(family.startswith("probe") for family in report.inputs)


@pytest.mark.parametrize(
    "family", ["noise", *(pytest.param(f, marks=pytest.mark.slow) for f in ("flat", "tiny values"))]
)
def test_other_families_of_images(tmp_path: Path, family: str) -> None:
    from PIL import Image

    rng = np.random.default_rng(5)
    pictures = {
        "noise": rng.integers(0, 256, (3, 300, 260, 3)),
        "flat": np.full((2, 240, 240, 3), 127),
        "tiny values": rng.integers(0, 3, (2, 230, 310, 3)),
    }
    for index, picture in enumerate(pictures[family].astype(np.uint8)):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    assert verify(find_port("convert.googlenet:GOOGLENET"), images=tmp_path, quick=True)


@pytest.mark.slow
def test_a_square_classifier_is_transposed_all_the_same() -> None:
    assert verify(find_port("convert.googlenet:GOOGLENET"), kwargs={"num_classes": 1024}, quick=True)


@pytest.fixture(scope="module")
def models() -> tuple:
    from paddle_impl.googlenet import GoogLeNet as PaddleGoogLeNet
    from portproof.frameworks import load_framework
    from portproof.frameworks._model import Model
    from torch_impl.googlenet import GoogLeNet as TorchGoogLeNet

    torch = Model(load_framework("torch"), GOOGLENET, TorchGoogLeNet, "float32")
    paddle = Model(load_framework("paddle"), GOOGLENET, PaddleGoogLeNet, "float32")
    return torch, paddle


def test_the_committed_map_is_the_one_in_force(models: tuple) -> None:
    torch, paddle = models
    account = match_states(torch.entries(), paddle.entries(), GOOGLENET.weights)
    text = map_csv(account, {"torch": torch.entries(), "paddle": paddle.entries()})
    assert text == (Path(__file__).parents[1] / "convert" / "googlenet.csv").read_text()
    assert len(account.rows) == 128
    assert sum(row.transform == "transpose" for row in account.rows) == 5


def test_weights_survive_the_round_trip_to_the_last_bit(models: tuple) -> None:
    torch, paddle = models
    account = match_states(torch.entries(), paddle.entries(), GOOGLENET.weights)
    before = paddle.state()
    moved = transfer(before, account, "torch", {})
    torch.load(moved)
    back = transfer(torch.state(), account, "paddle", {})
    assert set(back) == set(before)
    assert all(back[name].tobytes() == before[name].tobytes() for name in before)
