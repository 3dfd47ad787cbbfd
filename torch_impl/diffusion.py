"""A block of a diffusion U-Net in PyTorch: residual convolutions with a time embedding, then attention to a context."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def time_embedding(timestep: Tensor, width: int, like: Tensor) -> Tensor:
    """Map steps ``(N,)`` to ``(N, width)`` cosines and sines (Ho et al., 2020)."""
    half = width // 2
    rates = [math.exp(-math.log(10000.0) * i / half) for i in range(half)]
    angles = timestep.to(torch.float64)[:, None] * torch.tensor(rates, dtype=torch.float64, device=timestep.device)
    return torch.cat([angles.cos(), angles.sin()], dim=1).to(like.dtype)


class Block(nn.Module):
    """One resolution's work.

    Args:
        channels: of the sample.
        time: width of the time embedding.
        context: width of the text.
        heads: of attention.
    """

    def __init__(self, channels: int = 32, time: int = 40, context: int = 24, heads: int = 4) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.GroupNorm(8, channels) for _ in range(3))
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time, channels)
        self.attention = nn.MultiheadAttention(channels, heads, kdim=context, vdim=context, batch_first=True)
        self.gate, self.down = nn.Linear(channels, 8 * channels), nn.Linear(4 * channels, channels)
        self.norm4 = nn.LayerNorm(channels)
        self.skip = nn.Conv2d(channels, channels, 1)
        self.width = time

    def forward(self, sample: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` at steps ``(N,)`` with text ``(N, T, context)`` to the same shape."""
        t = self.time(F.silu(time_embedding(timestep, self.width, sample)))
        x = self.conv1(F.silu(self.norm1(sample))) + t[:, :, None, None]
        x = self.skip(sample) + self.conv2(F.silu(self.norm2(x)))
        tokens = self.norm3(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, context, context, need_weights=False)[0]
        value, gate = self.gate(self.norm4(tokens)).chunk(2, dim=-1)
        tokens = tokens + self.down(value * F.gelu(gate))
        return x + tokens.transpose(1, 2).reshape(x.shape)
