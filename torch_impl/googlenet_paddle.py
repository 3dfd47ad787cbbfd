"""Paddle's own GoogLeNet (paddle.vision, PaddleClas) in PyTorch, with its names, to take its published weights.

It differs from :mod:`torch_impl.googlenet`: convolutions have no bias and no ReLU of their own, a block's ReLU follows
its concatenation; pools between blocks have no padding; the auxiliary heads see a 3x3 map, and the second has no ReLU;
dropout scales when it does not drop.
https://github.com/PaddlePaddle/Paddle/blob/develop/python/paddle/vision/models/googlenet.py
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvLayer(nn.Module):
    """A convolution that keeps the size of its map, or halves it."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self._conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=(kernel - 1) // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        return self._conv(x)


class Inception(nn.Module):
    """Four parallel paths, concatenated, and one ReLU; arguments as in :mod:`torch_impl.googlenet`."""

    def __init__(self, in_channels: int, p1: int, p2: tuple[int, int], p3: tuple[int, int], p4: int) -> None:
        super().__init__()
        self._conv1 = ConvLayer(in_channels, p1, 1)
        self._conv3r = ConvLayer(in_channels, p2[0], 1)
        self._conv3 = ConvLayer(p2[0], p2[1], 3)
        self._conv5r = ConvLayer(in_channels, p3[0], 1)
        self._conv5 = ConvLayer(p3[0], p3[1], 5)
        self._pool = nn.MaxPool2d(3, stride=1, padding=1)
        self._convprj = ConvLayer(in_channels, p4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, p1 + p2[1] + p3[1] + p4, H, W)``."""
        paths = [
            self._conv1(x),
            self._conv3(self._conv3r(x)),
            self._conv5(self._conv5r(x)),
            self._convprj(self._pool(x)),
        ]
        return F.relu(torch.cat(paths, dim=1))


class ScalingDropout(nn.Module):
    """Dropout as in the first paper: it drops in training and scales by what it kept when it does not."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.mode = p, "downscale_in_infer"

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape of ``x``."""
        if self.training:
            return x * (torch.rand_like(x) >= self.p)
        return x * (1 - self.p)


class GoogLeNet(nn.Module):
    """Paddle's GoogLeNet.

    Args:
        num_classes: width of the three classifiers.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self._conv = ConvLayer(3, 64, 7, 2)
        self._pool = nn.MaxPool2d(3, stride=2)
        self._conv_1 = ConvLayer(64, 64, 1)
        self._conv_2 = ConvLayer(64, 192, 3)
        self._ince3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self._ince3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self._ince4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self._ince4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self._ince4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self._ince4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self._ince4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self._ince5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self._ince5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self._pool_5 = nn.AdaptiveAvgPool2d(1)
        self._pool_o1 = nn.AvgPool2d(5, stride=3)
        self._pool_o2 = nn.AvgPool2d(5, stride=3)
        self._drop = ScalingDropout(0.4)
        self._fc_out = nn.Linear(1024, num_classes)
        self._conv_o1 = ConvLayer(512, 128, 1)
        self._fc_o1 = nn.Linear(1152, 1024)
        self._drop_o1 = ScalingDropout(0.7)
        self._out1 = nn.Linear(1024, num_classes)
        self._conv_o2 = ConvLayer(528, 128, 1)
        self._fc_o2 = nn.Linear(1152, 1024)
        self._drop_o2 = ScalingDropout(0.7)
        self._out2 = nn.Linear(1024, num_classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map ``(N, 3, 224, 224)`` to the logits of the three classifiers, each ``(N, num_classes)``."""
        x = self._conv_2(self._conv_1(self._pool(self._conv(image))))
        x = self._pool(self._ince3b(self._ince3a(self._pool(x))))
        a = self._ince4a(x)
        d = self._ince4d(self._ince4c(self._ince4b(a)))
        x = self._ince5b(self._ince5a(self._pool(self._ince4e(d))))
        out = self._fc_out(torch.flatten(self._drop(self._pool_5(x)), 1))
        y = self._fc_o1(torch.flatten(self._conv_o1(self._pool_o1(a)), 1))
        out1 = self._out1(self._drop_o1(F.relu(y)))
        y = self._fc_o2(torch.flatten(self._conv_o2(self._pool_o2(d)), 1))
        out2 = self._out2(self._drop_o2(y))
        return out, out1, out2
