"""Two faults as people made them: a functional pool in the root's code, a skip that an in-place ReLU wrote over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portproof import Input, Port, Report, verify
from portproof.judge._report import LinePair

HERE = Path(__file__)


def line_of(mark: str) -> int:
    """Return the line of this file that ends in a mark."""
    return next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# {mark}"))


def torch_pools() -> Any:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
            self.conv2, self.act2 = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()

        def forward(self, x: Any) -> Any:
            h = self.act2(self.conv2(self.act(self.conv(x))))
            return torch.nn.functional.avg_pool2d(h, [2, 2])[:, :, :10]  # torch: pool

    return Net()


def paddle_pools() -> Any:
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.conv2 = nn.Conv2D(3, 8, 3, padding=1), nn.Conv2D(8, 8, 3, padding=1)

        def forward(self, x: Any) -> Any:
            f = paddle.nn.functional
            return f.avg_pool2d(f.relu(self.conv2(f.relu(self.conv(x)))), [3, 2])  # paddle: pool

    return Net()


def torch_skips() -> Any:
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv0, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)
            self.conv1 = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x = self.conv0(x)
            y = self.conv1(self.relu(x))
            return x + y  # torch: skip

    return Block()


def paddle_skips(right: bool) -> Any:
    from paddle import nn

    class Block(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv0, self.relu = nn.Conv2D(3, 4, 3, padding=1), nn.ReLU()
            self.conv1 = nn.Conv2D(4, 4, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x = self.conv0(x)
            r = self.relu(x)
            y = self.conv1(r)
            return (r if right else x) + y  # paddle: skip

    return Block()


def skipping(right: bool) -> Report:
    return verify(Port("skip", lambda: paddle_skips(right), torch_skips, {"x": Input(("batch", 3, 8, 8))}), quick=True)


def pair_of(report: Report) -> LinePair:
    (pair,) = {pair for culprit in report.culprits for pair in culprit.lines}
    return pair


def test_a_functional_pool_in_the_root_s_own_code_is_named_by_its_lines() -> None:
    report = verify(Port("pools", paddle_pools, torch_pools, {"x": Input(("batch", 3, 30, 30))}), quick=True)
    pair = pair_of(report)
    assert (pair.paddle[0].line, pair.torch[0].line) == (line_of("paddle: pool"), line_of("torch: pool"))
    assert (pair.confirmed, pair.said) == (True, "kernel_size is [3, 2] in Paddle, [2, 2] in torch")


def test_a_skip_that_the_other_side_s_relu_wrote_over_is_named_where_it_is_read() -> None:
    pair = pair_of(skipping(right=False))
    assert (pair.paddle[0].line, pair.torch[0].line) == (line_of("paddle: skip"), line_of("torch: skip"))
    assert pair.confirmed
    assert "written in place" in pair.said


def test_no_line_is_named_where_the_skip_reads_what_was_written() -> None:
    report = skipping(right=True)
    assert report
    assert not [culprit for culprit in (*report.culprits, *report.latent) if culprit.lines]
