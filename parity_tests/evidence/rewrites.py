"""Honest rewrites of GoogLeNet: the same function, written otherwise."""

import itertools
from typing import Any


def torch_functional(**kwargs: Any) -> Any:
    """ReLU as a function in place of a module, and no dropout at all."""
    import torch.nn.functional as functional
    from torch import nn

    from torch_impl.googlenet import GoogLeNet

    class Activated(nn.Conv2d):
        def forward(self, x: Any) -> Any:
            return functional.relu(super().forward(x))

    model = GoogLeNet(**kwargs)
    _make_functional(list(model.modules()), nn, nn.Conv2d, Activated)
    return model


def _make_functional(modules: list[Any], nn: Any, convolution: type, activated: type) -> None:
    """Let each convolution before a ReLU apply it, and leave those ReLUs and all dropout out."""
    for module in modules:
        children = list(module.named_children())
        for (_, child), (_, after) in itertools.pairwise(children):
            if isinstance(child, convolution) and isinstance(after, nn.ReLU):
                child.__class__ = activated
        for name, child in children:
            if isinstance(child, (nn.ReLU, nn.Dropout)) and not _follows_linear(children, name):
                setattr(module, name, nn.Identity())


def _follows_linear(children: list[tuple[str, Any]], name: str) -> bool:
    index = [key for key, _ in children].index(name)
    return type(children[index - 1][1]).__name__ == "Linear" and type(children[index][1]).__name__ == "ReLU"


def torch_adaptive(**kwargs: Any) -> Any:
    """The main pool as AdaptiveAvgPool2d, and no dropout before the main classifier."""
    from torch import nn

    from torch_impl.googlenet import GoogLeNet

    model = GoogLeNet(**kwargs)
    model.out_main[0] = nn.AdaptiveAvgPool2d(1)
    model.out_main[2] = nn.Identity()
    return model


def paddle_functional(**kwargs: Any) -> Any:
    """ReLU as a function in place of a module, and no dropout at all."""
    import paddle.nn.functional as functional
    from paddle import nn

    from paddle_impl.googlenet import GoogLeNet

    class Activated(nn.Conv2D):
        def forward(self, x: Any) -> Any:
            return functional.relu(super().forward(x))

    model = GoogLeNet(**kwargs)
    _make_functional(list(model.sublayers(include_self=True)), nn, nn.Conv2D, Activated)
    return model
