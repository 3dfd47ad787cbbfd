"""GoogLeNet (Inception v1) in PyTorch, without local response normalisation.

Szegedy et al., "Going Deeper with Convolutions", 2014, table 1. Every convolution has a bias and is
followed by a ReLU, except the 1x1 convolution of the auxiliary classifiers. The normalisation layers
of the paper are left out on purpose: later work found that they do not help (Simonyan and Zisserman,
"Very Deep Convolutional Networks", 2014, section 4.1).
"""

import torch
from torch import Tensor, nn

#: Heights and widths for which the heads see the maps that their linear layers were made for: 14 to 16
#: cells at the auxiliary heads (four after a 5x5 pool of stride 3), 7 or 8 at the main one.
SIZES = range(209, 257)


class Inception(nn.Module):
    """Four parallel paths whose outputs are concatenated along the channels.

    Args:
        in_channels: channels of the input.
        p1: output channels of the 1x1 path.
        p2: channels of the 1x1 reduction and of the 3x3 convolution.
        p3: channels of the 1x1 reduction and of the 5x5 convolution.
        p4: output channels of the 1x1 projection behind the max-pool.
    """

    def __init__(self, in_channels: int, p1: int, p2: tuple[int, int], p3: tuple[int, int], p4: int) -> None:
        super().__init__()
        self.p1 = nn.Sequential(
            nn.Conv2d(in_channels, p1, 1), nn.ReLU(),
        )  # fmt: skip
        self.p2 = nn.Sequential(
            nn.Conv2d(in_channels, p2[0], 1), nn.ReLU(),
            nn.Conv2d(p2[0], p2[1], 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.p3 = nn.Sequential(
            nn.Conv2d(in_channels, p3[0], 1), nn.ReLU(),
            nn.Conv2d(p3[0], p3[1], 5, padding=2), nn.ReLU(),
        )  # fmt: skip
        self.p4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(in_channels, p4, 1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, p1 + p2[1] + p3[1] + p4, H, W)``."""
        return torch.cat([self.p1(x), self.p2(x), self.p3(x), self.p4(x)], dim=1)


class GoogLeNet(nn.Module):
    """The network of the paper with its two auxiliary classifiers.

    Args:
        num_classes: width of the three classifiers.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv_block1 = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3), nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )  # fmt: skip
        self.conv_block2 = nn.Sequential(
            nn.Conv2d(64, 64, 1), nn.ReLU(),
            nn.Conv2d(64, 192, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )  # fmt: skip
        self.inception_block3 = nn.Sequential(
            Inception(192, 64, (96, 128), (16, 32), 32),
            Inception(256, 128, (128, 192), (32, 96), 64),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.max_pool4 = nn.MaxPool2d(3, stride=2, padding=1)
        self.inception_block5 = nn.Sequential(
            Inception(832, 256, (160, 320), (32, 128), 128),
            Inception(832, 384, (192, 384), (48, 128), 128),
        )
        self.out_main = nn.Sequential(nn.AvgPool2d(7), nn.Flatten(), nn.Dropout(0.4), nn.Linear(1024, num_classes))
        self.out1 = self._auxiliary(512, num_classes)
        self.out2 = self._auxiliary(528, num_classes)

    @staticmethod
    def _auxiliary(in_channels: int, num_classes: int) -> nn.Sequential:
        return nn.Sequential(
            nn.AvgPool2d(5, stride=3), nn.Conv2d(in_channels, 128, 1), nn.Flatten(),
            nn.Linear(2048, 1024), nn.ReLU(), nn.Dropout(0.7), nn.Linear(1024, num_classes),
        )  # fmt: skip

    def features(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps that the main, the first and the second auxiliary classifier take."""
        x = self.conv_block1(image)
        x = self.conv_block2(x)
        x = self.inception_block3(x)
        a = self.inception4a(x)
        x = self.inception4b(a)
        x = self.inception4c(x)
        d = self.inception4d(x)
        x = self.inception4e(d)
        x = self.max_pool4(x)
        return self.inception_block5(x), a, d

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of the main, the first and the second auxiliary classifier.

        Args:
            image: ``(N, 3, H, W)``, H and W from 209 to 256, 224 in the paper.

        Returns:
            ``out, out1, out2``, each ``(N, num_classes)``.

        Raises:
            ValueError: the heads cannot take an image of this size.
        """
        _check_size(image)
        x, a, d = self.features(image)
        return self.out_main(x), self.out1(a), self.out2(d)


def _check_size(image: Tensor) -> None:
    height, width = image.shape[-2:]
    if height not in SIZES or width not in SIZES:
        raise ValueError(
            f"GoogLeNet's heads take images of {SIZES[0]} to {SIZES[-1]} pixels a side, 224 in the paper; "
            f"this one is {height}x{width} (height x width). Resize or crop it."
        )
