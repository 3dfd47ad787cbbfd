"""A decoder with a key-value cache in PyTorch: RMSNorm, rotary positions, grouped keys (Touvron et al., 2023)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Divides by the root mean square, computed in float32 at least, as decoders in bfloat16 do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(…, width)`` to the same."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 2.0**-17)).to(x.dtype) * self.weight


def rotated(x: Tensor, positions: Tensor) -> Tensor:
    """Turn ``(N, heads, T, dim)`` by its positions ``(N, T)``, half by half (Su et al., 2021)."""
    half = x.shape[-1] // 2
    rates = 2.0 ** (-torch.arange(half, dtype=torch.float64, device=x.device) * 8 / half)
    angles = (positions[:, None, :, None].to(torch.float64) * rates).to(torch.float64)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Layer(nn.Module):
    """Attention over the cache and a gated feed-forward network."""

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.groups, self.dim = heads, groups, width // heads
        self.attention_norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, groups * self.dim, bias=False)
        self.v = nn.Linear(width, groups * self.dim, bias=False)
        self.gate, self.up = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, 3 * width, bias=False)
        self.down = nn.Linear(3 * width, width, bias=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map ``(N, T, width)`` and caches ``(N, groups, past, dim)`` to the next and the longer caches."""
        rows, length, width = x.shape
        y = self.attention_norm(x)
        q = rotated(self.q(y).reshape(rows, length, self.heads, self.dim).transpose(1, 2), positions)
        k = rotated(self.k(y).reshape(rows, length, self.groups, self.dim).transpose(1, 2), positions)
        v = self.v(y).reshape(rows, length, self.groups, self.dim).transpose(1, 2)
        keys, values = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
        share = self.heads // self.groups
        scores = q @ keys.repeat_interleave(share, dim=1).transpose(2, 3) * self.dim**-0.5
        past = keys.shape[2] - length
        steps = torch.arange(keys.shape[2], device=x.device)
        hidden = steps[None, :] > steps[:length, None] + past
        weights = F.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1)
        mixed = weights @ values.repeat_interleave(share, dim=1)
        x = x + self.o(mixed.transpose(1, 2).reshape(rows, length, width))
        y = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y)), keys, values


class Decoder(nn.Module):
    """Two layers between an embedding and the logits that are tied to it.

    Args:
        vocabulary: number of tokens.
        width, heads, groups: of the layers; ``groups`` heads of keys and values are shared by the others.
    """

    def __init__(self, vocabulary: int = 160, width: int = 64, heads: int = 8, groups: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(width, heads, groups) for _ in range(2))
        self.norm = RMSNorm(width)

    def forward(
        self, tokens: Tensor, positions: Tensor, k0: Tensor, v0: Tensor, k1: Tensor, v1: Tensor
    ) -> tuple[Tensor, ...]:
        """Map ``(N, T)`` tokens and positions and the caches to logits ``(N, T, vocabulary)`` and the longer caches."""
        x, k0, v0 = self.layers[0](self.embed(tokens), k0, v0, positions)
        x, k1, v1 = self.layers[1](x, k1, v1, positions)
        return self.norm(x) @ self.embed.weight.T, k0, v0, k1, v1
