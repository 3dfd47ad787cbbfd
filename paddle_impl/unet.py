"""A U-Net in Paddle (Ronneberger et al., 2015, figure 1), padded so that the mask has the image's size."""

import paddle
from paddle import Tensor, nn


def _double(in_channels: int, channels: int) -> nn.Sequential:
    layers: list[nn.Layer] = []
    for width in (in_channels, channels):
        conv = nn.Conv2D(width, channels, 3, padding=1, bias_attr=False)
        layers += [conv, nn.BatchNorm2D(channels), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class UNet(nn.Layer):
    """Labels every pixel.

    Args:
        num_classes: of a pixel.
        width: channels of the first level; each further one has twice as many.
    """

    def __init__(self, num_classes: int = 5, width: int = 16) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.down = nn.LayerList([_double(a, b) for a, b in zip([3, *widths], widths, strict=False)])
        self.pool = nn.MaxPool2D(2)
        self.up = nn.LayerList([nn.Conv2DTranspose(2 * w, w, 2, stride=2) for w in reversed(widths[:-1])])
        self.join = nn.LayerList([_double(2 * w, w) for w in reversed(widths[:-1])])
        self.head = nn.Conv2D(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)``, both sizes divisible by 8, to logits ``(N, num_classes, H, W)``."""
        kept: list[Tensor] = []
        x = image
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            kept.append(x)
        for level, up in enumerate(self.up):
            x = self.join[level](paddle.concat([kept[-2 - level], up(x)], axis=1))
        return self.head(x)
