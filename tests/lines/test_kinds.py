"""Kinds of faults that were once missed, each in a port of a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof import Input, Port, verify
from portproof.judge._report import LinePair

HERE = Path(__file__)


def line_of(text: str, file: Path = HERE) -> int:
    """Return the line of a file, this one by default, that ends in a mark."""
    return next(n for n, line in enumerate(file.read_text().splitlines(), 1) if line.endswith(f"# {text}"))


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


def doubled_torch(self: Any, x: Any) -> Any:
    import torch

    r = self.a(x).tanh()
    h = self.drop(self.b(r))
    h = torch.nn.functional.layer_norm(r + h, [8], eps=1e-12)  # torch: doubled
    return self.c(h)


def doubled_paddle(self: Any, x: Any) -> Any:
    import paddle

    r = self.a(x).tanh()
    h = self.b(r)
    h = h + self.drop(h)  # paddle: doubled
    return self.c(paddle.nn.functional.layer_norm(h, [8], epsilon=1e-12))


def test_a_residual_that_is_the_result_itself_is_named_where_a_norm_hides_the_factor() -> None:
    assert named(port(doubled_torch, doubled_paddle)) == {(line_of("paddle: doubled"), line_of("torch: doubled"))}


def test_what_is_no_number_agrees_with_no_zero() -> None:
    from portproof.lines._calls import Value
    from portproof.lines._match import _number
    from portproof.lines._values import features

    none, zero = (Value((2, 3), "float64", features(np.full((2, 3), of)), "") for of in (np.nan, 0.0))
    assert _number(none) != _number(zero)


def least_torch(self: Any, x: Any) -> Any:
    import torch

    steps = torch.arange(6, device=x.device)
    far = steps + 4
    few = torch.minimum(far, torch.full_like(far, 9))  # torch: the least
    bucket = steps * 0
    bucket += torch.where(steps > 1, few, steps)
    return self.b(x + torch.nn.functional.embedding(bucket // 2, self.a.weight))


def least_paddle(self: Any, x: Any) -> Any:
    import paddle

    steps = paddle.arange(6)
    far = steps + 4
    few = paddle.maximum(far, paddle.full_like(far, 9))  # paddle: the least
    bucket = steps * 0
    bucket += paddle.where(steps > 1, few, steps)
    return self.b(x + paddle.nn.functional.embedding(bucket // 2, self.a.weight.t()))


def test_what_makes_a_number_alone_is_named_before_what_is_given_it() -> None:
    (pair,) = pairs(port(least_torch, least_paddle))
    assert pair.paddle[0].line == line_of("paddle: the least")


def added_torch(self: Any, x: Any, residual: Any) -> Any:
    x = self.drop(x)
    x = residual + x  # torch: in a helper
    return x


def added_paddle(self: Any, x: Any, residual: Any) -> Any:
    x = self.drop(x)
    x = x  # paddle: in a helper
    return x


def helped_torch(self: Any, x: Any) -> Any:
    h = self.a(x)
    h = added_torch(self, h, x)
    g = self.b(h)
    g = added_torch(self, g, h)
    return self.c(g)


def helped_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)
    h = added_paddle(self, h, x)
    g = self.b(h)
    g = added_paddle(self, g, h)
    return self.c(g)


def test_a_line_in_a_helper_that_hands_the_value_on_is_named() -> None:
    assert named(port(helped_torch, helped_paddle)) == {(line_of("paddle: in a helper"), line_of("torch: in a helper"))}


def norm_torch(h: Any) -> Any:
    import torch

    h = h.permute(0, 2, 1)
    h = torch.nn.functional.layer_norm(h, [8])
    return h.permute(0, 2, 1)


def norm_paddle(h: Any) -> Any:
    import paddle

    h = h.transpose([0, 2, 1])
    h = paddle.nn.functional.layer_norm(h, [8])
    return h.transpose([0, 2, 1])


def turned_torch(self: Any, x: Any) -> Any:
    r = x.permute(0, 2, 1)
    h = self.drop(self.a(x).permute(0, 2, 1))
    h = h + r  # torch: before it is turned
    h = norm_torch(h)
    return self.c(h.permute(0, 2, 1))


def turned_paddle(self: Any, x: Any) -> Any:
    h = self.drop(self.a(x).transpose([0, 2, 1]))
    h = h  # paddle: before it is turned
    h = norm_paddle(h)
    return self.c(h.transpose([0, 2, 1]))


def test_what_is_missing_before_both_sides_turn_the_value_is_named_there() -> None:
    assert named(port(turned_torch, turned_paddle)) == {
        (line_of("paddle: before it is turned"), line_of("torch: before it is turned"))
    }


def masked_torch(self: Any, x: Any) -> Any:
    scores = self.a(x) * 0.5
    scores = scores + (x - x)
    weights = scores.softmax(-1)  # torch: after the mask
    return self.c(weights)


def masked_paddle(self: Any, x: Any) -> Any:
    scores = self.a(x) * 0.5
    scores = scores + (x - x)
    weights = scores  # paddle: after the mask
    return self.c(weights)


def test_what_is_missing_after_a_mask_that_masks_nothing_is_named_there() -> None:
    assert named(port(masked_torch, masked_paddle)) == {
        (line_of("paddle: after the mask"), line_of("torch: after the mask"))
    }


def counted_torch(self: Any, x: Any) -> Any:
    import torch

    return self.a(x) * torch.arange(x.shape[1], device=x.device).reshape(-1, 1)


def counted_paddle(self: Any, x: Any) -> Any:
    import paddle

    steps = paddle.arange(1)  # a length that is read from somewhere else
    return self.a(x) * (steps + 2).astype(x.dtype)


def test_a_number_that_was_computed_confirms_nothing() -> None:
    assert not any(pair.confirmed for pair in pairs(port(counted_torch, counted_paddle)))


def summed_torch(self: Any, x: Any) -> Any:
    h, g, k = self.a(x), self.b(x), self.c(x)
    s = h + g
    s = s + k  # torch: the sum
    return self.block(s)


def summed_paddle(self: Any, x: Any) -> Any:
    _, g, k = self.a(x), self.b(x), self.c(x)
    s = k  # paddle: one part
    s = s + g
    return self.block(s)


def test_a_part_that_a_sum_in_another_order_misses_is_named_where_another_is_only_renamed() -> None:
    assert named(port(summed_torch, summed_paddle)) == {(line_of("paddle: one part"), line_of("torch: the sum"))}


def seen_torch(self: Any, x: Any) -> Any:
    import torch

    steps = torch.arange(6, device=x.device)
    later = steps.reshape(1, -1) > steps.reshape(-1, 1)
    return self.a(x) + (torch.where(later, -1.0, 0.0).to(x.dtype) @ self.b(x))


def seen_paddle(self: Any, x: Any) -> Any:
    import paddle

    steps = paddle.arange(6)
    later = steps.reshape([1, -1]) <= steps.reshape([-1, 1])
    least, none = paddle.full([6, 6], -1.0, x.dtype), paddle.zeros([6, 6], x.dtype)
    return self.a(x) + (paddle.where(later, least, none) @ self.b(x))


def test_a_mask_that_is_the_other_s_negation_is_not_confirmed() -> None:
    assert not any(pair.confirmed for pair in pairs(port(seen_torch, seen_paddle)))


def torch_written_out() -> Any:
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for number in range(8):
                self.add_module(f"unit{number}", nn.Linear(8, 8))

        def forward(self, x: Any) -> Any:
            x = self.unit0(x).relu()
            x = self.unit1(x).relu()
            x = self.unit2(x).relu()
            x = self.unit3(x).relu()
            x = self.unit4(x).relu()
            x = self.unit5(x).relu()
            x = self.unit6(x).relu()
            return self.unit7(x)

    return Net()


def paddle_helper() -> Any:
    from paddle import nn

    class Unit(nn.Layer):
        def __init__(self, act: bool) -> None:
            super().__init__()
            self.linear, self.act = nn.Linear(8, 8), act

        def forward(self, x: Any) -> Any:
            x = self.linear(x)
            if self.act:
                x = x  # paddle: in every unit
            return x

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            for number in range(8):
                self.add_sublayer(f"unit{number}", Unit(number < 7))

        def forward(self, x: Any) -> Any:
            for unit in self.children():
                x = unit(x)
            return x

    return Net()


def test_a_line_of_a_module_that_all_share_is_named_where_the_other_side_is_written_out() -> None:
    (pair,) = pairs(Port("shared", paddle_helper, torch_written_out, {"x": Input(("batch", 8))}))
    assert (pair.paddle[0].line, pair.confirmed) == (line_of("paddle: in every unit"), True)
