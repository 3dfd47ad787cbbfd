"""Faults in models of many blocks: what runs in each of them, what runs in none, and what one hides of another."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portproof import Input, Port
from tests.lines import test_kinds as kinds
from tests.lines.test_kinds import named

line_of = partial(kinds.line_of, file=Path(__file__))
IMAGES = {"x": Input(("batch", 4, 6, 6))}


def layers(framework: str) -> tuple[Any, Any, Any]:
    """Return a framework's layers, the class of a module, and that of a list of modules."""
    if framework == "torch":
        from torch import nn

        return nn, nn.Module, nn.ModuleList
    from paddle import nn as paddle_nn

    return paddle_nn, paddle_nn.Layer, paddle_nn.LayerList


def resnet_torch() -> Any:
    from torch import nn

    class Unit(nn.Module):
        def __init__(self, act: bool = True) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.act = nn.Tanh() if act else nn.Identity()

        def forward(self, x: Any) -> Any:
            x = self.conv(x)
            x = self.bn(x)
            return self.act(x)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = Unit(), Unit(act=False)

        def forward(self, x: Any) -> Any:
            return (self.two(self.one(x)) + x).sigmoid()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.stages = Unit(), nn.ModuleList(nn.Sequential(Block(), Block()) for _ in range(3))
            self.head = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            for stage in self.stages:
                x = stage(x)
            return self.head(x.mean((2, 3)))

    return Net()


def resnet_paddle(*, normed: bool = True, summed: bool = True, whole: bool = True, too_many: bool = False) -> Any:
    """Return the port, with the faults that are asked for."""
    from paddle import nn

    class Unit(nn.Layer):
        def __init__(self, act: bool = True) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2D(4, 4, 3, padding=1), nn.BatchNorm2D(4)
            self.act = nn.Tanh() if act else None

        def forward(self, x: Any) -> Any:
            norm = self.bn if normed else lambda x: x
            x = norm(self.conv(x))  # paddle: not normed
            if self.act is not None:
                x = self.act(x)
            return x

    class Block(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = Unit(), Unit(act=False)

        def forward(self, x: Any) -> Any:
            h = self.two(self.one(x))
            if summed:
                h = h + x
            return nn.functional.sigmoid(h)  # paddle: not summed

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.stages = Unit(), nn.LayerList([nn.Sequential(Block(), Block()) for _ in range(3)])
            self.head = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)  # paddle: stem
            if whole:
                x = self.stages[0](x)
            x = self.stages[1](x)  # paddle: not whole
            x = self.stages[2](x)
            x = self.head(x.mean([2, 3]))
            if too_many:
                x = x.exp()  # paddle: too many
            return x

    return Net()


def lines(**faults: bool) -> set[int]:
    """Return the first lines that are named for some faults of the port."""
    port = Port("resnet", partial(resnet_paddle, **faults), resnet_torch, IMAGES)
    return {first for first, _ in named(port)}


def test_a_call_that_is_missing_in_every_block_hides_no_other_fault_of_theirs() -> None:
    assert lines(normed=False, summed=False, too_many=True) == {
        line_of("paddle: not normed"), line_of("paddle: not summed"), line_of("paddle: too many"),
    }  # fmt: skip


def test_a_stage_that_never_runs_is_missed_as_a_whole() -> None:
    found = lines(whole=False, too_many=True)
    assert line_of("paddle: too many") in found
    assert found & {line_of("paddle: stem"), line_of("paddle: not whole")}


def fused_torch() -> Any:
    from torch import nn

    class Normed(nn.BatchNorm2d):
        """A norm with its activation, which some have and others do not."""

        def __init__(self, act: bool) -> None:
            super().__init__(4)
            self.act = nn.Tanh() if act else nn.Identity()

        def forward(self, x: Any) -> Any:
            return self.act(super().forward(x))

    class Unit(nn.Module):
        def __init__(self, act: bool) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), Normed(act)

        def forward(self, x: Any) -> Any:
            return self.bn(self.conv(x))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.units, self.head = nn.Sequential(*(Unit(i % 2 == 0) for i in range(6))), nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.units(x).mean((2, 3)))

    return Net()


