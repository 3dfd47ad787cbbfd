"""Lines that build the layers whose settings differ."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from portproof import Input, Port, Report, verify
from portproof.judge._report import Line
from portproof.render._terminal import print_cause
from portproof.render._words import causes

HERE = Path(__file__)


def line_of(mark: str) -> int:
    """Return the line of this file that ends in a mark."""
    return next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# {mark}"))


def torch_net() -> Any:
    from torch import nn

    class Scaled(nn.LeakyReLU):
        def __init__(self, slope: float) -> None:
            super().__init__(slope)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.drop = nn.Linear(6, 6), nn.Dropout(0.1)  # torch: drop
            self.acts = nn.ModuleList([Scaled(0.1) for _ in range(2)])  # torch: acts

        def forward(self, x: Any) -> Any:
            return self.acts[1](self.drop(self.acts[0](self.first(x))))

    return Net()


def paddle_net(slope: float = 0.1, rate: float = 0.1) -> Any:
    from paddle import nn

    class Scaled(nn.LeakyReLU):
        def __init__(self, slope: float) -> None:
            super().__init__(slope)

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.drop = nn.Linear(6, 6), nn.Dropout(rate)  # paddle: drop
            acts = [nn.LeakyReLU(0.1)]
            acts.append(Scaled(slope))  # paddle: acts
            self.acts = nn.LayerList(acts)

        def forward(self, x: Any) -> Any:
            return self.acts[1](self.drop(self.acts[0](self.first(x))))

    return Net()


def judged(slope: float = 0.1, rate: float = 0.1, **options: Any) -> Report:
    port = Port("built", lambda: paddle_net(slope, rate), torch_net, {"x": Input(("batch", 6))})
    return verify(port, quick=True, **options)


def test_a_layer_that_is_built_otherwise_is_named_by_the_lines_that_build_it() -> None:
    report = judged(slope=0.2)
    (culprit,) = [culprit for culprit in report.culprits if culprit.module == "acts.1"]
    assert culprit.origins == (
        Line("paddle", str(HERE), line_of("paddle: acts"), "Scaled(slope)"),
        Line("torch", str(HERE), line_of("torch: acts"), "Scaled(0.1)"),
    )
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as shown:
        for cause in causes(report, report.culprits):
            print_cause(cause, console)
    assert f"built paddle {HERE.name}" in " ".join(shown.get().split()).replace(f"{HERE.parent}/", "").replace(
        "tests/lines/", ""
    )


def test_a_setting_that_acts_in_training_only_is_named_by_them_too() -> None:
    (culprit,) = judged(rate=0.5).culprits
    assert (culprit.module, culprit.kind) == ("drop", "setting")
    assert [(line.side, line.line, line.text) for line in culprit.origins] == [
        ("paddle", line_of("paddle: drop"), "nn.Dropout(rate)"),
        ("torch", line_of("torch: drop"), "nn.Dropout(0.1)"),
    ]


def test_nothing_is_built_once_more_where_settings_agree_or_no_lines_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import portproof.lines._built as built

    def never(*_: Any) -> Any:
        raise AssertionError("a model was built once more")

    monkeypatch.setattr(built, "built_at", never)
    assert judged()
    report = judged(rate=0.5, lines=False)
    assert report.verdict == "divergent"
    assert report.culprits[0].origins == ()


def test_a_search_that_fails_is_a_note_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    import portproof.lines._built as built

    def failing(*_: Any) -> Any:
        raise ZeroDivisionError("of a builder")

    monkeypatch.setattr(built, "built_at", failing)
    report = judged(rate=0.5)
    assert [culprit.kind for culprit in report.culprits] == ["setting"]
    assert any("ZeroDivisionError: of a builder" in note for note in report.notes)


def test_the_constructors_are_as_they_were_when_the_looking_is_over() -> None:
    import paddle
    import torch

    from portproof.lines._built import _seeing_constructors

    for side, kind in (("torch", torch.nn.Module), ("paddle", paddle.nn.Layer)):
        before = kind.__init__
        with pytest.raises(RuntimeError, match="in between"), _seeing_constructors(side, {}):
            raise RuntimeError("in between")
        assert kind.__init__ is before
