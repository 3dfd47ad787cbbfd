"""Faults in code that the other side has written otherwise, as other people's models have it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from portproof import Input, Port
from tests.lines import test_kinds as kinds
from tests.lines.test_kinds import named, pairs, port

line_of = partial(kinds.line_of, file=Path(__file__))


def embedded_torch(self: Any, x: Any) -> Any:
    h, g = self.a(x), self.b(x)
    h = h + g  # torch: embedded
    h = self.drop(h)
    return self.block(h)


def embedded_paddle(self: Any, x: Any) -> Any:
    _, g = self.a(x), self.b(x)
    h = g  # paddle: embedded
    h = self.drop(h)
    return self.block(h)


def test_a_line_that_only_renames_a_part_is_named_and_not_the_dropout_after_it() -> None:
    assert named(port(embedded_torch, embedded_paddle)) == {(line_of("paddle: embedded"), line_of("torch: embedded"))}


def dropped_torch(self: Any, x: Any) -> Any:
    h = self.a(x)
    h = self.drop(h)
    return self.block(h + x)  # torch: summed


def dropped_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)
    h_dropped = self.drop(h)
    return self.block(h_dropped)  # paddle: summed


def test_a_sum_is_missed_where_it_is_used_if_what_comes_before_is_called_a_dropout_s() -> None:
    assert named(port(dropped_torch, dropped_paddle)) == {(line_of("paddle: summed"), line_of("torch: summed"))}


def bias_torch(self: Any, x: Any) -> Any:
    import torch

    here = torch.arange(6).unsqueeze(1)
    there = torch.arange(6).unsqueeze(0)  # torch: there
    distance = (there - here).to(x.dtype)
    return self.block(x) + (distance @ self.a(x))


def bias_paddle(self: Any, x: Any) -> Any:
    import paddle

    here = paddle.arange(6).unsqueeze(1)
    there = paddle.arange(6).unsqueeze(1)  # paddle: there
    distance = (there - here).astype(x.dtype)
    return self.block(x) + (distance.expand([6, 6]) @ self.a(x))


def test_an_axis_of_one_element_in_another_place_is_named_and_not_the_line_that_broadcasts_it() -> None:
    assert named(port(bias_torch, bias_paddle)) == {(line_of("paddle: there"), line_of("torch: there"))}


def rotated_torch(self: Any, x: Any) -> Any:
    import torch

    h, g = self.a(x), self.b(x)
    h = torch.cat([-h[..., 1::2], h[..., ::2]], -1)  # torch: halves
    g = torch.cat([-g[..., 1::2], g[..., ::2]], -1)
    return self.block(h * g.sigmoid())


def rotated_paddle(self: Any, x: Any) -> Any:
    import paddle

    def rotated(x: Any) -> Any:
        one, other = x[..., 1::2], x[..., 1::2]  # paddle: halves
        return paddle.concat([-one, other], -1)

    return self.block(rotated(self.a(x)) * paddle.nn.functional.sigmoid(rotated(self.b(x))))


def test_a_line_of_a_helper_is_named_where_the_other_side_has_it_written_out_for_each_value() -> None:
    assert named(port(rotated_torch, rotated_paddle)) == {(line_of("paddle: halves"), line_of("torch: halves"))}


def shuffled_torch(self: Any, x: Any) -> Any:
    import torch

    for layer in (self.a, self.b):
        h = torch.cat([x[..., :4], layer(x)[..., :4]], -1)
        h = h.reshape(-1, 6, 2, 4)
        h = h.transpose(2, 3)  # torch: shuffled
        h = h.reshape(-1, 6, 8)
        x = torch.cat(h.chunk(2, -1)[::-1], -1)
    return self.block(h)


def shuffled_paddle(self: Any, x: Any) -> Any:
    import paddle

    for layer in (self.a, self.b):
        h = paddle.concat([x[..., :4], layer(x)[..., :4]], -1)
        h = h.reshape([-1, 6, 2, 4])  # paddle: shuffled
        h = h.reshape([-1, 6, 8])
        x = paddle.concat(h.chunk(2, -1)[::-1], -1)
    return self.block(h)


def test_values_that_are_not_shuffled_are_found_where_a_cut_undoes_the_concatenation() -> None:
    assert named(port(shuffled_torch, shuffled_paddle)) == {(line_of("paddle: shuffled"), line_of("torch: shuffled"))}


def scaled_torch(self: Any, x: Any) -> Any:
    h, g = self.a(x) * 0.25, self.b(x).reshape(-1, 6, 2, 4).permute(0, 2, 3, 1)
    h = h.reshape(-1, 6, 2, 4).transpose(1, 2)
    return self.block((h @ g).reshape(-1, 6, 12)[..., :8])


def scaled_paddle(self: Any, x: Any) -> Any:
    h, g = self.a(x), self.b(x).reshape([-1, 6, 2, 4]).transpose([0, 2, 3, 1])
    h = h.reshape([-1, 6, 2, 4]).transpose([0, 2, 1, 3])
    h = h @ g  # paddle: scaled
    return self.block(h.reshape([-1, 6, 12])[..., :8])


def test_a_scale_may_be_missed_where_the_value_is_used_after_it_was_arranged() -> None:
    (pair,) = pairs(port(scaled_torch, scaled_paddle))
    assert line_of("paddle: scaled") in [line.line for line in pair.paddle]


def headed_torch(self: Any, x: Any) -> Any:
    def features(x: Any) -> Any:
        return self.a(x).tanh()

    def head(x: Any) -> Any:
        return self.block(x)

    return head(features(x))


def headed_paddle(self: Any, x: Any) -> Any:
    def features(x: Any) -> Any:
        return self.a(x).tanh()

    x = features(x)
    return x  # paddle: headed


def test_what_a_function_of_torch_s_own_does_is_not_missed_in_a_function_that_both_sides_have() -> None:
    (pair,) = pairs(port(headed_torch, headed_paddle))
    assert pair.paddle[0].line == line_of("paddle: headed")


def added_torch(self: Any, x: Any) -> Any:
    import torch

    h, g = self.a(x), self.b(x)
    scores = torch.zeros(1, 6, 6, dtype=x.dtype).expand(len(x), 6, 6).baddbmm(h, g.transpose(1, 2), alpha=0.5)
    return self.block(torch.softmax(scores, -1) @ x)


def added_paddle(self: Any, x: Any) -> Any:
    import paddle

    h, g = self.a(x), self.b(x)
    product = paddle.matmul(h, g, transpose_y=True)
    scores = product * 0.25  # paddle: factor
    return self.block(paddle.nn.functional.softmax(scores, -1) @ x)


def test_a_fused_product_and_sum_is_matched_by_its_steps() -> None:
    (pair,) = pairs(port(added_torch, added_paddle))
    assert pair.paddle[0].line == line_of("paddle: factor")


def activated_torch() -> Any:
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.BatchNorm2d(3), nn.Linear(5, 5)

        def forward(self, x: Any) -> Any:
            h = self.norm(x).relu()
            return self.linear(h)  # torch: after it

    return Net()


def activated_paddle() -> Any:
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.BatchNorm(3, act="relu"), nn.Linear(5, 5)

        def forward(self, x: Any) -> Any:
            h = self.norm(x)
            return self.linear(h).abs()  # paddle: after it

    return Net()


def test_the_activation_inside_a_batch_norm_is_seen() -> None:
    (pair,) = pairs(Port("activated", activated_paddle, activated_torch, {"x": Input(("batch", 3, 5, 5))}))
    assert (pair.paddle[0].line, pair.torch[0].line) == (line_of("paddle: after it"), line_of("torch: after it"))
