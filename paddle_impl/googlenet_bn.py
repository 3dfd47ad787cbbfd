"""torchvision's GoogLeNet in Paddle, with its names, to take its published weights.

It differs from :mod:`paddle_impl.googlenet`: convolutions have BatchNorm in place of a bias, the 5x5 paths are 3x3
(https://github.com/pytorch/vision/issues/906), pools round up, the auxiliary classifiers have a ReLU less and run in
training alone, and images may be given as ImageNet's statistics normalise them while the weights were made for others.
https://github.com/pytorch/vision/blob/main/torchvision/models/googlenet.py
"""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn


class BasicConv2d(nn.Layer):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2D(in_channels, out_channels, kernel, stride, padding, bias_attr=False)
        self.bn = nn.BatchNorm2D(out_channels, epsilon=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Layer):
    """Four parallel paths whose outputs are concatenated; arguments as in :mod:`paddle_impl.googlenet`."""

    def __init__(self, in_channels: int, p1: int, p2: tuple[int, int], p3: tuple[int, int], p4: int) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(in_channels, p1, 1)
        self.branch2 = nn.Sequential(BasicConv2d(in_channels, p2[0], 1), BasicConv2d(p2[0], p2[1], 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv2d(in_channels, p3[0], 1), BasicConv2d(p3[0], p3[1], 3, padding=1))
        self.branch4 = nn.Sequential(
            nn.MaxPool2D(3, stride=1, padding=1, ceil_mode=True), BasicConv2d(in_channels, p4, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, p1 + p2[1] + p3[1] + p4, H, W)``."""
        return paddle.concat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], axis=1)


class InceptionAux(nn.Layer):
    """An auxiliary classifier over a 4x4 map."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = BasicConv2d(in_channels, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, num_classes)``."""
        x = self.conv(_means(x, 4))
        return self.fc2(self.dropout(F.relu(self.fc1(paddle.flatten(x, 1)))))


class GoogLeNet(nn.Layer):
    """torchvision's GoogLeNet.

    Args:
        num_classes: width of the classifiers.
        transform_input: take images normalised by ImageNet's statistics, as the published weights need it.
        heads: whether the auxiliary classifiers run in training alone, as torchvision's do, or always.
    """

    def __init__(self, num_classes: int = 1000, transform_input: bool = False, heads: str = "training") -> None:
        super().__init__()
        self.transform_input, self.heads = transform_input, heads
        self.conv1 = BasicConv2d(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2D(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2D(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2D(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2D(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.aux1 = InceptionAux(512, num_classes)
        self.aux2 = InceptionAux(528, num_classes)
        self.avgpool = nn.AdaptiveAvgPool2D(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Map ``(N, 3, H, W)`` to logits, ``(N, num_classes)``; with the auxiliary classifiers main, second, first."""
        x = _denormalised(image) if self.transform_input else image
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        a = self.inception4a(self.maxpool3(self.inception3b(self.inception3a(x))))
        d = self.inception4d(self.inception4c(self.inception4b(a)))
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(d))))
        out = self.fc(self.dropout(paddle.flatten(self.avgpool(x), 1)))
        if self.training or self.heads == "always":
            return out, self.aux2(d), self.aux1(a)
        return out


def _means(x: Tensor, cells: int) -> Tensor:
    """Return the means over a grid of windows, as ``F.adaptive_avg_pool2d`` does.

    That is not used: paddle2onnx 2.1.0 turns it into windows of equal distance, which these are not (0, 3, 7 and 10 of
    14 cells).
    """
    for axis in (2, 3):
        size = x.shape[axis]
        edges = [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]
        x = paddle.concat([x.slice([axis], [a], [b]).mean(axis, keepdim=True) for a, b in edges], axis=axis)
    return x


def _denormalised(image: Tensor) -> Tensor:
    """Turn images of ImageNet's mean and deviation into images of mean and deviation one half."""
    statistics = ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
    channels = [
        image[:, i : i + 1] * (deviation / 0.5) + (mean - 0.5) / 0.5 for i, (mean, deviation) in enumerate(statistics)
    ]
    return paddle.concat(channels, axis=1)
