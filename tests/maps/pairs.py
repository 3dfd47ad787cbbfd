"""Pairs of models whose map is hard to find: same shapes everywhere, other orders, packed, tied, dead, interchangeable.

Both sides are written with the few functions of :class:`Ops`, under names that say nothing; each port has its true map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from portproof import Input, Permute, Port, Reshape, Split, WeightMap

SEQUENCE = {"x": Input(("batch", 6, 32))}
IMAGE = {"x": Input(("batch", 8, 8, 8))}
TOKENS = {"x": Input(("batch", 6), "int64", range=(0, 18))}


class Ops:
    """What a framework calls the few things that the pairs are made of."""

    def __init__(self, side: str) -> None:
        self.torch = side == "torch"
        if self.torch:
            import torch
            from torch import nn

            self.lib, self.nn, self.f, self.base = torch, nn, nn.functional, nn.Module
        else:
            import paddle
            from paddle import nn

            self.lib, self.nn, self.f, self.base = paddle, nn, nn.functional, nn.Layer

    def linear(self, i: int = 32, o: int = 32) -> Any:
        return self.nn.Linear(i, o)

    def conv(self, i: int, o: int, size: int = 1) -> Any:
        return (self.nn.Conv2d if self.torch else self.nn.Conv2D)(i, o, size, padding=size // 2)

    def batch_norm(self, channels: int) -> Any:
        return (self.nn.BatchNorm2d if self.torch else self.nn.BatchNorm2D)(channels)

    def lstm(self, i: int, o: int, layers: int) -> Any:
        if self.torch:
            return self.nn.LSTM(i, o, layers, batch_first=True, bidirectional=True)
        return self.nn.LSTM(i, o, layers, direction="bidirect")

    def gru(self, i: int, o: int) -> Any:
        return self.nn.GRU(i, o, batch_first=True) if self.torch else self.nn.GRU(i, o)

    def parameter(self, *shape: int) -> Any:
        if self.torch:
            return self.nn.Parameter(self.lib.randn(*shape))
        return self.lib.create_parameter(list(shape), self.lib.get_default_dtype())

    def buffer(self, array: np.ndarray[Any, Any]) -> Any:
        return Buffer(self.lib.to_tensor(array) if not self.torch else self.lib.tensor(array))

    def turn(self, x: Any, *axes: int) -> Any:
        return x.permute(*axes) if self.torch else x.transpose(list(axes))

    def cat(self, parts: list[Any], axis: int) -> Any:
        return self.lib.cat(parts, axis) if self.torch else self.lib.concat(parts, axis)

    def split(self, x: Any, sizes: list[int]) -> Any:
        return self.lib.split(x, sizes, -1)

    def softmax(self, x: Any) -> Any:
        return self.f.softmax(x, -1)

    def attend(self, q: Any, k: Any, v: Any) -> Any:
        """Attention over ``(…, length, width)``."""
        last = [*range(q.ndim - 2), q.ndim - 1, q.ndim - 2]
        return self.softmax(q @ self.turn(k, *last) / 2.8) @ v

    def heads(self, x: Any, heads: int) -> Any:
        """``(B, L, heads * d)`` to ``(B, heads, L, d)``."""
        return self.turn(x.reshape([x.shape[0], x.shape[1], heads, -1]), 0, 2, 1, 3)

    def joined(self, x: Any) -> Any:
        """The reverse of :meth:`heads`."""
        x = self.turn(x, 0, 2, 1, 3)
        return x.reshape([x.shape[0], x.shape[1], -1])


class Buffer:
    """A tensor to be registered as a buffer."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor


Parts = Callable[[Ops], Mapping[str, Any]]
Forward = Callable[[Any, Ops, Any], Any]


def model(side: str, parts: Parts, forward: Forward) -> Callable[[], Any]:
    """Return a factory of a model with some parts, registered in that order."""

    def build() -> Any:
        ops = Ops(side)

        class Net(ops.base):  # type: ignore[name-defined, misc]
            def __init__(self) -> None:
                super().__init__()
                for name, part in parts(ops).items():
                    if isinstance(part, Buffer):
                        self.register_buffer(name, part.tensor)
                    else:
                        setattr(self, name, part)

            def forward(self, x: Any) -> Any:
                return forward(self, ops, x)

        return Net()

    return build


