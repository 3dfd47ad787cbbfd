"""Values and lines that are shared: a mask that all blocks are given, a helper for query and key, a decorator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from portproof import Input, Port
from tests.lines import test_kinds as kinds
from tests.lines.test_blocks import layers
from tests.lines.test_kinds import pairs

line_of = partial(kinds.line_of, file=Path(__file__))


def found(build: Callable[..., Any], **faults: bool) -> list[tuple[int, bool]]:
    """Return the first lines that are named for some faults of Paddle's, and whether they are confirmed."""
    port = Port("shared", partial(build, "paddle", **faults), partial(build, "torch"), {"x": Input(("batch", 5, 6))})
    return [(pair.paddle[0].line, pair.confirmed) for pair in pairs(port)]


def attention(framework: str, *, masked_alone: bool = False, crossed: bool = False, turned: bool = False) -> Any:
    """Return four blocks of attention that are given one mask."""
    nn, base, stack = layers(framework)
    lib = __import__(framework)

    class Project(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            x = self.linear(x)
            return x * 0.5  # of query and of key

    class Block(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = Project(), Project(), Project()

        def project(self, x: Any) -> Any:
            return self.q(x), self.k(x)

        def forward(self, x: Any, mask: Any) -> Any:
            if crossed:
                k, q = self.project(x)  # paddle: crossed
            else:
                q, k = self.project(x)
            scores = lib.matmul(q, k.mT) if framework == "torch" else lib.matmul(q, k, transpose_y=True)
            if not masked_alone:
                mask = scores + mask
            scores = mask  # paddle: the mask alone
            return x + lib.matmul(nn.functional.softmax(scores, -1), self.v(x))

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.head = stack([Block() for _ in range(4)]), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            at = lib.arange(5)
            if framework == "torch":
                mask = (at.reshape([5, 1]) < at.reshape([1, 5])).to(x.dtype)
            else:
                mask = (at.reshape([5, 1]) >= at.reshape([1, 5])).astype(x.dtype)  # paddle: makes the mask
                if not turned:
                    mask = 1 - mask
            mask = mask.reshape([1, 5, 5])
            mask = mask * -9.0 + 0.0  # paddle: reads the mask
            for block in self.blocks:
                x = block(x, mask)
            return self.head(x)

    return Net()


def test_what_every_block_is_given_in_the_place_of_its_own_is_named() -> None:
    assert found(attention, masked_alone=True) == [(line_of("paddle: the mask alone"), True)]


def test_query_and_key_of_one_helper_are_crossed_in_all_blocks_at_once() -> None:
    assert [line for line, _ in found(attention, crossed=True)] == [line_of("paddle: crossed")]


def decorated(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a forward with a decorator's frame around it."""

    @functools.wraps(forward)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    return wrapper


def helped(framework: str) -> Any:
    """Return a layer that torch's decorates; Paddle's arranges in a helper, and forgets the last linear layer."""
    nn, base, _ = layers(framework)

    def forward(self: Any, x: Any) -> Any:
        h = self.a(x).tanh()
        h = h.flip(1)
        h = self.b(h)
        return h, x

    def forward_of_paddle(self: Any, x: Any) -> Any:
        def arranged(h: Any) -> Any:
            return h.flip([1])  # paddle: in the helper

        h = arranged(self.a(x).tanh())  # paddle: is not projected
        found = (h, x)
        return found

    class Layer(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

    Layer.forward = decorated(forward) if framework == "torch" else forward_of_paddle

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = Layer(), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.layer(x)[0].tanh())

    return Net()


def test_a_missing_call_is_looked_for_in_the_forward_and_before_its_result_is_packed() -> None:
    assert [line for line, _ in found(helped)] == [line_of("paddle: is not projected")]


def test_where_a_mask_is_its_own_negation_the_line_that_reads_it_is_named_beside_the_one_that_makes_it() -> None:
    port = Port(
        "shared", partial(attention, "paddle", turned=True), partial(attention, "torch"), {"x": Input(("batch", 5, 6))}
    )
    (pair,) = pairs(port)
    assert [line.line for line in pair.paddle[:2]] == [
        line_of("paddle: makes the mask"),
        line_of("paddle: reads the mask"),
    ]
    assert not pair.confirmed


def summed(framework: str) -> Any:
    """Return blocks that norm a sum; Paddle's adds a tensor to itself."""
    nn, base, stack = layers(framework)

    class Block(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

        def forward(self, x: Any) -> Any:
            if framework == "torch":
                h = self.a(x)
                return self.norm(h + x)
            residual = x
            found = self.a(residual)
            x = found
            x = x + x  # paddle: twice
            return self.norm(x)

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.head = stack([Block() for _ in range(2)]), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    return Net()


def test_a_sum_of_one_tensor_with_itself_is_named_and_not_the_line_that_names_that() -> None:
    assert [line for line, _ in found(summed)] == [line_of("paddle: twice")]


def spread_in_torch(mask: Any) -> Any:
    return mask[:, None, None, :]


def spread_in_paddle(mask: Any) -> Any:
    mask = mask.unsqueeze(1)
    return mask.unsqueeze(1)


def masked(framework: str) -> Any:
    """Return a model of two inputs, of which Paddle's gives its helper the first in the place of the second."""
    nn, base, _ = layers(framework)

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Any, mask: Any) -> Any:
            h = self.a(x)
            if framework == "torch":
                return self.head((h[:, None, None, :] + (1.0 - spread_in_torch(mask)) * -3.0).exp())
            spread = spread_in_paddle(x)  # paddle: the other input
            spread = (1.0 - spread) * -3.0
            return self.head((h[:, None, None, :] + spread).exp())

    return Net()


def test_a_helper_that_is_given_another_input_is_named_where_it_is_called() -> None:
    inputs = {name: Input(("batch", 6)) for name in ("x", "mask")}
    port = Port("masked", partial(masked, "paddle"), partial(masked, "torch"), inputs)
    assert [pair.paddle[0].line for pair in pairs(port)] == [line_of("paddle: the other input")]
