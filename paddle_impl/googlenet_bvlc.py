"""Caffe's GoogLeNet as the ONNX model zoo has it, in Paddle: what differs from :mod:`paddle_impl.googlenet`.

Local response normalisation after the first pool and before the second; pools without padding, so that maps are 55, 27,
13 and 6 cells wide; the main classifier alone, over the mean of its map, and probabilities in place of logits.
https://github.com/BVLC/caffe/blob/master/models/bvlc_googlenet/deploy.prototxt
"""

import paddle
from paddle import Tensor, nn

from paddle_impl.googlenet import GoogLeNet


class LocalResponseNorm(nn.Layer):
    """Divides by a power of the mean square over neighbouring channels.

    ``paddle.nn.LocalResponseNorm`` computes the same and is not used: it pads, and paddle2onnx 2.1.0 writes a value
    that it never read (another in each process) in place of the zero that is padded.

    Args:
        size: channels in a neighbourhood, odd.
        alpha, beta, k: ``x / (k + alpha * mean) ** beta``.
    """

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape of ``x``, ``(N, C, H, W)``."""
        square, channels = x * x, x.shape[1]
        none = paddle.zeros_like(square[:, : self.size // 2])
        padded = paddle.concat([none, square, none], axis=1)
        mean = sum(padded[:, i : i + channels] for i in range(self.size)) / self.size
        return x / (self.k + self.alpha * mean) ** self.beta


class GoogLeNetBVLC(GoogLeNet):
    """The deployed network; its tensors have the names of :class:`~paddle_impl.googlenet.GoogLeNet`'s.

    Args:
        num_classes: width of the classifier.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__(num_classes)
        self.conv_block1 = nn.Sequential(*self.conv_block1[:2], nn.MaxPool2D(3, stride=2), _normalisation())
        self.conv_block2 = nn.Sequential(*self.conv_block2[:4], _normalisation(), nn.MaxPool2D(3, stride=2))
        self.inception_block3[2] = nn.MaxPool2D(3, stride=2)
        self.max_pool4 = nn.MaxPool2D(3, stride=2)
        self.out_main = nn.Sequential(
            nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(1024, num_classes), nn.Softmax(axis=1)
        )
        del self.out1, self.out2

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224)`` to probabilities, ``(N, num_classes)``."""
        x, _, _ = self.features(image)
        return self.out_main(x)


def _normalisation() -> LocalResponseNorm:
    return LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