def pair(
    name: str, torch: tuple[Parts, Forward], paddle: tuple[Parts, Forward], weights: WeightMap,
    inputs: Mapping[str, Input] = SEQUENCE,
) -> Port:  # fmt: skip
    """Return a port, with its map."""
    return Port(name, model("paddle", *paddle), model("torch", *torch), inputs, weights=weights)


def linears(*names: str, i: int = 32, o: int = 32) -> Parts:
    """Return parts that are linear layers of one size."""
    return lambda ops: {name: ops.linear(i, o) for name in names}


def renamed(torch: str, paddle: str) -> WeightMap:
    """Return a map of names that stand in two lists."""
    return WeightMap(dict(zip(torch.split(), paddle.split(), strict=True)))


def _attention(names: str) -> Forward:
    q, k, v, o = names.split()

    def forward(m: Any, ops: Ops, x: Any) -> Any:
        for i in range(3):
            part = {n: getattr(m, f"{n}{i}") for n in (q, k, v, o)}
            x = x + part[o](ops.attend(part[q](x), part[k](x), part[v](x)))
        return x

    return forward


def _two(op: Callable[[Ops, Any, Any], Any], a: str, b: str, c: str) -> Forward:
    return lambda m, ops, x: getattr(m, c)(op(ops, getattr(m, a)(x), getattr(m, b)(x)))


def _either(name: str, op: Callable[[Ops, Any, Any], Any]) -> Port:
    return pair(
        name, (linears("a", "b", "c"), _two(op, "a", "b", "c")), (linears("v", "u", "w"), _two(op, "u", "v", "w")),
        renamed("a b c", "u v w"),
    )  # fmt: skip


def _towers(a: str, b: str, c: str, d: str) -> Forward:
    def forward(m: Any, ops: Ops, x: Any) -> Any:
        first, second = (ops.lib.tanh(getattr(m, two)(ops.f.relu(getattr(m, one)(x)))) for one, two in ((a, b), (c, d)))
        return first - second

    return forward


def _chain(*names: str) -> Forward:
    def forward(m: Any, ops: Ops, x: Any) -> Any:
        for name in names:
            x = ops.lib.tanh(getattr(m, name)(x))
        return x

    return forward


