"""Caffe's GoogLeNet as the ONNX model zoo has it, in PyTorch: what differs from :mod:`torch_impl.googlenet`.

Local response normalisation after the first pool and before the second; pools without padding, so that maps are 55, 27,
13 and 6 cells wide; the main classifier alone, over the mean of its map, and probabilities in place of logits.
https://github.com/BVLC/caffe/blob/master/models/bvlc_googlenet/deploy.prototxt
"""

from torch import Tensor, nn

from torch_impl.googlenet import GoogLeNet


class GoogLeNetBVLC(GoogLeNet):
    """The deployed network; its tensors have the names of :class:`~torch_impl.googlenet.GoogLeNet`'s.

    Args:
        num_classes: width of the classifier.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__(num_classes)
        self.conv_block1 = nn.Sequential(*self.conv_block1[:2], nn.MaxPool2d(3, stride=2), _normalisation())
        self.conv_block2 = nn.Sequential(*self.conv_block2[:4], _normalisation(), nn.MaxPool2d(3, stride=2))
        self.inception_block3[2] = nn.MaxPool2d(3, stride=2)
        self.max_pool4 = nn.MaxPool2d(3, stride=2)
        self.out_main = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(1024, num_classes), nn.Softmax(dim=1)
        )
        del self.out1, self.out2

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224)`` to probabilities, ``(N, num_classes)``."""
        x, _, _ = self.features(image)
        return self.out_main(x)


def _normalisation() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
