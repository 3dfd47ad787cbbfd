"""Kinds of faults that were once missed, each in a port of a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portproof import Input, Port, verify
from portproof.judge._report import LinePair

HERE = Path(__file__)


def line_of(text: str) -> int:
    """Return the line of this file that ends in a mark."""
    return next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# {text}"))


def port(torch_forward: Callable[[Any, Any], Any], paddle_forward: Callable[[Any, Any], Any]) -> Port:
    """Return a port of three linear layers and a block of two, and these forwards."""

    def torch_side() -> Any:
        from torch import nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
                self.block, self.drop = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)), nn.Dropout(0.1)

        Net.forward = torch_forward
        return Net()

    def paddle_side() -> Any:
        from paddle import nn

        class Net(nn.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
                self.block, self.drop = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)), nn.Dropout(0.1)

        Net.forward = paddle_forward
        return Net()

    return Port("kind", paddle_side, torch_side, {"x": Input(("batch", 6, 8))})


def pairs(found: Port) -> list[LinePair]:
    report = verify(found, quick=True)
    return list(dict.fromkeys(pair for culprit in report.culprits for pair in culprit.lines))


def named(found: Port) -> set[tuple[int, int]]:
    """Return the first lines of every pair: Paddle's and torch's."""
    return {(pair.paddle[0].line, pair.torch[0].line) for pair in pairs(found)}


def squashed_torch(x: Any) -> Any:
    return x.tanh()  # torch: squashed


def squashed_paddle(x: Any) -> Any:
    return x / (1 + x.abs())  # paddle: squashed


def behind_torch(self: Any, x: Any) -> Any:
    h = squashed_torch(self.a(x))
    h = self.b(h)  # torch: behind
    h = self.block(h)
    return squashed_torch(self.c(h))


def behind_paddle(self: Any, x: Any) -> Any:
    h = squashed_paddle(self.a(x))
    h = self.b(h).abs()  # paddle: behind
    h = self.block(h)
    return squashed_paddle(self.c(h))


def test_a_fault_is_found_behind_a_line_that_runs_before_it_and_after_it() -> None:
    wanted = {("squashed", "squashed"), ("behind", "behind")}
    assert named(port(behind_torch, behind_paddle)) == {
        (line_of(f"paddle: {one}"), line_of(f"torch: {other}")) for one, other in wanted
    }


def meeting_torch(self: Any, x: Any) -> Any:
    h = self.a(x).tanh()  # torch: one
    g = self.b(x).sigmoid()  # torch: other
    return self.c(h * g)


def meeting_paddle(self: Any, x: Any) -> Any:
    h = self.a(x).tanh().abs()  # paddle: one
    g = self.b(x).sigmoid().square()  # paddle: other
    return self.c(h * g)


def test_two_faults_whose_results_meet_are_both_named() -> None:
    assert named(port(meeting_torch, meeting_paddle)) == {
        (line_of(f"paddle: {which}"), line_of(f"torch: {which}")) for which in ("one", "other")
    }


def parts_torch(self: Any, x: Any) -> Any:
    h = self.a(x).reshape(-1, 6, 4, 2).transpose(2, 3).reshape(-1, 6, 8)
    return self.c(h)


def parts_paddle(self: Any, x: Any) -> Any:
    import paddle

    h = self.a(x)
    one = h[:, :, 0::2]
    other = h[:, :, 0::2]  # paddle: the part
    return self.c(paddle.concat([one, other], -1))


def turned_paddle(self: Any, x: Any) -> Any:
    import paddle

    h = self.a(x)
    one = h[:, :, 0::2]
    other = h[:, :, 1::2]
    return self.c(paddle.concat([other, one], -1))  # paddle: the parts


@pytest.mark.parametrize(("forward", "mark"), [(parts_paddle, "the part"), (turned_paddle, "the parts")])
def test_of_parts_that_are_joined_the_wrong_one_is_named_or_the_joining(
    forward: Callable[[Any, Any], Any], mark: str
) -> None:
    (pair,) = pairs(port(parts_torch, forward))
    assert pair.paddle[0].line == line_of(f"paddle: {mark}")


def idle_torch(self: Any, x: Any) -> Any:
    h = self.a(x)
    g = self.b(x)
    h = h + g  # torch: idle
    return self.c(h)


def idle_paddle(self: Any, x: Any) -> Any:
    import paddle

    h = self.a(x)
    g = self.b(x)
    h = g  # paddle: idle
    h = paddle.where(h > 1e9, h * 0, h)
    return self.c(h)


def test_a_call_that_hands_on_what_it_is_given_misses_nothing() -> None:
    assert named(port(idle_torch, idle_paddle)) == {(line_of("paddle: idle"), line_of("torch: idle"))}


def overwritten_torch(self: Any, x: Any) -> Any:
    scores = self.a(x)
    mask = self.b(x)
    none = mask - mask
    mask = mask + none  # torch: the mask
    return self.c(scores + mask)


def overwritten_paddle(self: Any, x: Any) -> Any:
    scores = self.a(x)
    mask = self.b(x)
    none = mask - mask
    mask = none  # paddle: the mask
    return self.c(scores + mask)


def test_a_copy_to_a_name_that_held_the_right_tensor_is_named() -> None:
    (pair,) = pairs(port(overwritten_torch, overwritten_paddle))
    assert pair.paddle[0].line == line_of("paddle: the mask")


def later_torch(self: Any, x: Any) -> Any:
    h = self.a(x) + self.b(x)
    g = self.c(x)  # torch: later
    return (h + g).tanh()


def later_paddle(self: Any, x: Any) -> Any:
    h, k = self.a(x), self.b(x)
    g = self.c(x).abs()  # paddle: later
    return (h + g + k).tanh()


def test_a_call_too_many_is_found_where_the_other_side_adds_in_another_order() -> None:
    assert named(port(later_torch, later_paddle)) == {(line_of("paddle: later"), line_of("torch: later"))}


def returned_torch(self: Any, x: Any) -> Any:
    h = self.a(x)
    h = self.drop(h)
    return x + h  # torch: returned


def returned_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)
    h = self.drop(h)
    return h  # paddle: returned


def test_a_sum_that_is_returned_as_it_is_made_is_missed_by_the_return() -> None:
    assert named(port(returned_torch, returned_paddle)) == {(line_of("paddle: returned"), line_of("torch: returned"))}


def long_torch(self: Any, x: Any) -> Any:
    h = self.a(x)
    h = 0.5 * h * (1.0 + (0.8 * (h + 0.04 * h**3)).tanh())  # torch: the long line
    return self.c(self.b(h))


def short_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)  # paddle: before the long line
    return self.c(self.b(h))


def test_what_a_line_of_many_calls_makes_is_tried_before_what_it_makes_on_its_way() -> None:
    (pair,) = pairs(port(long_torch, short_paddle))
    assert pair.torch[0].line == line_of("torch: the long line")
    assert line_of("paddle: before the long line") in {line.line for line in pair.paddle}


def test_shapes_are_one_where_broadcasting_only_repeats() -> None:
    from portproof.lines._match import is_one_shape

    assert is_one_shape((2, 5), (1, 5))
    assert is_one_shape((5,), (1, 5))
    assert not is_one_shape((5, 1), (1, 5))
    assert not is_one_shape((2,), (2, 1))