def fused_paddle() -> Any:
    from paddle import nn

    class Normed(nn.BatchNorm2D):
        def __init__(self, act: bool) -> None:
            super().__init__(4)
            self.act = nn.Tanh() if act else None

        def forward(self, x: Any) -> Any:
            x = super().forward(x)
            return x if self.act is None else self.act(x)

    class Unit(nn.Layer):
        def __init__(self, act: bool) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2D(4, 4, 3, padding=1), Normed(act)

        def forward(self, x: Any) -> Any:
            x = self.conv(x)  # paddle: not fused
            return x  # paddle: as it is

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.units, self.head = nn.Sequential(*(Unit(i % 2 == 0) for i in range(6))), nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.units(x).mean([2, 3])).exp()  # paddle: beside

    return Net()


def test_a_module_that_never_runs_is_missed_once_whatever_it_computes_in_each_block() -> None:
    found = [first for first, _ in named(Port("fused", fused_paddle, fused_torch, IMAGES))]
    assert line_of("paddle: beside") in found
    assert len(found) == 2
    assert set(found) & {line_of("paddle: not fused"), line_of("paddle: as it is")}


def varied(framework: str) -> Any:
    """Return eight blocks of two functions; Paddle's make everything positive, and forget the bias at the end."""
    nn, base, stack = layers(framework)
    acts = [nn.Tanh, nn.ELU]

    class Block(base):  # type: ignore[misc]
        def __init__(self, act: Any) -> None:
            super().__init__()
            self.unit = nn.Sequential(nn.Linear(6, 6), act())

        def forward(self, x: Any) -> Any:
            x = self.unit(x)  # of a block
            if framework == "paddle":
                x = x.abs()  # paddle: of a block
            return x

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.head = stack([Block(acts[i % 2]) for i in range(8)]), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            y = self.head(x)
            if framework == "paddle":
                y = y * 2  # paddle: at the end
            return y

    return Net()


def test_a_line_that_is_wrong_in_more_blocks_than_faults_are_looked_for_is_one_fault() -> None:
    port = Port("varied", partial(varied, "paddle"), partial(varied, "torch"), {"x": Input(("batch", 6))})
    assert {first for first, _ in named(port)} == {line_of("paddle: of a block"), line_of("paddle: at the end")}


def branched_torch() -> Any:
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh())
            self.next, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            h = (self.near(x) + self.far(x)).tanh()
            return self.head(self.next(h).sigmoid())

    return Net()


def branched_paddle() -> Any:
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh())
            self.next, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            near = self.near(x)
            near = near.abs()  # paddle: positive
            h = paddle.tanh(near + 0)  # paddle: alone
            h = self.next(h)
            return self.head(h.exp())  # paddle: another

    return Net()


@pytest.mark.parametrize("marked", ["paddle: positive", "paddle: alone", "paddle: another"])
def test_of_two_faults_in_a_row_that_show_nothing_one_by_one_both_are_named(marked: str) -> None:
    port = Port("branched", branched_paddle, branched_torch, {"x": Input(("batch", 6))})
    assert line_of(marked) in {first for first, _ in named(port)}


def gated(framework: str) -> Any:
    """Return a unit whose activation is optional; Paddle's has no norm."""
    nn, base, _ = layers(framework)

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm, self.act = nn.Linear(6, 6), nn.LayerNorm(6), nn.Tanh()

        def forward(self, x: Any) -> Any:
            if framework == "torch":
                x = self.linear(x)
                return self.act(self.norm(x))
            x = self.linear(x)  # paddle: before the branch
            if self.act is not None:
                x = self.act(x)
            return x

    return Net()


def test_a_call_is_missed_outside_of_a_branch_that_uses_its_result() -> None:
    port = Port("gated", partial(gated, "paddle"), partial(gated, "torch"), {"x": Input(("batch", 6))})
    assert [first for first, _ in named(port)] == [line_of("paddle: before the branch")]


