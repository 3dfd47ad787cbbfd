"""Planted faults: the catalogue applies itself, the effect is decided alone, the campaign resumes and explains."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from portproof import BadInput, Input, Port
from portproof.faults import Kind, everywhere
from portproof.faults._campaign import FaultOptions, plant_faults
from portproof.faults._catalogue import KINDS, Catalogue, sample
from portproof.faults._effect import CleanRun, _ulps
from portproof.faults._kinds import Fault, author_kinds, survey
from portproof.frameworks import load_framework
from portproof.frameworks._model import Model
from portproof.frameworks._settings import compare_settings, read_settings, write_setting
from portproof.ports._locate import Located, Project
from tests import small_ports
from tests.conftest import Run

paddle.nn.Linear(1, 1)  # campaigns run in threads, and Paddle has no device in one before the first thread used it

NET = {
    "torch": lambda nn: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 4, 1),
        nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 5),
    ),
    "paddle": lambda nn: nn.Sequential(
        nn.Conv2D(3, 4, 3, padding=1), nn.BatchNorm2D(4), nn.ReLU(), nn.AvgPool2D(3, 2, 1, exclusive=False),
        nn.Conv2D(4, 4, 1), nn.LeakyReLU(), nn.MaxPool2D(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 5),
    ),
}  # fmt: skip
ROWS = {"x": np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)}
SIDES = pytest.mark.parametrize("side", ["torch", "paddle"])


def torch_net() -> Any:
    from torch import nn

    return NET["torch"](nn)


def paddle_net() -> Any:
    from paddle import nn

    return NET["paddle"](nn)


PORT = Port(
    name="net", torch="tests.faults.test_faults:torch_net", paddle="tests.faults.test_faults:paddle_net",
    inputs={"x": Input(("batch", 3, 8, 8))},
)  # fmt: skip


def build(side: str) -> Model:
    return Model(load_framework(side), PORT, {"torch": torch_net, "paddle": paddle_net}[side], "float64")


@SIDES
def test_every_fault_goes_in_has_its_effect_and_comes_out_again(side: str) -> None:
    model = build(side)
    before, state = model.run(ROWS), model.state()
    clean = CleanRun(model, ROWS)
    catalogue = Catalogue(survey(model, clean.first))
    assert len({fault.kind for fault in catalogue.faults}) >= 30
    effective = set()
    for fault in catalogue.faults:
        with catalogue.plant(fault, 0):
            if clean.effect(fault.modules).effective:
                effective.add(fault.kind)
        after, unchanged = model.run(ROWS), model.state()
        assert all(np.array_equal(after[name], before[name]) for name in before), fault
        assert all(np.array_equal(unchanged[name], state[name]) for name in state), fault
    silent = {fault.kind for fault in catalogue.faults} - effective
    # fresh statistics and affine parameters are trivial, rates act in training, nothing here saturates or overhangs
    assert silent <= {
        "dropout rate", "momentum", "ceil_mode", "ReLU to ReLU6", "running mean stale", "running variance stale",
        "scale dropped", "two channels' biases swapped", "bias zeroed",
    }  # fmt: skip


def _unet(nn: Any, conv: Any) -> Any:
    class Down(nn):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = conv(3, 3, 1), conv(3, 3, 1)

        def forward(self, x: Any) -> Any:
            first = self.conv(x)
            last = self.last(first)
            return last, (first, last)

    class Net(nn):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up, self.out = Down(), conv(3, 3, 1), conv(3, 3, 1)

        def forward(self, x: Any) -> Any:
            x, skips = self.down(x)
            return self.out(self.up(x) + skips[0] * skips[1])

    return Net()


def torch_unet() -> Any:
    import torch

    return _unet(torch.nn.Module, torch.nn.Conv2d)


def paddle_unet() -> Any:
    return _unet(paddle.nn.Layer, paddle.nn.Conv2D)


def test_a_skip_that_is_returned_twice_stands_in_both_places_while_faults_are_planted_elsewhere() -> None:
    here = "tests.faults.test_faults"
    port = replace(PORT, name="unet", torch=f"{here}:torch_unet", paddle=f"{here}:paddle_unet")
    report = plant_faults(
        Located(port, None, Project()), FaultOptions(count=12, groups=0, seeds=1), lambda *_: None
    ).to_json()
    assert report["located"] == report["caught"] == report["effective"] >= 10


def _activated(nn: Any, conv: Any, shared: Any, own: Any) -> Any:
    class Half(nn):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.last = conv(3, 3, 1), shared or own(), conv(3, 3, 1)

        def forward(self, x: Any) -> Any:
            return self.last(self.act(self.conv(x)))

    class Net(nn):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Half(), Half()

        def forward(self, x: Any) -> Any:
            return self.second(self.first(x))

    return Net()


def torch_activated() -> Any:
    import torch

    return _activated(torch.nn.Module, torch.nn.Conv2d, None, torch.nn.Tanh)


def paddle_activated() -> Any:
    return _activated(paddle.nn.Layer, paddle.nn.Conv2D, paddle.nn.Tanh(), None)


def test_an_activation_that_one_side_shares_is_no_fault_of_a_whole_that_was_not_run() -> None:
    here = "tests.faults.test_faults"
    port = replace(PORT, name="shared", torch=f"{here}:torch_activated", paddle=f"{here}:paddle_activated")
    asked = FaultOptions(count=16, groups=0, seeds=1)
    report = plant_faults(Located(port, None, Project()), asked, lambda *_: None)
    named = {planted.answer.title: planted.answer.named - planted.answer.modules for planted in report.effective}
    assert len(named) > 5
    assert not any(named.values()), named


def test_there_are_kinds_enough_and_no_two_of_one_name() -> None:
    assert len(KINDS) >= 25
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_units_in_the_last_place_are_those_of_a_row() -> None:
    clean = np.array([[1.0, 1e-30, 0.0], [1e-30, 2e-30, 0.0]])
    assert _ulps([clean.copy()], [clean]) == 0.0
    assert _ulps([clean + np.array([[4 * 2.0**-52, 0, 0], [0, 0, 0]])], [clean]) == 4.0
    assert (_ulps([clean + np.array([[0, 1e-33, 0], [0, 0, 0]])], [clean]) or 0) < 1  # beside a 1
    assert (_ulps([clean + np.array([[0, 0, 0], [0, 1e-33, 0]])], [clean]) or 0) > 1e12
    assert _ulps([clean[:, :2]], [clean]) is None
    assert _ulps([np.where(clean == 1, np.nan, clean)], [clean]) is None


def test_a_sample_gives_every_kind_its_share_and_is_the_same_for_a_seed() -> None:
    faults = [Fault(kind, (str(i),)) for kind in "abc" for i in range(20)]
    drawn = sample(faults, 9, seed=1)
    assert sorted(fault.kind for fault in drawn) == list("aaabbbccc")
    assert drawn == sample(faults, 9, seed=1)
    assert drawn != sample(faults, 9, seed=2)


@SIDES
def test_settings_read_under_one_name_on_both_sides_can_be_changed_and_changed_back(side: str) -> None:
    model = build(side)
    modules = dict(model.framework.modules(model.root))
    found = read_settings(side, "AvgPool2d", modules["3"])
    assert found == {
        "kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1], "ceil_mode": False, "layout": "channels first",
        "count_include_pad": True, "divisor_override": None,
    }  # fmt: skip
    undo = write_setting(side, "AvgPool2d", modules["3"], "count_include_pad", False)
    assert read_settings(side, "AvgPool2d", modules["3"])["count_include_pad"] is False
    undo()
    assert read_settings(side, "AvgPool2d", modules["3"]) == found
    assert read_settings(side, "BatchNorm2d", modules["1"])["momentum"] == pytest.approx(0.1)


def test_a_difference_of_settings_is_said_in_words() -> None:
    torch = ("Conv2d", {"padding": [3, 3], "stride": [2, 2], "groups": 1})
    paddle = ("Conv2d", {"padding": [2, 2], "stride": [2, 2], "groups": 1})
    (difference,) = compare_settings("stem", torch, paddle)
    assert difference.text == "padding is 3 in torch and 2 in Paddle"
    assert not difference.training
    assert compare_settings("stem", torch, torch) == []
    (other_type,) = compare_settings("p", ("MaxPool2d", {}), ("AvgPool2d", {}))
    assert other_type.text == "it is MaxPool2d in torch and AvgPool2d in Paddle"


def test_padding_that_is_not_there_may_be_counted_or_not() -> None:
    pools = [("AvgPool2d", {"padding": [0, 0], "count_include_pad": counted}) for counted in (True, False)]
    assert compare_settings("pool", *pools) == []


def test_a_small_campaign_catches_and_locates_all_and_goes_on_where_it_was_cut_off(project: Path, run: Run) -> None:
    run("faults", "--report", "r.pdf").refused(2, ".html", "r.pdf")
    asked = ("faults", "--count", 24, "--groups", 4, "--seeds", 2, "-o", "r.jsonl", "--json", "-")
    first = run(*asked, "--report", "r.html")
    assert first.code == 0, first
    assert re.search(
        r"<h1>tiny: all (\d+) planted faults with an effect were caught, \1 located", Path("r.html").read_text()
    )
    report = json.loads(first.out)
    assert report["planted"] == 28
    assert report["effective"] == report["caught"] == report["located"] >= 20
    assert report["precision"] == report["recall"] == 1.0
    assert {fault["side"] for fault in report["faults"]} == {"torch", "paddle"}
    lines = (project / "r.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 29
    (project / "r.jsonl").write_text("".join(lines[:20]) + lines[20][:30])  # a line that was cut off
    again = json.loads(run(*asked).out)
    assert {json.dumps(f, sort_keys=True) for f in again["faults"]} == {
        json.dumps(f, sort_keys=True) for f in report["faults"]
    }


def test_a_results_file_of_something_else_is_refused_and_kept(project: Path, run: Run) -> None:
    (project / "r.jsonl").write_text("my notes\n")
    run("faults", "-o", "r.jsonl").refused(2, "no results file", "r.jsonl")
    assert (project / "r.jsonl").read_text() == "my notes\n"
    run("faults", "-o", "nowhere/r.jsonl").refused(2, "nowhere", "does not exist")


def test_a_port_that_is_itself_divergent_is_refused(project: Path, run: Run) -> None:
    text = (project / "tiny.py").read_text()
    (project / "tiny.py").write_text(text.replace("nn.ReLU()", "nn.Tanh()", 1))
    run("faults").refused(2, "itself divergent", "verify")


def test_a_port_of_one_side_has_nobody_to_see_its_faults(run: Run) -> None:
    run("faults", "tests.small_ports:TORCH_ONLY").refused(2, "two models")


def test_an_author_adds_kinds_of_their_own_and_a_wrong_one_is_named() -> None:
    from contextlib import contextmanager

    @contextmanager
    def nothing(sites: Any, rng: Any) -> Iterator[None]:
        yield

    kind = Kind("mine", everywhere(lambda site: site.layer == "ReLU"), nothing)
    assert author_kinds(replace(small_ports.MLP, faults=(kind,))) == [kind]
    with pytest.raises(BadInput, match=r"expected portproof\.faults\.Kind"):
        author_kinds(replace(small_ports.MLP, faults=("tests.faults.test_faults:SIDES",)))
