"""Small ports that stand for kinds of ports. Frameworks are imported inside the factories, as a user's modules do."""

from typing import Any

from portproof import Input, Permute, Port, Split, WeightMap


def torch_two_inputs() -> Any:
    import torch
    from torch import nn

    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 6)
            self.mix = nn.Linear(6, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, tokens: Any, mask: Any) -> Any:
            x = self.embed(tokens) * mask.unsqueeze(-1)
            return {"logits": self.head(torch.tanh(self.mix(x))), "pooled": x.mean(1)}

    return TwoInputs()


def paddle_two_inputs() -> Any:
    import paddle
    from paddle import nn

    class TwoInputs(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 6)
            self.mix = nn.Linear(6, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, tokens: Any, mask: Any) -> Any:
            x = self.embed(tokens) * mask.unsqueeze(-1)
            return {"logits": self.head(paddle.tanh(self.mix(x))), "pooled": x.mean(1)}

    return TwoInputs()


TWO_INPUTS = Port(
    name="two_inputs",
    paddle="tests.small_ports:paddle_two_inputs",
    torch="tests.small_ports:torch_two_inputs",
    inputs={
        "tokens": Input(("batch", "length"), "int64", range=(0, 10), sizes={"length": 5}),
        "mask": Input(("batch", "length"), values=(0, 1), sizes={"length": 5}),
    },
    outputs=("logits", "pooled"),
)


def torch_dictionary() -> Any:
    from torch import nn

    class Dictionary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, batch: dict[str, Any]) -> Any:
            return self.left(batch["a"]) - self.right(batch["b"])

    return Dictionary()


def paddle_dictionary() -> Any:
    from paddle import nn

    class Dictionary(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, batch: dict[str, Any]) -> Any:
            return self.left(batch["a"]) - self.right(batch["b"])

    return Dictionary()


DICTIONARY = Port(
    name="dictionary",
    paddle="tests.small_ports:paddle_dictionary",
    torch="tests.small_ports:torch_dictionary",
    inputs={"a": Input(("batch", 4)), "b": Input(("batch", 4))},
    call="dictionary",
)


def torch_mlp(width: int = 8, bias: bool = True) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(8, width, bias=bias), nn.ReLU(), nn.Linear(width, 3))


def paddle_mlp(width: int = 8, bias: bool = True) -> Any:
    from paddle import nn

    return nn.Sequential(nn.Linear(8, width, bias_attr=None if bias else False), nn.ReLU(), nn.Linear(width, 3))


MLP = Port(
    name="mlp",
    paddle="tests.small_ports:paddle_mlp",
    torch="tests.small_ports:torch_mlp",
    inputs={"x": Input(("batch", 8))},
)
TORCH_ONLY = Port(name="torch_only", torch="tests.small_ports:torch_mlp", inputs={"x": Input(("batch", 8))})
PADDLE_ONLY = Port(name="paddle_only", paddle="tests.small_ports:paddle_mlp", inputs={"x": Input(("batch", 8))})


def torch_packed() -> Any:
    from torch import nn

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.ModuleDict({"qkv": nn.Linear(6, 18)})

        def forward(self, x: Any) -> Any:
            q, k, v = self.block["qkv"](x).chunk(3, -1)
            return q * k + v

    return Packed()


def paddle_unpacked() -> Any:
    from paddle import nn

    class Unpacked(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(3))

        def forward(self, x: Any) -> Any:
            return self.q(x) * self.k(x) + self.v(x)

    return Unpacked()


PACKED = Port(
    name="packed",
    paddle="tests.small_ports:paddle_unpacked",
    torch="tests.small_ports:torch_packed",
    inputs={"x": Input(("batch", 6))},
    weights=WeightMap(
        transforms={
            "block.qkv.weight": Split(("q.weight", "k.weight", "v.weight"), transpose=True),
            "block.qkv.bias": Split(("q.bias", "k.bias", "v.bias")),
        }
    ),
)


def torch_raw() -> Any:
    import torch
    from torch import nn

    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(2, 4, 4))

        def forward(self, x: Any) -> Any:
            return torch.relu(x @ self.table[0]) @ self.table[1]

    return Raw()


def paddle_raw() -> Any:
    import paddle
    from paddle import nn

    class Raw(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.stored = self.create_parameter([4, 2, 4])

        def forward(self, x: Any) -> Any:
            table = self.stored.transpose([1, 0, 2])
            return paddle.nn.functional.relu(x @ table[0]) @ table[1]

    return Raw()


RAW = Port(
    name="raw",
    paddle="tests.small_ports:paddle_raw",
    torch="tests.small_ports:torch_raw",
    inputs={"x": Input(("batch", 4))},
    weights=WeightMap(rename={"table": "stored"}, transforms={"table": Permute((1, 0, 2))}),
)


def torch_pictures(shift: float = 0.0) -> Any:
    import torch
    from torch import nn

    class Pictures(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 8, 5, stride=2)
            self.classes = nn.Linear(8 * 14 * 14, 10)

        def forward(self, x: Any) -> Any:
            return self.classes(torch.relu(self.features(x)).flatten(1) + shift)

    return Pictures()


def paddle_pictures(shift: float = 0.0) -> Any:
    from paddle import nn

    class Pictures(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2D(3, 8, 5, stride=2)
            self.classes = nn.Linear(8 * 14 * 14, 10)

        def forward(self, x: Any) -> Any:
            return self.classes(nn.functional.relu(self.features(x)).flatten(1))

    return Pictures()


#: ``shift`` other than 0 is a fault of the torch side.
PICTURES = Port(
    name="pictures",
    paddle="tests.small_ports:paddle_pictures",
    torch="tests.small_ports:torch_pictures",
    inputs={"x": Input(("batch", 3, 32, 32))},
    outputs=("logits",),
)