def layered(framework: str) -> Any:
    """Return blocks of two sums; Paddle's second leaves out what it is added to."""
    nn, base, stack = layers(framework)

    class Block(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.a, self.b = nn.LayerNorm(6), nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            x = x + self.a(self.one(x))
            if framework == "torch":
                return x + self.b(self.two(x))
            h = self.two(x)
            x = self.b(h)  # paddle: not added
            return x

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.blocks, self.head = nn.Linear(6, 6), stack([Block() for _ in range(3)]), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            if framework == "paddle":
                x = x.astype("int32").astype("float32")  # paddle: whole numbers
            for block in self.blocks:
                x = block(x)
            y = self.head(x)
            if framework == "paddle":
                y = y.exp()  # paddle: growing
            return y

    return Net()


def test_a_sum_that_is_missing_is_no_sum_of_the_next_block() -> None:
    port = Port("layered", partial(layered, "paddle"), partial(layered, "torch"), {"x": Input(("batch", 6))})
    assert {first for first, _ in named(port)} == {
        line_of("paddle: not added"), line_of("paddle: whole numbers"), line_of("paddle: growing"),
    }  # fmt: skip


def embedded(framework: str) -> Any:
    """Return a block that uses what it is handed twice; Paddle's is handed what the norm before it is given."""
    nn, base, _ = layers(framework)

    class Block(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(6), nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            return x + self.linear(self.norm(x))

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm, self.block, self.head = nn.Linear(6, 6), nn.LayerNorm(6), Block(), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            h = self.stem(x)
            if framework == "torch":
                import torch

                rows = torch.cat([h[:, :1] * 2, h], 1) + torch.arange(5).reshape(1, 5, 1)
                return self.head(self.block(self.norm(rows)).mean(1))
            import paddle

            rows = paddle.concat([h[:, :1] * 2, h], 1) + paddle.arange(5).reshape([1, 5, 1]).astype(h.dtype)
            n = self.norm(rows)
            assert n.shape[1] == 5
            return self.head(self.block(h).mean(1))  # paddle: handed the other

    return Net()


def test_a_block_that_is_handed_another_tensor_is_named_where_it_is_called() -> None:
    port = Port("embedded", partial(embedded, "paddle"), partial(embedded, "torch"), {"x": Input(("batch", 4, 6))})
    assert [first for first, _ in named(port)] == [line_of("paddle: handed the other")]


def ended(framework: str, fault: str = "") -> Any:
    """Return blocks with an optional norm after them, and three stages of two branches."""
    nn, base, stack = layers(framework)
    join = __import__(framework).concat

    class Stage(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 3), nn.Tanh())

        def forward(self, x: Any) -> Any:
            return join([self.a(x), self.b(x.abs())], -1)

    class Encoder(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks = stack([nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)])
            self.norm = nn.LayerNorm(6)

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                out = block(x)
                x = out
            if self.norm is not None:  # paddle: asks for the norm
                x = x if fault == "norm" else self.norm(x)
            found = [x]
            return found[0]

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder()
            self.one, self.two, self.three = Stage(), Stage(), Stage()
            self.head = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            x = self.encoder(x)
            a = self.one(x)  # paddle: before the stage
            x = a
            if fault != "stage":
                x = self.two(x)
            x = self.three(x)  # paddle: after the stage
            return self.head(x), a

    return Net()


def test_a_module_that_never_runs_is_missed_at_the_condition_that_asks_for_it() -> None:
    port = Port("ended", partial(ended, "paddle", "norm"), partial(ended, "torch"), {"x": Input(("batch", 6))})
    assert [first for first, _ in named(port)] == [line_of("paddle: asks for the norm")]


def test_a_stage_that_never_runs_is_carried_after_one_stage_and_not_after_all_of_its_class() -> None:
    port = Port("ended", partial(ended, "paddle", "stage"), partial(ended, "torch"), {"x": Input(("batch", 6))})
    first = [first for first, _ in named(port)]
    assert len(first) == 1
    assert first[0] in range(line_of("paddle: before the stage"), line_of("paddle: after the stage") + 1)


def weighed(framework: str) -> Any:
    """Return blocks of weights and a norm that all share; Paddle's weights are whole numbers, all of them nothing."""
    nn, base, stack = layers(framework)

    class Norm(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            x = x / (x * x).mean(-1, keepdim=True).sqrt()
            return self.scale(x)  # of the norm

    class Block(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.q, self.a, self.b = Norm(), Norm(), *(nn.Linear(6, 6) for _ in range(3))

        def forward(self, x: Any) -> Any:
            h = self.one(x)
            weights = nn.functional.softmax(self.q(h), -1)
            if framework == "paddle":
                weights = weights.astype("int32").astype(h.dtype)  # paddle: whole
            x = x + weights * self.a(h)
            return x + self.b(self.two(x)).tanh()

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.norm, self.head = stack([Block() for _ in range(2)]), Norm(), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    return Net()


def test_a_sum_with_nothing_is_named_where_the_nothing_is_made() -> None:
    port = Port("weighed", partial(weighed, "paddle"), partial(weighed, "torch"), {"x": Input(("batch", 6))})
    assert [first for first, _ in named(port)] == [line_of("paddle: whole")]
