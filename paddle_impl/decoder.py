"""A decoder with a key-value cache in Paddle: RMSNorm, rotary positions, grouped keys (Touvron et al., 2023)."""

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F


class RMSNorm(nn.Layer):
    """Divides by the root mean square, computed in float32 at least, as decoders in bfloat16 do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = self.create_parameter([width], default_initializer=nn.initializer.Constant(1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(…, width)`` to the same."""
        wide = x.astype("float32") if x.dtype in (paddle.bfloat16, paddle.float16) else x
        scale = paddle.rsqrt(wide.square().mean(-1, keepdim=True) + 2.0**-17)
        return (wide * scale).astype(x.dtype) * self.weight


def rotated(x: Tensor, positions: Tensor) -> Tensor:
    """Turn ``(N, heads, T, dim)`` by its positions ``(N, T)``, half by half (Su et al., 2021)."""
    half = x.shape[-1] // 2
    rates = 2.0 ** (-paddle.arange(half, dtype="float64") * 8 / half)
    angles = positions.unsqueeze([1, 3]).astype("float64") * rates
    cos, sin = angles.cos().astype(x.dtype), angles.sin().astype(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return paddle.concat([a * cos - b * sin, b * cos + a * sin], axis=-1)


class Layer(nn.Layer):
    """Attention over the cache and a gated feed-forward network."""

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.groups, self.dim = heads, groups, width // heads
        self.attention_norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.q, self.o = nn.Linear(width, width, bias_attr=False), nn.Linear(width, width, bias_attr=False)
        self.k = nn.Linear(width, groups * self.dim, bias_attr=False)
        self.v = nn.Linear(width, groups * self.dim, bias_attr=False)
        self.gate, self.up = nn.Linear(width, 3 * width, bias_attr=False), nn.Linear(width, 3 * width, bias_attr=False)
        self.down = nn.Linear(3 * width, width, bias_attr=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map ``(N, T, width)`` and caches ``(N, groups, past, dim)`` to the next and the longer caches."""
        rows, length, width = x.shape
        y = self.attention_norm(x)
        q = rotated(self.q(y).reshape([rows, length, self.heads, self.dim]).transpose([0, 2, 1, 3]), positions)
        k = rotated(self.k(y).reshape([rows, length, self.groups, self.dim]).transpose([0, 2, 1, 3]), positions)
        v = self.v(y).reshape([rows, length, self.groups, self.dim]).transpose([0, 2, 1, 3])
        keys, values = paddle.concat([keys, k], axis=2), paddle.concat([values, v], axis=2)
        share = self.heads // self.groups
        scores = q @ keys.repeat_interleave(share, axis=1).transpose([0, 1, 3, 2]) * self.dim**-0.5
        past = keys.shape[2] - length
        hidden = paddle.arange(keys.shape[2]).unsqueeze(0) > paddle.arange(length).unsqueeze(1) + past
        weights = F.softmax(scores.masked_fill(hidden, float("-inf")), axis=-1)
        mixed = weights @ values.repeat_interleave(share, axis=1)
        x = x + self.o(mixed.transpose([0, 2, 1, 3]).reshape([rows, length, width]))
        y = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y)), keys, values


class Decoder(nn.Layer):
    """Two layers between an embedding and the logits that are tied to it.

    Args:
        vocabulary: number of tokens.
        width, heads, groups: of the layers; ``groups`` heads of keys and values are shared by the others.
    """

    def __init__(self, vocabulary: int = 160, width: int = 64, heads: int = 8, groups: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.LayerList([Layer(width, heads, groups) for _ in range(2)])
        self.norm = RMSNorm(width)

    def forward(
        self, tokens: Tensor, positions: Tensor, k0: Tensor, v0: Tensor, k1: Tensor, v1: Tensor
    ) -> tuple[Tensor, ...]:
        """Map ``(N, T)`` tokens and positions and the caches to logits ``(N, T, vocabulary)`` and the longer caches."""
        x, k0, v0 = self.layers[0](self.embed(tokens), k0, v0, positions)
        x, k1, v1 = self.layers[1](x, k1, v1, positions)
        return self.norm(x) @ self.embed.weight.T, k0, v0, k1, v1
