"""Several faults at once, of which one is behind another or meets it, and what was missed beside that."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from portproof import Input, Port
from tests.lines import test_kinds as kinds
from tests.lines.test_blocks import layers
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


def turned_torch(self: Any, x: Any) -> Any:
    q = self.a(x)
    k = self.b(x)
    return (q @ k.transpose(1, 2)).softmax(-1) @ self.c(x)


def turned_paddle(self: Any, x: Any) -> Any:
    import paddle

    q = self.a(x)
    k = self.b(x)
    scores = paddle.matmul(k, q, transpose_y=True)  # paddle: turned round
    return paddle.nn.functional.softmax(scores, -1) @ self.c(x)


def test_a_product_of_two_values_that_have_their_names_is_what_turns_them_round() -> None:
    (pair,) = pairs(port(turned_torch, turned_paddle))
    assert pair.paddle[0].line == line_of("paddle: turned round")


def pooled(framework: str) -> Any:
    """Return a pooler that turns what it is handed; Paddle's layer is given that as it is."""
    nn, base, _ = layers(framework)

    class Pooler(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            turned = x.flip(1)
            if framework == "torch":
                return self.dense(turned).tanh()
            assert turned.ndim == 3
            return self.dense(x).tanh()  # paddle: not turned

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pooler = nn.Linear(8, 8), Pooler()

        def forward(self, x: Any) -> Any:
            h = self.stem(x)
            return h.exp() + self.pooler(h)

    return Net()


def test_a_layer_that_is_given_what_its_module_is_handed_is_named_and_not_the_module_around_it() -> None:
    found = pairs(Port("pooled", partial(pooled, "paddle"), partial(pooled, "torch"), {"x": Input(("batch", 4, 8))}))
    assert [pair.paddle[0].line for pair in found] == [line_of("paddle: not turned")]


def far(x: Any) -> Any:
    for _ in range(6):
        x = x.sin() + x
    return x


def elsewhere_torch(self: Any, x: Any) -> Any:
    h = self.a(x).tanh()
    g = far(self.block(h))
    return self.c(g)


def elsewhere_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)  # paddle: behind
    _ = far(self.block(h))
    return self.c(h)  # paddle: elsewhere


def test_what_is_wrong_behind_a_value_that_was_not_handed_on_is_found_too() -> None:
    assert {first for first, _ in named(port(elsewhere_torch, elsewhere_paddle))} == {
        line_of("paddle: behind"), line_of("paddle: elsewhere"),
    }  # fmt: skip


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

    def summed(h: Any) -> Any:
        s = self.a(h) + x
        s = s + self.b(h)
        return torch.nn.functional.layer_norm(s, [8])  # torch: normed

    return self.block(summed(self.c(summed(x))))


def summed_paddle(self: Any, x: Any) -> Any:
    def summed(h: Any) -> Any:
        s = self.a(h) + self.b(h)
        return s + x  # paddle: normed

    return self.block(summed(self.c(summed(x)))).abs()  # paddle: too many


def test_a_sum_in_another_order_is_not_confirmed_behind_what_is_missing_after_it() -> None:
    found = pairs(port(summed_torch, summed_paddle))
    assert {pair.paddle[0].line for pair in found} == {line_of("paddle: normed"), line_of("paddle: too many")}


def looped_torch(self: Any, x: Any) -> Any:
    import torch

    h = x
    for layer in (self.a, self.b):
        out = layer(h)
        h = out
    h = torch.nn.functional.layer_norm(h, [8])
    return self.c(h)


def looped_paddle(self: Any, x: Any) -> Any:
    h = x
    for layer in (self.a, self.b):
        out = layer(h)
        h = out
        assert h.ndim == 3
    return self.c(h)


def test_a_name_that_torch_has_before_a_call_and_after_it_confirms_no_line() -> None:
    found = pairs(port(looped_torch, looped_paddle))
    assert found
    assert not any(pair.confirmed for pair in found)


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
    h = h + self.block(h)
    return self.c(h)


def doubled_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)
    h = h + self.drop(h)  # paddle: whole
    return self.c(h).abs()  # paddle: beside the whole


def test_what_goes_into_a_sum_beside_the_same_is_missing_there_whatever_it_takes_to_make_it() -> None:
    found = pairs(port(doubled_torch, doubled_paddle))
    assert {line_of("paddle: whole"), line_of("paddle: beside the whole")} <= {p.paddle[0].line for p in found}


def mirrored_torch(self: Any, x: Any) -> Any:
    h = self.a(x)[..., :6]
    d = -(h - h.transpose(1, 2))
    return (d < 0).to(x.dtype) @ self.block(x)  # torch: mirrored


def mirrored_paddle(self: Any, x: Any) -> Any:
    h = self.a(x)[..., :6]
    d = -(h.transpose([0, 2, 1]) - h)
    return (d < 0).astype(x.dtype) @ self.block(x)  # paddle: mirrored


def test_a_call_that_is_given_the_mirror_image_of_torch_s_is_not_confirmed() -> None:
    found = pairs(port(mirrored_torch, mirrored_paddle))
    assert not any(pair.confirmed and pair.paddle[0].line == line_of("paddle: mirrored") for pair in found)
    assert found


def split_torch(self: Any, x: Any) -> Any:
    def heads(x: Any) -> Any:
        q, k, v = self.a(x).reshape(-1, 6, 2, 4), self.b(x).reshape(-1, 6, 2, 4), self.c(x).reshape(-1, 6, 2, 4)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    q, k, v = heads(x)
    return (q @ k.transpose(2, 3)).softmax(-1) @ v


def split_paddle(self: Any, x: Any) -> Any:
    import paddle

    def parts(x: Any) -> Any:
        return self.a(x).reshape([-1, 6, 2, 4]), self.b(x).reshape([-1, 6, 2, 4]), self.c(x).reshape([-1, 6, 2, 4])

    q, k, v = parts(x)
    q = q.transpose([0, 2, 1, 3])
    k = k.transpose([0, 2, 1, 3])  # paddle: split
    v = v.reshape([-1, 2, 6, 4])
    return paddle.nn.functional.softmax(q @ k.transpose([0, 1, 3, 2]), -1) @ v


def test_a_part_that_is_not_turned_is_named_beside_those_that_are() -> None:
    (pair,) = pairs(port(split_torch, split_paddle))
    assert line_of("paddle: split") in {line.line for line in pair.paddle}


def activated_torch() -> Any:
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unit, self.c = nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            h = self.unit(x)
            return self.c(h)

    return Net()


def activated_paddle() -> Any:
    from paddle import nn

    class Unit(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.act = nn.Linear(8, 8), nn.Tanh()

        def forward(self, x: Any) -> Any:
            h = self.linear(x)  # paddle: made
            return h  # paddle: idle

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.unit, self.c = Unit(), nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            h = self.unit(x)
            return self.c(h)

    return Net()


def test_a_function_is_missed_where_its_module_stands_and_does_not_run() -> None:
    (pair,) = pairs(Port("idle", activated_paddle, activated_torch, {"x": Input(("batch", 8))}))
    assert pair.paddle[0].line in {line_of("paddle: made"), line_of("paddle: idle")}
