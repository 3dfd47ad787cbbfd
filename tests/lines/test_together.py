"""Several faults at once, of which one is behind another or meets it, and what was missed beside that."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.lines import test_kinds as kinds
from tests.lines.test_kinds import named, pairs, port

line_of = partial(kinds.line_of, file=Path(__file__))


def crossed_torch(self: Any, x: Any) -> Any:
    query, key = self.a(x), self.b(x)
    scores = query @ key.transpose(1, 2) / 8**0.5
    return scores.softmax(-1) @ self.c(x)


def crossed_paddle(self: Any, x: Any) -> Any:
    import paddle

    def projected() -> Any:
        return self.a(x), self.b(x)

    k, q = projected()  # paddle: crossed
    scores = paddle.matmul(q * 8**-0.5, k, transpose_y=True)
    return paddle.nn.functional.softmax(scores, -1) @ self.c(x)


def test_two_values_in_each_other_s_places_are_named_where_they_get_their_names() -> None:
    (pair,) = pairs(port(crossed_torch, crossed_paddle))
    assert pair.paddle[0].line == line_of("paddle: crossed")


def meeting_torch(self: Any, x: Any) -> Any:
    weights = (self.a(x) @ self.b(x).transpose(1, 2)).softmax(-1)  # torch: weights
    return weights @ self.c(x)  # torch: values


def meeting_paddle(self: Any, x: Any) -> Any:
    weights = self.a(x) @ self.b(x).transpose([0, 2, 1])  # paddle: weights
    return weights @ self.c(x).abs()  # paddle: values


def test_of_two_operands_that_are_wrong_both_are_named() -> None:
    assert {first for first, _ in named(port(meeting_torch, meeting_paddle))} == {
        line_of("paddle: weights"), line_of("paddle: values"),
    }  # fmt: skip


def summed_torch(self: Any, x: Any) -> Any:
    import torch

    h = self.a(x) + x
    h = h + self.b(x)
    h = torch.nn.functional.layer_norm(h, [8])  # torch: normed
    return self.block(self.block(h))


def summed_paddle(self: Any, x: Any) -> Any:
    h = self.a(x) + self.b(x)
    h = h + x  # paddle: normed
    return self.block(self.block(h).abs())  # paddle: too many


def test_a_sum_in_another_order_is_not_confirmed_behind_what_is_missing_after_it() -> None:
    found = pairs(port(summed_torch, summed_paddle))
    assert {pair.paddle[0].line for pair in found} == {line_of("paddle: normed"), line_of("paddle: too many")}


def copied_torch(self: Any, x: Any) -> Any:
    import torch

    h = self.a(x)
    residual = h
    h = torch.nn.functional.layer_norm(h, [8])
    return residual + self.block(h)


def copied_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)
    residual = h
    return residual + self.block(h)  # paddle: copied


def test_what_torch_makes_after_a_name_was_copied_is_missing_after_that() -> None:
    (pair,) = pairs(port(copied_torch, copied_paddle))
    assert pair.paddle[0].line == line_of("paddle: copied")


def doubled_torch(self: Any, x: Any) -> Any:
    h = self.a(x)
    return h + self.block(h)


def doubled_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)
    return h + self.drop(h)  # paddle: whole


def test_what_goes_into_a_sum_beside_the_same_is_missing_there_whatever_it_takes_to_make_it() -> None:
    (pair,) = pairs(port(doubled_torch, doubled_paddle))
    assert line_of("paddle: whole") in {line.line for line in pair.paddle}
