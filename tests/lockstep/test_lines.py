"""Lines of forwards whose outputs agree and whose gradients do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portproof import Input, Port, Report, verify
from portproof.judge._report import LinePair

HERE = Path(__file__)


def line_of(mark: str) -> int:
    """Return the line of this file that ends in a mark."""
    return next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# {mark}"))


def torch_net(fault: str = "") -> Any:
    import torch
    from torch import nn

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * 2

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.gate, self.out = (nn.Linear(6, 6) for _ in range(4))

        def forward(self, x: Any) -> Any:
            h = torch.tanh(self.a(x))
            g = torch.sigmoid(self.gate(h))  # torch: gate
            if fault == "detach":
                g = g.detach()  # torch: detach
            y = Doubled.apply(self.b(h))  # torch: doubled
            y = y + h
            if fault == "through":
                y = y + (torch.round(y) - y).detach()  # torch: through
            return self.out(y * g)  # torch: product

    return Net()


def paddle_net(fault: str = "") -> Any:
    import paddle
    from paddle import nn
    from paddle.autograd import PyLayer

    class Doubled(PyLayer):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient if fault == "backward" else gradient * 2

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.gate, self.out = (nn.Linear(6, 6) for _ in range(4))

        def forward(self, x: Any) -> Any:
            h = paddle.tanh(self.a(x))
            if fault == "detach":
                g = nn.functional.sigmoid(self.gate(h.detach()))  # paddle: gate
            elif fault == "no_grad":
                with paddle.no_grad():
                    g = nn.functional.sigmoid(self.gate(h))  # paddle: no grad
            else:
                g = nn.functional.sigmoid(self.gate(h))  # paddle: sigmoid
            if fault == "stopped":
                g.stop_gradient = True
            y = Doubled.apply(self.b(h))  # paddle: doubled
            y = y + h
            y = paddle.round(y) if fault == "rounded" else y  # paddle: round
            if fault == "output":
                return self.out(y * g).detach()  # paddle: output
            return self.out(y * g)  # paddle: product

    return Net()


def judged(paddle: str = "", torch: str = "", **options: Any) -> Report:
    port = Port("flows", lambda: paddle_net(paddle), lambda: torch_net(torch), {"x": Input(("batch", 6))})
    return verify(port, quick=True, gradients=True, **options)


def pair_of(report: Report) -> LinePair:
    """Return the one pair of lines, which stands with a culprit of the backward pass."""
    assert report.verdict == "divergent"
    assert {culprit.direction for culprit in report.culprits} == {"backward"}
    (pair,) = {pair for culprit in report.culprits for pair in culprit.lines}
    assert not pair.confirmed
    return pair


@pytest.mark.parametrize(
    ("paddle", "torch", "marks", "said"),
    [
        ("detach", "", ("paddle: gate", "torch: gate"), "detach() only in Paddle"),
        ("", "detach", ("paddle: product", "torch: detach"), "detach() only in torch"),
        ("output", "", ("paddle: output", "torch: product"), "detach() only in Paddle"),
        ("no_grad", "", ("paddle: no grad", "torch: gate"), "without gradients"),
        ("stopped", "", ("paddle: sigmoid", "torch: gate"), "takes no gradient in Paddle (stop_gradient)"),
        ("backward", "", ("paddle: doubled", "torch: doubled"), "0.5 times torch's"),
        ("rounded", "through", ("paddle: round", "torch: through"), "round in Paddle where torch has add"),
    ],
)
def test_the_line_where_the_gradients_part_is_named(paddle: str, torch: str, marks: Any, said: str) -> None:
    pair = pair_of(judged(paddle, torch))
    assert (pair.paddle[0].line, pair.torch[0].line) == tuple(map(line_of, marks))
    assert {Path(line.file) for line in (*pair.paddle, *pair.torch)} == {HERE}
    assert said in pair.said


def test_nothing_is_recorded_where_gradients_agree_or_no_lines_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    from portproof.lockstep import _lines

    def never(*_: Any) -> Any:
        raise AssertionError("gradients were recorded")

    monkeypatch.setattr(_lines, "_recorded", never)
    assert judged()
    report = judged("detach", lines=False)
    assert report.verdict == "divergent"
    assert not [culprit for culprit in report.culprits if culprit.lines]


def test_a_search_that_fails_is_a_note_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from portproof.lockstep import _lines

    def failing(*_: Any) -> Any:
        raise ZeroDivisionError("of a recorder")

    monkeypatch.setattr(_lines, "_recorded", failing)
    report = judged("detach")
    assert report.verdict == "divergent"
    assert any("ZeroDivisionError: of a recorder" in note for note in report.notes)
