"""What is said of culprits: one cause once, in which order values stand, and where the code is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof import BadInput, Input, Port, verify
from portproof.judge._report import Report
from portproof.render._summary import markdown
from portproof.render._terminal import print_report
from portproof.render._words import causes
from portproof.replay._reordered import reordered


def torch_model() -> Any:
    import torch
    from torch import nn

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 3, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x: Any) -> Any:
            return torch.cat([self.a(x), self.b(x), self.c(x)], 1)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, eps=1e-3)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.bn(self.conv(x)))

    return nn.Sequential(nn.Conv2d(3, 8, 1), Block(), Block(), Block(), Branches(), Branches())


def paddle_model() -> Any:
    import paddle
    from paddle import nn

    class Branches(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2D(8, 3, 1), nn.Conv2D(8, 3, 1), nn.Conv2D(8, 2, 1)

        def forward(self, x: Any) -> Any:
            a, b, c = self.a(x), self.b(x), self.c(x)
            return paddle.concat([b, a, c], 1)

    class Block(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2D(8, 8, 3, padding=1), nn.BatchNorm2D(8)

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.bn(self.conv(x)))

    return nn.Sequential(nn.Conv2D(3, 8, 1), Block(), Block(), Block(), Branches(), Branches())


@pytest.fixture(scope="module")
def report() -> Report:
    """Three BatchNorms with another eps, and two concatenations with two parts exchanged."""
    port = Port("causes", paddle_model, torch_model, {"x": Input(("batch", 3, 12, 12))})
    return verify(port, quick=True, lines=False)  # which would say more than where a module's code stands


def test_modules_that_differ_by_one_cause_are_one_finding(report: Report) -> None:
    assert {culprit.module for culprit in report.culprits} == {"1.bn", "2.bn", "3.bn", "4", "5"}
    norms, branches = causes(report, report.culprits)
    assert (norms.title, norms.modules) == ("3 \u00d7 BatchNorm2d", ("1.bn", "2.bn", "3.bn"))
    assert norms.told == "computes: eps is 0.001 in torch and 1e-05 in Paddle"
    assert (branches.title, branches.modules) == ("2 \u00d7 Branches", ("4", "5"))
    assert branches.told == "computes: the same values, along axis 1, 0\u20132 and 3\u20135 exchanged"


def test_a_finding_says_where_the_code_stands_on_both_sides(
    report: Report, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(__file__)
    lines = here.read_text().splitlines()
    for culprit in report.culprits:
        for source, side in zip(culprit.sources, ("torch", "paddle"), strict=True):
            assert (source.side, Path(source.file)) == (side, here)
            assert "def forward" in lines[source.line - 1]
            assert source.name == ("Block" if culprit.module.endswith("bn") else "Branches")
    monkeypatch.chdir(here.parent)
    print_report(report)
    printed = capsys.readouterr().out
    assert "culprits (5, of 2 causes)" in printed
    assert f"torch {here.name}:{report.culprits[0].sources[0].line} (Block)" in printed
    assert f"`paddle {here.name}:" in markdown(report)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([3, 4, 5, 0, 1, 2, 6, 7], "along axis 1, 0\u20132 and 3\u20135 exchanged"),
        ([0, 1, 4, 5, 2, 3, 6, 7], "along axis 1, 2\u20133 and 4\u20135 exchanged"),
        ([4, 5, 6, 7, 0, 1, 2, 3], "along axis 1, 0\u20133 and 4\u20137 exchanged"),
        ([7, 0, 1, 2, 3, 4, 5, 6], "along axis 1, shifted by 1"),
        ([7, 6, 5, 4, 3, 2, 1, 0], "along axis 1, in reverse order"),
        ([2, 3, 6, 7, 0, 1, 4, 5], "along axis 1, in the order 2\u20133, 6\u20137, 0\u20131, 4\u20135"),
        ([0, 1, 2, 3, 4, 5, 6, 7], ""),
    ],
)
def test_the_order_of_values_is_said(order: list[int], said: str) -> None:
    tensor = np.random.default_rng(0).standard_normal((2, 8, 3))
    assert reordered(tensor[:, order] * (1 + 1e-15), tensor) == (f"the same values, {said}" if said else "")


def test_channels_that_are_dead_stand_with_their_neighbours() -> None:
    tensor = np.random.default_rng(0).standard_normal((2, 12, 3))
    tensor[:, [3, 5, 8, 9]] = 0
    order = [0, 1, 6, 7, 8, 9, 2, 3, 4, 5, 10, 11]
    assert reordered(tensor[:, order], tensor) == "the same values, along axis 1, 2\u20135 and 6\u20139 exchanged"


def test_exchanged_axes_are_said_and_other_values_are_not() -> None:
    tensor = np.random.default_rng(0).standard_normal((2, 4, 4))
    assert reordered(tensor.transpose(0, 2, 1), tensor) == "the same values, axes in the order 0, 2, 1"
    wide = np.random.default_rng(0).standard_normal((2, 3, 5))
    assert reordered(wide.transpose(0, 2, 1), wide) == "the same values, axes in the order 0, 2, 1"
    assert reordered(tensor + 1e-3, tensor) == ""
    assert reordered(np.full((2, 4), np.nan), np.zeros((2, 4))) == ""


def with_a_table(framework: Any, base: type, last: float, more: bool = False) -> Any:
    """A layer with a table that no state dict holds; ``more``: it also returns what no port names."""

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc = framework.nn.Linear(6, 6)
            table = np.linspace(1, last, 6).astype("float32")
            if framework.__name__ == "torch":
                self.register_buffer("freq", framework.tensor(table), persistent=False)
            else:
                self.register_buffer("freq", framework.to_tensor(table), persistable=False)

        def forward(self, x: Any) -> Any:
            y = framework.cos(self.fc(x) * self.freq)
            return {"out": y, "cache": x} if more else y

    return Net()


def table_port(last: float) -> Port:
    import paddle
    import torch

    return Port(
        "table",
        lambda: with_a_table(paddle, paddle.nn.Layer, last),
        lambda: with_a_table(torch, torch.nn.Module, 3.0, more=True),
        {"x": Input(("batch", 6))},
    )


def test_a_table_that_differs_between_the_sides_is_named() -> None:
    report = verify(table_port(3.5), quick=True)
    (culprit,) = report.culprits
    assert (culprit.module, culprit.cause.partition(" (")[0]) == ("", "its table 'freq' differs between the sides")
    right = verify(table_port(3.0), quick=True)
    assert right
    assert not any("table" in note for note in right.notes)


def test_outputs_that_the_port_does_not_name_are_said() -> None:
    notes = verify(table_port(3.0), quick=True).notes
    assert "outputs that the port does not name are not compared: cache of torch" in notes


def broken() -> Any:
    import torch

    return torch.nn.Linear(6, "three")


def test_a_factory_that_raises_is_quoted_with_its_own_line() -> None:
    port = Port("broken", lambda: None, broken, {"x": Input(("batch", 6))})
    line = next(i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if 'Linear(6, "three")' in text)
    said = rf"torch factory of port 'broken' raised TypeError: .* \(line {line} of .*{Path(__file__).name}\)"
    with pytest.raises(BadInput, match=said):
        verify(port, quick=True)
