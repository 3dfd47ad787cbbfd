"""Ten small ports whose forwards compute in their own code: what faults are planted into, a kind or more each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
import torch
from paddle.nn import functional as P
from torch.nn import functional as F

from portproof import Input, Port


class TorchAttention(torch.nn.Module):
    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.fc1, self.fc2 = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width)

    def attend(self, x: Any) -> Any:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q @ k.transpose(-2, -1)) * self.scale
        weights = torch.softmax(scores, dim=-1)
        mixed = (weights @ v).transpose(1, 2)
        return self.proj(mixed.reshape(b, n, c))

    def forward(self, x: Any) -> Any:
        x = x + self.attend(self.norm1(x))
        h = self.fc1(self.norm2(x))
        h = F.gelu(h)
        x = x + self.fc2(h)
        return x.mean(1)


class PaddleAttention(paddle.nn.Layer):
    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm1, self.norm2 = paddle.nn.LayerNorm(width), paddle.nn.LayerNorm(width)
        self.qkv, self.proj = paddle.nn.Linear(width, 3 * width), paddle.nn.Linear(width, width)
        self.fc1, self.fc2 = paddle.nn.Linear(width, 2 * width), paddle.nn.Linear(2 * width, width)

    def attend(self, x: Any) -> Any:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape([b, n, 3, self.heads, c // self.heads])
        qkv = qkv.transpose([2, 0, 3, 1, 4])
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = paddle.matmul(q, k.transpose([0, 1, 3, 2])) * self.scale
        weights = P.softmax(scores, axis=-1)
        mixed = paddle.matmul(weights, v).transpose([0, 2, 1, 3])
        return self.proj(mixed.reshape([b, n, c]))

    def forward(self, x: Any) -> Any:
        x = x + self.attend(self.norm1(x))
        h = self.fc1(self.norm2(x))
        h = P.gelu(h)
        x = x + self.fc2(h)
        return x.mean(axis=1)


class TorchUnet(torch.nn.Module):
    def __init__(self, c: int = 6) -> None:
        super().__init__()
        self.down, self.mid = torch.nn.Conv2d(3, c, 3, padding=1), torch.nn.Conv2d(c, c, 3, padding=1)
        self.up, self.head = torch.nn.Conv2d(2 * c, c, 3, padding=1), torch.nn.Conv2d(c, 2, 1)

    def forward(self, x: Any) -> Any:
        skip = F.relu(self.down(x))
        h = F.max_pool2d(skip, 2, 2)
        h = F.leaky_relu(self.mid(h), 0.1)
        pooled = F.avg_pool2d(h, 3, stride=1, padding=1, count_include_pad=False)
        h = h + pooled
        h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
        h = torch.cat([skip, h], dim=1)
        h = F.pad(h, [1, 0, 0, 1])
        h = F.relu(self.up(h))[:, :, 1:-1, :-2]
        return self.head(h)


class PaddleUnet(paddle.nn.Layer):
    def __init__(self, c: int = 6) -> None:
        super().__init__()
        self.down, self.mid = paddle.nn.Conv2D(3, c, 3, padding=1), paddle.nn.Conv2D(c, c, 3, padding=1)
        self.up, self.head = paddle.nn.Conv2D(2 * c, c, 3, padding=1), paddle.nn.Conv2D(c, 2, 1)

    def forward(self, x: Any) -> Any:
        skip = P.relu(self.down(x))
        h = P.max_pool2d(skip, 2, 2)
        h = P.leaky_relu(self.mid(h), 0.1)
        pooled = P.avg_pool2d(h, 3, stride=1, padding=1, exclusive=True)
        h = h + pooled
        h = P.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
        h = paddle.concat([skip, h], axis=1)
        h = P.pad(h, [1, 0, 0, 1])
        h = P.relu(self.up(h))[:, :, 1:-1, :-2]
        return self.head(h)


class TorchCausal(torch.nn.Module):
    def __init__(self, words: int = 23, width: int = 12) -> None:
        super().__init__()
        self.embed, self.place = torch.nn.Embedding(words, width), torch.nn.Embedding(16, width)
        self.q, self.k, self.v = (torch.nn.Linear(width, width) for _ in range(3))
        self.out = torch.nn.Linear(width, words)

    def forward(self, tokens: Any, mask: Any) -> Any:
        length = tokens.shape[1]
        places = torch.arange(length)
        x = self.embed(tokens) + self.place(places)
        causal = torch.tril(torch.ones(length, length))
        allowed = causal.unsqueeze(0) * mask.unsqueeze(1)
        bias = (1.0 - allowed) * -10000.0
        scores = torch.matmul(self.q(x), self.k(x).transpose(1, 2)) / 3.5
        weights = torch.softmax(scores + bias, -1)
        x = x + torch.matmul(weights, self.v(x))
        kept = torch.where(mask.unsqueeze(-1) > 0, x, torch.zeros_like(x))
        total = kept.sum(1) / mask.sum(1, keepdim=True).clamp(min=1.0)
        return self.out(torch.tanh(total))


class PaddleCausal(paddle.nn.Layer):
    def __init__(self, words: int = 23, width: int = 12) -> None:
        super().__init__()
        self.embed, self.place = paddle.nn.Embedding(words, width), paddle.nn.Embedding(16, width)
        self.q, self.k, self.v = (paddle.nn.Linear(width, width) for _ in range(3))
        self.out = paddle.nn.Linear(width, words)

    def forward(self, tokens: Any, mask: Any) -> Any:
        length = tokens.shape[1]
        places = paddle.arange(length)
        x = self.embed(tokens) + self.place(places)
        causal = paddle.tril(paddle.ones([length, length]))
        allowed = causal.unsqueeze(0) * mask.unsqueeze(1)
        bias = (1.0 - allowed) * -10000.0
        scores = paddle.matmul(self.q(x), self.k(x), transpose_y=True) / 3.5
        weights = P.softmax(scores + bias, -1)
        x = x + paddle.matmul(weights, self.v(x))
        kept = paddle.where(mask.unsqueeze(-1) > 0, x, paddle.zeros_like(x))
        total = kept.sum(1) / mask.sum(1, keepdim=True).clip(min=1.0)
        return self.out(paddle.tanh(total))


class TorchMixer(torch.nn.Module):
    def __init__(self, n: int = 6, c: int = 8) -> None:
        super().__init__()
        self.mix, self.gate, self.out = torch.nn.Linear(n, n), torch.nn.Linear(c, 3 * c), torch.nn.Linear(c, 4)

    def forward(self, x: Any) -> Any:
        mean = x.mean(-1, keepdim=True)
        var = ((x - mean) ** 2).mean(-1, keepdim=True)
        h = (x - mean) / torch.sqrt(var + 1e-5)
        h = self.mix(h.transpose(1, 2)).transpose(1, 2)
        x = x + h
        a, b, c = torch.split(self.gate(x), [8, 8, 8], dim=-1)
        h = F.silu(a) * b
        h = h - 0.5 * torch.sigmoid(c)
        energy = torch.einsum("bic,bjc->bij", h, x)
        energy = energy / energy.abs().sum(-1, keepdim=True)
        x = torch.einsum("bij,bjc->bic", energy, x)
        return self.out(x.amax(1))


class PaddleMixer(paddle.nn.Layer):
    def __init__(self, n: int = 6, c: int = 8) -> None:
        super().__init__()
        self.mix, self.gate, self.out = paddle.nn.Linear(n, n), paddle.nn.Linear(c, 3 * c), paddle.nn.Linear(c, 4)

    def forward(self, x: Any) -> Any:
        mean = x.mean(-1, keepdim=True)
        var = ((x - mean) ** 2).mean(-1, keepdim=True)
        h = (x - mean) / paddle.sqrt(var + 1e-5)
        h = self.mix(h.transpose([0, 2, 1])).transpose([0, 2, 1])
        x = x + h
        a, b, c = paddle.split(self.gate(x), [8, 8, 8], axis=-1)
        h = P.silu(a) * b
        h = h - 0.5 * P.sigmoid(c)
        energy = paddle.einsum("bic,bjc->bij", h, x)
        energy = energy / energy.abs().sum(-1, keepdim=True)
        x = paddle.einsum("bij,bjc->bic", energy, x)
        return self.out(x.max(1))


class TorchRotary(torch.nn.Module):
    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q, self.k, self.v = (torch.nn.Linear(width, width, bias=False) for _ in range(3))
        self.weight = torch.nn.Parameter(torch.ones(width))
        self.out = torch.nn.Linear(width, width)

    def rotate(self, x: Any) -> Any:
        left, right = x[..., : self.size // 2], x[..., self.size // 2 :]
        return torch.cat([-right, left], dim=-1)

    def turn(self, x: Any, cos: Any, sin: Any) -> Any:
        return x * cos + self.rotate(x) * sin

    def forward(self, x: Any) -> Any:
        b, n, c = x.shape
        h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        h = h * self.weight
        powers = torch.arange(0, self.size, 2).to(torch.float32) / self.size
        angles = torch.outer(torch.arange(n).to(torch.float32), 1.0 / (100.0**powers))
        angles = torch.cat([angles, angles], dim=-1)
        cos, sin = angles.cos(), angles.sin()
        q = self.turn(self.q(h).reshape(b, n, self.heads, self.size).transpose(1, 2), cos, sin)
        k = self.turn(self.k(h).reshape(b, n, self.heads, self.size).transpose(1, 2), cos, sin)
        v = self.v(h).reshape(b, n, self.heads, self.size).transpose(1, 2)
        scores = q @ k.transpose(2, 3)
        scores = scores / self.size**0.5
        mixed = torch.softmax(scores, dim=-1) @ v
        return x + self.out(mixed.transpose(1, 2).reshape(b, n, c))


class PaddleRotary(paddle.nn.Layer):
    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q, self.k, self.v = (paddle.nn.Linear(width, width, bias_attr=False) for _ in range(3))
        self.weight = self.create_parameter([width], default_initializer=paddle.nn.initializer.Constant(1.0))
        self.out = paddle.nn.Linear(width, width)

    def rotate(self, x: Any) -> Any:
        left, right = x[..., : self.size // 2], x[..., self.size // 2 :]
        return paddle.concat([-right, left], axis=-1)

    def turn(self, x: Any, cos: Any, sin: Any) -> Any:
        return x * cos + self.rotate(x) * sin

    def forward(self, x: Any) -> Any:
        b, n, c = x.shape
        h = x * paddle.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        h = h * self.weight
        powers = paddle.arange(0, self.size, 2).astype("float32") / self.size
        angles = paddle.outer(paddle.arange(n).astype("float32"), 1.0 / (100.0**powers))
        angles = paddle.concat([angles, angles], axis=-1)
        cos, sin = angles.cos(), angles.sin()
        q = self.turn(self.q(h).reshape([b, n, self.heads, self.size]).transpose([0, 2, 1, 3]), cos, sin)
        k = self.turn(self.k(h).reshape([b, n, self.heads, self.size]).transpose([0, 2, 1, 3]), cos, sin)
        v = self.v(h).reshape([b, n, self.heads, self.size]).transpose([0, 2, 1, 3])
        scores = q @ k.transpose([0, 1, 3, 2])
        scores = scores / self.size**0.5
        mixed = P.softmax(scores, axis=-1) @ v
        return x + self.out(mixed.transpose([0, 2, 1, 3]).reshape([b, n, c]))


class TorchSqueeze(torch.nn.Module):
    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.stem, self.bn1, self.bn2 = torch.nn.Conv2d(3, c, 3), torch.nn.BatchNorm2d(c), torch.nn.BatchNorm2d(c)
        self.conv, self.squeeze, self.excite = (
            torch.nn.Conv2d(c, c, 3, padding=1), torch.nn.Conv2d(c, 4, 1), torch.nn.Conv2d(4, c, 1)
        )  # fmt: skip
        self.fc = torch.nn.Linear(4 * c, 5)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.bn1(self.stem(x)))
        y = F.hardswish(self.bn2(self.conv(x)))
        s = y.mean([2, 3], keepdim=True)
        s = F.relu(self.squeeze(s))
        s = torch.clamp(self.excite(s) + 3.0, 0.0, 6.0) / 6.0
        y = y * s
        x = F.relu(x + y)
        left, right = torch.chunk(x, 2, dim=1)
        x = torch.cat([right, left * 0.7], dim=1)
        x = F.adaptive_avg_pool2d(x, 2)
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


class PaddleSqueeze(paddle.nn.Layer):
    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.stem, self.bn1, self.bn2 = paddle.nn.Conv2D(3, c, 3), paddle.nn.BatchNorm2D(c), paddle.nn.BatchNorm2D(c)
        self.conv, self.squeeze, self.excite = (
            paddle.nn.Conv2D(c, c, 3, padding=1), paddle.nn.Conv2D(c, 4, 1), paddle.nn.Conv2D(4, c, 1)
        )  # fmt: skip
        self.fc = paddle.nn.Linear(4 * c, 5)

    def forward(self, x: Any) -> Any:
        x = P.relu(self.bn1(self.stem(x)))
        y = P.hardswish(self.bn2(self.conv(x)))
        s = y.mean([2, 3], keepdim=True)
        s = P.relu(self.squeeze(s))
        s = paddle.clip(self.excite(s) + 3.0, 0.0, 6.0) / 6.0
        y = y * s
        x = P.relu(x + y)
        left, right = paddle.chunk(x, 2, axis=1)
        x = paddle.concat([right, left * 0.7], axis=1)
        x = P.adaptive_avg_pool2d(x, 2)
        return P.log_softmax(self.fc(x.flatten(1)), axis=1)


class TorchWindows(torch.nn.Module):
    def __init__(self, c: int = 6) -> None:
        super().__init__()
        self.embed, self.qkv, self.out = torch.nn.Conv2d(3, c, 2, 2), torch.nn.Linear(c, 3 * c), torch.nn.Linear(c, c)
        self.bias = torch.nn.Parameter(torch.zeros(16, 16))

    def forward(self, x: Any) -> Any:
        x = self.embed(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        moved = torch.roll(x, shifts=(-2, -2), dims=(1, 2))
        parts = moved.reshape(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5)
        parts = parts.reshape(-1, 16, c)
        q, k, v = self.qkv(parts).chunk(3, dim=-1)
        scores = q @ k.transpose(1, 2) * c**-0.5
        weights = F.softmax(scores + self.bias, dim=-1)
        parts = self.out(weights @ v)
        parts = parts.reshape(b, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5)
        moved = torch.roll(parts.reshape(b, h, w, c), shifts=(2, 2), dims=(1, 2))
        x = x + moved
        corners = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        return corners.flatten(1, 2)


class PaddleWindows(paddle.nn.Layer):
    def __init__(self, c: int = 6) -> None:
        super().__init__()
        self.embed, self.out = paddle.nn.Conv2D(3, c, 2, 2), paddle.nn.Linear(c, c)
        self.qkv = paddle.nn.Linear(c, 3 * c)
        self.bias = self.create_parameter([16, 16], default_initializer=paddle.nn.initializer.Constant(0.0))

    def forward(self, x: Any) -> Any:
        x = self.embed(x).transpose([0, 2, 3, 1])
        b, h, w, c = x.shape
        moved = paddle.roll(x, shifts=(-2, -2), axis=(1, 2))
        parts = moved.reshape([b, h // 4, 4, w // 4, 4, c]).transpose([0, 1, 3, 2, 4, 5])
        parts = parts.reshape([-1, 16, c])
        q, k, v = self.qkv(parts).chunk(3, axis=-1)
        scores = q @ k.transpose([0, 2, 1]) * c**-0.5
        weights = P.softmax(scores + self.bias, axis=-1)
        parts = self.out(weights @ v)
        parts = parts.reshape([b, h // 4, w // 4, 4, 4, c]).transpose([0, 1, 3, 2, 4, 5])
        moved = paddle.roll(parts.reshape([b, h, w, c]), shifts=(2, 2), axis=(1, 2))
        x = x + moved
        corners = paddle.concat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], axis=-1)
        return corners.flatten(1, 2)


class TorchSequence(torch.nn.Module):
    def __init__(self, c: int = 6) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv1d(4, c, 3), torch.nn.Conv1d(c, c, 3, dilation=2)
        self.skip, self.out = torch.nn.Conv1d(4, c, 1), torch.nn.Linear(2 * c, 3)

    def forward(self, x: Any) -> Any:
        h = F.pad(x, [2, 0])
        h = torch.tanh(self.first(h))
        h = F.pad(h, [4, 0])
        h = F.softplus(self.second(h))
        h = h + self.skip(x)
        if h.shape[-1] > 8:
            h = h[:, :, -8:]
        running = torch.cumsum(h, dim=-1)
        steps = torch.arange(1, h.shape[-1] + 1).to(torch.float32)
        average = running / steps
        backwards = torch.flip(average, [2])
        last = average[:, :, -1]
        best = torch.maximum(backwards, h).mean(2)
        return self.out(torch.cat([last, best], 1))


class PaddleSequence(paddle.nn.Layer):
    def __init__(self, c: int = 6) -> None:
        super().__init__()
        self.first, self.second = paddle.nn.Conv1D(4, c, 3), paddle.nn.Conv1D(c, c, 3, dilation=2)
        self.skip, self.out = paddle.nn.Conv1D(4, c, 1), paddle.nn.Linear(2 * c, 3)

    def forward(self, x: Any) -> Any:
        h = P.pad(x, [2, 0], data_format="NCL")
        h = paddle.tanh(self.first(h))
        h = P.pad(h, [4, 0], data_format="NCL")
        h = P.softplus(self.second(h))
        h = h + self.skip(x)
        if h.shape[-1] > 8:
            h = h[:, :, -8:]
        running = paddle.cumsum(h, axis=-1)
        steps = paddle.arange(1, h.shape[-1] + 1).astype("float32")
        average = running / steps
        backwards = paddle.flip(average, [2])
        last = average[:, :, -1]
        best = paddle.maximum(backwards, h).mean(2)
        return self.out(paddle.concat([last, best], 1))


class TorchRetrieval(torch.nn.Module):
    def __init__(self, words: int = 19, width: int = 10) -> None:
        super().__init__()
        self.embed, self.key = torch.nn.Embedding(words, width), torch.nn.Linear(width, width)
        self.value = torch.nn.Linear(width, width)

    def forward(self, left: Any, right: Any) -> Any:
        a = F.normalize(self.key(self.embed(left)), dim=-1)
        b = F.normalize(self.key(self.embed(right)), dim=-1)
        table = torch.matmul(a, b.transpose(1, 2)) / 0.3
        match = torch.softmax(table, dim=2)
        back = torch.softmax(table, dim=1)
        both = match * back
        found = torch.matmul(both, self.value(self.embed(right)))
        gap = (a - found).abs()
        norm = torch.sqrt((gap**2).sum(-1) + 0.01)
        first = torch.index_select(found, 1, torch.tensor([0, 2]))
        return torch.cat([first.flatten(1), norm, torch.stack([norm.min(1).values, norm.max(1).values], 1)], 1)


class PaddleRetrieval(paddle.nn.Layer):
    def __init__(self, words: int = 19, width: int = 10) -> None:
        super().__init__()
        self.embed, self.key = paddle.nn.Embedding(words, width), paddle.nn.Linear(width, width)
        self.value = paddle.nn.Linear(width, width)

    def forward(self, left: Any, right: Any) -> Any:
        a = P.normalize(self.key(self.embed(left)), axis=-1)
        b = P.normalize(self.key(self.embed(right)), axis=-1)
        table = paddle.matmul(a, b.transpose([0, 2, 1])) / 0.3
        match = P.softmax(table, axis=2)
        back = P.softmax(table, axis=1)
        both = match * back
        found = paddle.matmul(both, self.value(self.embed(right)))
        gap = (a - found).abs()
        norm = paddle.sqrt((gap**2).sum(-1) + 0.01)
        first = paddle.index_select(found, paddle.to_tensor([0, 2]), 1)
        return paddle.concat([first.flatten(1), norm, paddle.stack([norm.min(1), norm.max(1)], 1)], 1)


class TorchGrouped(torch.nn.Module):
    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.conv, self.mix = torch.nn.Conv2d(3, c, 3, padding=1), torch.nn.Conv2d(c, c, 3, padding=1, groups=2)
        self.shuffle, self.head = torch.nn.Conv2d(c, 4 * c, 1), torch.nn.Conv2d(c, 3, 1)

    def forward(self, x: Any) -> Any:
        b, _, h, w = x.shape
        y = F.elu(self.conv(x))
        y = y.reshape(b, 2, 4, h, w).transpose(1, 2).reshape(b, 8, h, w)
        y = y + F.relu(self.mix(y))
        up = F.pixel_shuffle(self.shuffle(y), 2)
        up = F.avg_pool2d(up, 2)
        y = y - up / 4.0
        gram = torch.bmm(y.flatten(2), y.flatten(2).transpose(1, 2)) / (h * w)
        weight = torch.sigmoid(gram.mean(2)).unsqueeze(-1).unsqueeze(-1)
        y = torch.where(y > 0.1, y * weight, y * 0.2)
        return torch.minimum(self.head(y), x.mean(1, keepdim=True))


class PaddleGrouped(paddle.nn.Layer):
    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.conv, self.mix = paddle.nn.Conv2D(3, c, 3, padding=1), paddle.nn.Conv2D(c, c, 3, padding=1, groups=2)
        self.shuffle, self.head = paddle.nn.Conv2D(c, 4 * c, 1), paddle.nn.Conv2D(c, 3, 1)

    def forward(self, x: Any) -> Any:
        b, _, h, w = x.shape
        y = P.elu(self.conv(x))
        y = y.reshape([b, 2, 4, h, w]).transpose([0, 2, 1, 3, 4]).reshape([b, 8, h, w])
        y = y + P.relu(self.mix(y))
        up = P.pixel_shuffle(self.shuffle(y), 2)
        up = P.avg_pool2d(up, 2)
        y = y - up / 4.0
        gram = paddle.bmm(y.flatten(2), y.flatten(2).transpose([0, 2, 1])) / (h * w)
        weight = P.sigmoid(gram.mean(2)).unsqueeze(-1).unsqueeze(-1)
        y = paddle.where(y > 0.1, y * weight, y * 0.2)
        return paddle.minimum(self.head(y), x.mean(1, keepdim=True))


def _port(name: str, paddle_model: Callable[[], Any], torch_model: Callable[[], Any], **inputs: Input) -> Port:
    return Port(f"written-{name}", paddle_model, torch_model, inputs)


_IMAGE = Input(("batch", 3, 8, 8))
_TOKENS = Input(("batch", 6), "int64", range=(0, 18))
PORTS = [
    _port("attention", PaddleAttention, TorchAttention, x=Input(("batch", 5, 16))),
    _port("unet", PaddleUnet, TorchUnet, x=_IMAGE),
    _port("causal", PaddleCausal, TorchCausal, tokens=_TOKENS, mask=Input(("batch", 6), values=(0, 1))),
    _port("mixer", PaddleMixer, TorchMixer, x=Input(("batch", 6, 8))),
    _port("rotary", PaddleRotary, TorchRotary, x=Input(("batch", 6, 8))),
    _port("squeeze", PaddleSqueeze, TorchSqueeze, x=_IMAGE),
    _port("windows", PaddleWindows, TorchWindows, x=Input(("batch", 3, 16, 16))),
    _port("sequence", PaddleSequence, TorchSequence, x=Input(("batch", 4, 12))),
    _port("retrieval", PaddleRetrieval, TorchRetrieval, left=_TOKENS, right=_TOKENS),
    _port("grouped", PaddleGrouped, TorchGrouped, x=_IMAGE),
]
