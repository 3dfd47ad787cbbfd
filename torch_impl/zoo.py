"""The PyTorch side of the zoo's classifiers: torchvision's where it has the model, else as the paper's table reads."""

from __future__ import annotations

import sys
import types
import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def torchvision_model(name: str, **options: Any) -> nn.Module:
    """Build one of torchvision's models with fresh weights.

    Where its compiled operators are for another build of PyTorch (CUDA's), torchvision imports but for their
    registration, which no classifier needs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says which of its extensions did not load
        try:
            import torchvision
        except RuntimeError:
            for loaded in [module for module in sys.modules if module.startswith("torchvision")]:
                del sys.modules[loaded]
            sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
            import torchvision
        model: nn.Module = getattr(torchvision.models, name)(weights=None, **options)
        return model


resnet50 = partial(torchvision_model, "resnet50")
resnext50_32x4d = partial(torchvision_model, "resnext50_32x4d")
wide_resnet50_2 = partial(torchvision_model, "wide_resnet50_2")
vgg16 = partial(torchvision_model, "vgg16")
mobilenet_v2 = partial(torchvision_model, "mobilenet_v2")
mobilenet_v3_small = partial(torchvision_model, "mobilenet_v3_small")
mobilenet_v3_large = partial(torchvision_model, "mobilenet_v3_large")
densenet121 = partial(torchvision_model, "densenet121")
shufflenet_v2_x1_0 = partial(torchvision_model, "shufflenet_v2_x1_0")
torchvision_inception_v3 = partial(torchvision_model, "inception_v3", aux_logits=False, init_weights=False)
torchvision_alexnet = partial(torchvision_model, "alexnet")
torchvision_squeezenet1_1 = partial(torchvision_model, "squeezenet1_1")


class DownscaleInInfer(nn.Dropout):
    """Paddle's dropout of mode ``downscale_in_infer``: drops in training, and scales by ``1 - p`` else."""

    mode = "downscale_in_infer"

    def forward(self, x: Tensor) -> Tensor:
        """Drop from any tensor."""
        return nn.functional.dropout(x, self.p) * (1 - self.p) if self.training else x * (1 - self.p)


def alexnet(num_classes: int = 1000) -> nn.Module:
    """Build torchvision's AlexNet with the dropout of Paddle's, which scales in inference."""
    model = torchvision_model("alexnet", num_classes=num_classes)
    for index in (0, 3):
        model.classifier[index] = DownscaleInInfer(0.5)
    return model


def squeezenet1_1(num_classes: int = 1000) -> nn.Module:
    """Build torchvision's SqueezeNet 1.1 as Paddle's is: padding at the start, pools that round down, its dropout."""
    model = torchvision_model("squeezenet1_1", num_classes=num_classes)
    model.features[0] = nn.Conv2d(3, 64, 3, stride=2, padding=1)
    for index in (2, 5, 8):
        model.features[index] = nn.MaxPool2d(3, stride=2)
    model.classifier[0] = DownscaleInInfer(0.5)
    return model


def inception_v3(num_classes: int = 1000) -> nn.Module:
    """Build torchvision's Inception v3 with the epsilon of Paddle's BatchNorm, and its dropout."""
    model = torchvision_inception_v3(num_classes=num_classes)
    model.dropout = DownscaleInInfer(0.2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5
    return model


def _conv_bn(in_channels: int, channels: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


class MobileNetV1(nn.Module):
    """Howard et al., "MobileNets", 2017, table 1: thirteen pairs of a depthwise and a pointwise convolution."""

    CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = _conv_bn(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList()
        in_channels = 32
        for channels, stride in zip(self.CHANNELS, self.STRIDES, strict=True):
            depthwise = _conv_bn(in_channels, in_channels, 3, stride, groups=in_channels)
            self.blocks.append(nn.Sequential(depthwise, _conv_bn(in_channels, channels, 1)))
            in_channels = channels
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to logits ``(N, num_classes)``."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


class LeNet(nn.Module):
    """LeNet as Paddle has it: 3x3 then 5x5 convolutions, and linear layers without an activation between them."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.fc = nn.Sequential(nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        """Map grey images ``(N, 1, 28, 28)`` to logits ``(N, num_classes)``."""
        return self.fc(torch.flatten(self.features(image), 1))