def _packed(whole: str, out: str, sizes: tuple[int, ...], heads: int, *, by_head: bool = False) -> Forward:
    """Attention whose query, key and value are one projection; ``heads``: of key and value."""

    def forward(m: Any, ops: Ops, x: Any) -> Any:
        made = getattr(m, whole)(x)
        if by_head:
            made = made.reshape([x.shape[0], x.shape[1], heads, -1])
            parts = [p.reshape([x.shape[0], x.shape[1], -1]) for p in ops.split(made, [s // heads for s in sizes])]
        else:
            parts = list(ops.split(made, list(sizes)))
        return _grouped(ops, parts, sizes, heads, getattr(m, out))

    return forward


def _apart(q: str, k: str, v: str, out: str, sizes: tuple[int, ...], heads: int) -> Forward:
    def forward(m: Any, ops: Ops, x: Any) -> Any:
        return _grouped(ops, [getattr(m, n)(x) for n in (q, k, v)], sizes, heads, getattr(m, out))

    return forward


def _grouped(ops: Ops, parts: list[Any], sizes: tuple[int, ...], heads: int, out: Any) -> Any:
    q, k, v = (ops.heads(part, heads) for part in parts)
    if sizes[0] != sizes[1]:  # several queries share a key
        share = sizes[0] // sizes[1]
        shape = [q.shape[0], heads, q.shape[2], share, -1]
        q = ops.turn(q.reshape(shape), 0, 1, 3, 2, 4)
        k, v = (part.unsqueeze(2) for part in (k, v))
        made = ops.turn(ops.attend(q, k, v), 0, 1, 3, 2, 4)
        return out(ops.joined(made.reshape([q.shape[0], heads, q.shape[3], -1])))
    return out(ops.joined(ops.attend(q, k, v)))


def _branches(names: str, last: str) -> Forward:
    def forward(m: Any, ops: Ops, x: Any) -> Any:
        return getattr(m, last)(ops.f.relu(ops.cat([getattr(m, name)(x) for name in names.split()], 1)))

    return forward


def _residual(block: str, norm: str, order: range) -> Forward:
    def forward(m: Any, ops: Ops, x: Any) -> Any:
        for i in order:
            x = x + getattr(m, f"{block}{i}")(ops.f.gelu(getattr(m, f"{norm}{i}")(x)))
        return x

    return forward


def _residual_parts(block: str, norm: str) -> Parts:
    return lambda ops: {
        name: part
        for i in range(20)
        for name, part in ((f"{block}{i}", ops.linear()), (f"{norm}{i}", ops.nn.LayerNorm(32)))
    }


def _one_by_one(m: Any, ops: Ops, x: Any) -> Any:
    return m.c(ops.f.relu(m.b(ops.lib.tanh(m.a(x)))))


def _pointwise(m: Any, ops: Ops, x: Any) -> Any:
    x = ops.turn(x, 0, 2, 3, 1)
    return ops.turn(m.l3(ops.f.relu(m.l2(ops.lib.tanh(m.l1(x))))), 0, 3, 1, 2)


def _gated(m: Any, ops: Ops, x: Any) -> Any:
    gate, up = ops.split(m.gu(x), [64, 64])
    return m.d(ops.f.silu(gate) * up)


def _experts(names: str, router: str) -> Forward:
    def forward(m: Any, ops: Ops, x: Any) -> Any:
        share = ops.softmax(getattr(m, router)(x))
        made = [getattr(m, name)(x) * share[..., i : i + 1] for i, name in enumerate(names.split())]
        return made[0] + made[1] + made[2] + made[3]

    return forward


def _tokens(table: str, body: str, head: str) -> Forward:
    def forward(m: Any, ops: Ops, x: Any) -> Any:
        x = ops.lib.tanh(getattr(m, body)(getattr(m, table)(x)))
        return getattr(m, head)(x)

    return forward


def _tied(ops: Ops) -> Mapping[str, Any]:
    table, head = ops.nn.Embedding(19, 32), ops.nn.Linear(32, 19, bias=False)
    head.weight = table.weight
    return {"table": table, "body": ops.linear(), "head": head}


def _untied(ops: Ops) -> Mapping[str, Any]:
    return {"out": ops.nn.Linear(32, 19, bias_attr=False), "words": ops.nn.Embedding(19, 32), "mid": ops.linear()}


def _four_names(ops: Ops) -> Mapping[str, Any]:
    parts = {name: ops.nn.Embedding(19, 32) for name in ("shared", "into", "out")} | {"body": ops.linear()}
    head = ops.nn.Linear(32, 19, bias=False)
    for part in (parts["into"], parts["out"], head):
        part.weight = parts["shared"].weight
    return {**parts, "head": head}


def _one_name(m: Any, ops: Ops, x: Any) -> Any:
    return (ops.lib.tanh(m.mid(m.words(x))) * m.words(x)) @ ops.turn(m.words.weight, 1, 0)


def _three_names(ops: Ops) -> Mapping[str, Any]:
    parts = {"into": ops.nn.Embedding(19, 32), "out": ops.nn.Embedding(19, 32), "body": ops.linear()}
    head = ops.nn.Linear(32, 19, bias=False)
    parts["out"].weight = head.weight = parts["into"].weight
    return {**parts, "head": head}


def _tables(*names: str, tied: bool) -> Parts:
    def parts(ops: Ops) -> Mapping[str, Any]:
        made = {name: ops.nn.Embedding(19, 32) for name in names} | {"mid": ops.linear()}
        for name in names[1:] if tied else ():
            made[name].weight = made[names[0]].weight
        return made

    return parts


def _looked_up(a: str, b: str, c: str) -> Forward:
    return lambda m, ops, x: m.mid(ops.lib.tanh(getattr(m, a)(x)) * getattr(m, b)(x)) * ops.lib.sin(getattr(m, c)(x))


def _einsum(q: str, k: str, v: str, o: str) -> Forward:
    """Attention of four heads by Einstein sums; of each operand its name and the axes that it is stored with."""

    def forward(m: Any, ops: Ops, x: Any) -> Any:
        made = []
        for part in (q, k, v):
            name, axes = part.split(":")
            stored, to = getattr(m, name), "blp" if "p" in axes else "bnlh"
            found = ops.lib.einsum(f"ble,{axes}->{to}", x, stored)
            made.append(ops.heads(found, 4) if "p" in axes else found)
        name, axes = o.split(":")
        mixed = ops.attend(*made)
        out, kept = ("blp", ops.joined(mixed)) if "p" in axes else ("bnlh", mixed)
        return ops.lib.einsum(f"{out},{axes}->ble", kept, getattr(m, name))

    return forward


def _stored(**shapes: tuple[int, ...]) -> Parts:
    return lambda ops: {name: ops.parameter(*shape) for name, shape in shapes.items()}


class _Kernel:
    """A convolution that keeps its kernel with the channels last, as another framework's code would."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, m: Any, ops: Ops, x: Any) -> Any:
        kernel = ops.turn(getattr(m, self.name), 3, 2, 0, 1)
        return m.last(ops.f.relu(ops.f.conv2d(x, kernel, padding=1)))


def _statistics(m: Any, ops: Ops, x: Any) -> Any:
    shape = [1, 8, 1, 1]
    x = m.one(x)
    x = (x - m.mean.reshape(shape)) / ops.lib.sqrt(m.spread.reshape(shape) + 1e-5)
    return m.two(ops.f.relu(x * m.gain.reshape(shape) + m.shift.reshape(shape)))


def _statistics_parts(ops: Ops) -> Mapping[str, Any]:
    return {
        "one": ops.conv(8, 8), "two": ops.conv(8, 8), "gain": ops.parameter(8), "shift": ops.parameter(8),
        "mean": ops.buffer(np.zeros(8, np.float32)), "spread": ops.buffer(np.ones(8, np.float32)),
    }  # fmt: skip


def _positions(ops: Ops) -> Mapping[str, Any]:
    table = np.sin(np.arange(6)[:, None] / 10 ** (np.arange(32) / 32)).astype(np.float32)
    return {"places": ops.buffer(table), "one": ops.linear(), "two": ops.linear()}


def _placed(m: Any, ops: Ops, x: Any) -> Any:
    return m.two(ops.lib.tanh(m.one(x + m.places)))


def _placed_inside(m: Any, ops: Ops, x: Any) -> Any:
    table = np.sin(np.arange(6)[:, None] / 10 ** (np.arange(32) / 32)).astype(np.float32)
    return m.b(ops.lib.tanh(m.a(x + ops.lib.to_tensor(table).astype(x.dtype))))


def _cross(kv: str, qkv: str, q: str, o: str) -> Forward:
    def forward(m: Any, ops: Ops, x: Any) -> Any:
        x = x + ops.attend(*ops.split(getattr(m, qkv)(x), [32, 32, 32]))
        return getattr(m, o)(ops.attend(getattr(m, q)(x), *ops.split(getattr(m, kv)(x), [32, 32])))

    return forward


def _cross_apart(m: Any, ops: Ops, x: Any) -> Any:
    x = x + ops.attend(m.s3(x), m.s1(x), m.s2(x))
    return m.t4(ops.attend(m.t1(x), m.t3(x), m.t2(x)))


def _pyramid(m: Any, ops: Ops, x: Any) -> Any:
    """Stages of 8, 16 and 32: the two vectors of a stage together are as long as one of the next."""
    for i in range(3):
        x = ops.lib.tanh(getattr(m, f"down{i}")(x))
        half = 4 * 2 ** (i + 1)
        packed = hasattr(m, f"kv{i}")
        k, v = (ops.split(getattr(m, f"kv{i}")(x), [half, half]) if packed
                else (getattr(m, f"k{i}")(x), getattr(m, f"v{i}")(x)))  # fmt: skip
        x = x + ops.attend(getattr(m, f"q{i}")(x), k, v)
    return x


def _stages(*, packed: bool) -> Parts:
    def parts(ops: Ops) -> Mapping[str, Any]:
        made = {}
        for i, width in enumerate((8, 16, 32)):
            made[f"down{i}"], made[f"q{i}"] = (
                ops.linear(max(8, width // 2) if i else 32, width),
                ops.linear(width, width),
            )
            made |= ({f"kv{i}": ops.linear(width, 2 * width)} if packed
                     else {f"k{i}": ops.linear(width, width), f"v{i}": ops.linear(width, width)})  # fmt: skip
        return made

    return parts


def _frozen(m: Any, ops: Ops, x: Any) -> Any:
    with ops.lib.no_grad():
        return m.second(ops.lib.tanh(m.first(x)))


_QKV, _GQA = (32, 32, 32), (32, 16, 16)
_KINDS = (("weight", True), ("bias", False))


def _split(name: str, parts: str, **more: Any) -> dict[str, Split]:
    return {
        f"{name}.{kind}": Split([f"{part}.{kind}" for part in parts.split()], transpose=turned, **more)
        for kind, turned in _KINDS
    }


PAIRS: tuple[Port, ...] = (
    pair("attention", (linears(*(f"{n}{i}" for i in range(3) for n in "qkvo")), _attention("q k v o")),
         (linears(*(f"{n}{i}" for i in (2, 0, 1) for n in "bdac")), _attention("d c a b")),
         renamed(" ".join(f"{n}{i}" for i in range(3) for n in "qkvo"),
                 " ".join(f"{n}{i}" for i in range(3) for n in "dcab"))),
    _either("sum", lambda _, a, b: a + b),
    _either("maximum", lambda ops, a, b: ops.lib.maximum(a, b)),
    _either("product", lambda _, a, b: a * b),
    _either("swiglu", lambda ops, a, b: ops.f.silu(a) * b),
    pair("towers", (linears("a1", "a2", "b1", "b2"), _towers("a1", "a2", "b1", "b2")),
         (linears("k", "j", "i", "h"), _towers("h", "i", "j", "k")), renamed("a1 a2 b1 b2", "h i j k")),
    pair("dead", (linears("u1", "a", "u2", "b"), _chain("a", "b")),
         (linears("x2", "x1", "d2", "d1"), _chain("x1", "x2")), renamed("u1 u2 a b", "d1 d2 x1 x2")),
    pair("shared", (linears("a", "b"), _chain("a", "a", "a", "b")),
         (linears("z", "y"), _chain("y", "y", "y", "z")), renamed("a b", "y z")),
    pair("branches", (lambda o: {**{f"c{i}": o.conv(8, 8) for i in range(4)}, "f": o.conv(32, 8, 3)},
                      _branches("c0 c1 c2 c3", "f")),
         (lambda o: {"f": o.conv(32, 8, 3), **{n: o.conv(8, 8) for n in "qspr"}}, _branches("s r q p", "f")),
         renamed("c0 c1 c2 c3", "s r q p"), IMAGE),
    pair("by_head", (lambda o: {"qkv": o.linear(32, 96), "o": o.linear()},
                     _packed("qkv", "o", _QKV, 4, by_head=True)),
         (linears("q", "k", "v", "o"), _apart("q", "k", "v", "o", _QKV, 4)),
         WeightMap(transforms=_split("qkv", "q k v", groups=4))),
    pair("pointwise", (lambda o: {"a": o.conv(8, 8), "b": o.conv(8, 16), "c": o.conv(16, 8)}, _one_by_one),
         (lambda o: {"l1": o.linear(8, 8), "l2": o.linear(8, 16), "l3": o.linear(16, 8)}, _pointwise),
         WeightMap({"a": "l1", "b": "l2", "c": "l3"}, transforms={
             **{f"{n}.weight": Reshape((1, 0, 2, 3)) for n in "abc"}, **{f"{n}.bias": Reshape() for n in "abc"}}),
         IMAGE),
    pair("gate_up", (lambda o: {"gu": o.linear(32, 128), "d": o.linear(64, 32)}, _gated),
         (lambda o: {"up": o.linear(32, 64), "gate": o.linear(32, 64), "down": o.linear(64, 32)},
          lambda m, o, x: m.down(o.f.silu(m.gate(x)) * m.up(x))),
         WeightMap({"d": "down"}, transforms=_split("gu", "gate up"))),
    pair("deep", (_residual_parts("b", "n"), _residual("b", "n", range(20))),
         (_residual_parts("r", "s"), _residual("r", "s", range(19, -1, -1))),
         WeightMap({f"{a}{i}": f"{b}{19 - i}" for i in range(20) for a, b in (("b", "r"), ("n", "s"))})),
    pair("recurrent", (lambda o: {"a": o.lstm(32, 32, 2), "b": o.gru(64, 32)}, lambda m, _, x: m.b(m.a(x)[0])[0]),
         (lambda o: {"g": o.gru(64, 32), "l": o.lstm(32, 32, 2)}, lambda m, _, x: m.g(m.l(x)[0])[0]),
         renamed("a b", "l g")),
    pair("grouped_query", (lambda o: {"qkv": o.linear(32, 64), "o": o.linear()}, _packed("qkv", "o", _GQA, 2)),
         (lambda o: {"o": o.linear(), "k": o.linear(32, 16), "v": o.linear(32, 16), "q": o.linear()},
          _apart("q", "k", "v", "o", _GQA, 2)),
         WeightMap(transforms=_split("qkv", "q k v", sizes=_GQA))),
    pair("grouped_by_head", (lambda o: {"qkv": o.linear(32, 64), "o": o.linear()},
                             _packed("qkv", "o", _GQA, 2, by_head=True)),
         (lambda o: {"o": o.linear(), "k": o.linear(32, 16), "v": o.linear(32, 16), "q": o.linear()},
          _apart("q", "k", "v", "o", _GQA, 2)),
         WeightMap(transforms=_split("qkv", "q k v", sizes=_GQA, groups=2))),
    pair("packed_in_paddle", (linears("q", "k", "v", "o"), _apart("q", "k", "v", "o", _QKV, 4)),
         (lambda o: {"e": o.linear(), "w": o.linear(32, 96)}, _packed("w", "e", _QKV, 4)),
         WeightMap({"o": "e"}, transforms=_split("w", "q k v", whole="paddle", axis=1) | {
             "w.bias": Split(["q.bias", "k.bias", "v.bias"], whole="paddle")})),
    pair("packed_twice", (lambda o: {"qkv": o.linear(32, 96), "kv": o.linear(32, 64), "q": o.linear(),
                                     "o": o.linear()}, _cross("kv", "qkv", "q", "o")),
         (linears("s1", "s2", "s3", "t1", "t2", "t3", "t4"), _cross_apart),
         WeightMap({"q": "t1", "o": "t4"}, transforms={**_split("qkv", "s3 s1 s2"), **_split("kv", "t3 t2")})),
    pair("packed_pyramid", (_stages(packed=True), _pyramid), (_stages(packed=False), _pyramid),
         WeightMap(transforms={key: cut for i in range(3) for key, cut in _split(f"kv{i}", f"k{i} v{i}").items()})),
    pair("tied_in_torch", (_tied, _tokens("table", "body", "head")), (_untied, _tokens("words", "mid", "out")),
         renamed("table body head", "words mid out"), TOKENS),
    pair("tied_four_times", (_four_names, lambda m, o, x: m.head(o.lib.tanh(m.body(m.into(x))) * m.out(x))),
         (lambda o: {"mid": o.linear(), "words": o.nn.Embedding(19, 32)}, _one_name),
         renamed("shared body", "words mid"), TOKENS),
    pair("tied_three_times", (_three_names, lambda m, o, x: m.head(o.lib.tanh(m.body(m.into(x))) * m.out(x))),
         (lambda o: {"fin": o.nn.Linear(32, 19, bias_attr=False), "outs": o.nn.Embedding(19, 32), "mid": o.linear(),
                     "words": o.nn.Embedding(19, 32)},
          lambda m, o, x: m.fin(o.lib.tanh(m.mid(m.words(x))) * m.outs(x))),
         renamed("into out body head", "words outs mid fin"), TOKENS),
    pair("tied_in_paddle", (_tables("a", "b", "c", tied=False), _looked_up("a", "b", "c")),
         (_tables("c", "b", "a", tied=True), _looked_up("a", "b", "c")), WeightMap(), TOKENS),
    pair("tied_beside", (_tables("shared", "a", "b", tied=True), _looked_up("a", "b", "b")),
         (_tables("v", "shared", "u", tied=False), _looked_up("u", "v", "v")), renamed("a b", "u v"), TOKENS),
    pair("heads_apart", (_stored(q=(32, 4, 8), k=(4, 32, 8), v=(32, 8, 4), o=(32, 4, 8)),
                         _einsum("q:enh", "k:neh", "v:ehn", "o:enh")),
         (_stored(d=(32, 32), c=(32, 32), b=(32, 32), a=(32, 32)), _einsum("a:ep", "b:ep", "c:pe", "d:pe")),
         WeightMap({"q": "a", "k": "b", "v": "c", "o": "d"}, transforms={
             "q": Reshape(), "k": Reshape((1, 0, 2)), "v": Reshape((2, 1, 0)), "o": Reshape((1, 2, 0))})),
    pair("heads_apart_in_paddle", (_stored(q=(32, 32), k=(32, 32), v=(32, 32), o=(32, 32)),
                                   _einsum("q:pe", "k:pe", "v:ep", "o:ep")),
         (_stored(o=(32, 32), v=(32, 32), k=(32, 4, 8), q=(4, 8, 32)), _einsum("q:nhe", "k:enh", "v:ep", "o:ep")),
         WeightMap(transforms={"q": Reshape(), "k": Reshape((1, 0))})),
    pair("matrices", (lambda o: {"v": o.parameter(32, 32), "w": o.parameter(32, 32), "s": o.parameter(32)},
                      lambda m, o, x: o.lib.tanh(x @ m.v) @ m.w * m.s),
         (lambda o: {"s": o.parameter(32), "b": o.parameter(32, 32), "a": o.parameter(32, 32)},
          lambda m, o, x: o.lib.tanh(x @ m.a) @ o.turn(m.b, 1, 0) * m.s),
         WeightMap({"v": "a", "w": "b"}, transforms={"w": Permute((1, 0))})),
    pair("kernel", (lambda o: {"c": o.conv(8, 8, 3), "last": o.conv(8, 8)},
                    lambda m, o, x: m.last(o.f.relu(o.f.conv2d(x, m.c.weight, padding=1)) + 0 * m.c.bias.sum())),
         (lambda o: {"last": o.conv(8, 8), "c": o.parameter(3, 3, 8, 8)}, _Kernel("c")),
         WeightMap({"c.weight": "c"}, {"c.bias": "reaches no output"}, {"c.weight": Permute((2, 3, 1, 0))}), IMAGE),
    pair("own_norm", (_statistics_parts, _statistics),
         (lambda o: {"d": o.conv(8, 8), "c": o.conv(8, 8), "n": o.batch_norm(8)},
          lambda m, o, x: m.d(o.f.relu(m.n(m.c(x))))),
         WeightMap({"one": "c", "two": "d", "gain": "n.weight", "shift": "n.bias", "mean": "n._mean",
                    "spread": "n._variance"}), IMAGE),
    pair("table", (_positions, _placed), (linears("b", "a"), _placed_inside),
         WeightMap({"one": "a", "two": "b"}, {"places": "computed"})),
    pair("experts", (lambda o: {**{f"e{i}": o.linear() for i in range(4)}, "r": o.linear(32, 4)},
                     _experts("e0 e1 e2 e3", "r")),
         (lambda o: {"gate": o.linear(32, 4), **{n: o.linear() for n in "cabd"}}, _experts("a b c d", "gate")),
         renamed("e0 e1 e2 e3 r", "a b c d gate")),
    pair("no_backward", (linears("second", "first"), _frozen),
         (linears("two", "one"), lambda m, o, x: m.two(o.lib.tanh(m.one(x)))), renamed("first second", "one two")),
)  # fmt: skip


def _long_short(order: str) -> Forward:
    """An LSTM written by hand; ``order``: of its gates."""

    def forward(m: Any, ops: Ops, x: Any) -> Any:
        hidden, cell = x[:, 0] * 0, x[:, 0] * 0
        for step in range(x.shape[1]):
            made = ops.split(m.inputs(x[:, step]) + m.hidden(hidden), [32] * 4)
            part = dict(zip(order, made, strict=True))
            cell = ops.f.sigmoid(part["f"]) * cell + ops.f.sigmoid(part["i"]) * ops.lib.tanh(part["c"])
            hidden = ops.f.sigmoid(part["o"]) * ops.lib.tanh(cell)
        return m.last(hidden)

    return forward


def _gated_unit(order: str) -> Forward:
    """A gated recurrent unit written by hand; ``order``: of its gates and its candidate."""

    def forward(m: Any, ops: Ops, x: Any) -> Any:
        hidden = x[:, 0] * 0
        for step in range(x.shape[1]):
            ours, theirs = (
                dict(zip(order, ops.split(made, [32] * 3), strict=True))
                for made in (m.inputs(x[:, step]), m.hidden(hidden))
            )
            update = ops.f.sigmoid(ours["z"] + theirs["z"])
            candidate = ops.lib.tanh(ours["n"] + ops.f.sigmoid(ours["r"] + theirs["r"]) * theirs["n"])
            hidden = update * hidden + (1 - update) * candidate
        return m.last(hidden)

    return forward


def _cell(gates: int) -> Parts:
    return lambda ops: {
        "inputs": ops.linear(32, 32 * gates), "hidden": ops.linear(32, 32 * gates), "last": ops.linear(32, 8)
    }  # fmt: skip


#: Ports whose gates stand in another order on each side, with the order of Paddle's in torch's tensors.
GATES = (
    (pair("long_short", (_cell(4), _long_short("ifco")), (_cell(4), _long_short("ifoc")), WeightMap()), "1, 2, 4, 3"),
    (pair("gated_unit", (_cell(3), _gated_unit("rzn")), (_cell(3), _gated_unit("zrn")), WeightMap()), "2, 1, 3"),
)
#: A port whose Paddle side has its heads outermost and the width within: no reshape makes that of a matrix.
UNSAYABLE = pair(
    "unsayable", (_stored(q=(32, 32), k=(32, 32), v=(32, 32), o=(32, 32)), _einsum("q:pe", "k:pe", "v:ep", "o:ep")),
    (_stored(o=(32, 32), v=(32, 32), k=(32, 32), q=(4, 32, 8)), _einsum("q:neh", "k:pe", "v:ep", "o:ep")), WeightMap(),
)  # fmt: skip
#: A port whose query and key are exchanged: only a map against the names makes it one function.
#: Packed on one side, and another function: no layout makes both one, one is far nearer than the others.
PYRAMID_APART = pair(
    "pyramid_apart", (_stages(packed=True), _pyramid),
    (_stages(packed=False), lambda m, ops, x: (1 + 1e-5) * _pyramid(m, ops, x)),
    WeightMap(transforms={key: cut for i in range(3) for key, cut in _split(f"kv{i}", f"k{i} v{i}").items()}),
)  # fmt: skip
EXCHANGED = pair(
    "exchanged", (linears(*(f"{n}{i}" for i in range(3) for n in "qkvo")), _attention("q k v o")),
    (linears(*(f"{n}{i}" for i in range(3) for n in "qkvo")), _attention("k q v o")), WeightMap(),
)  # fmt: skip
