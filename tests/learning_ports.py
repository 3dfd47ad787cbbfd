"""A small network with everything that training treats otherwise than evaluation: BatchNorm, dropout, three heads."""

from typing import Any

from portproof import Input, Port


def torch_learner(p: float = 0.4, classes: int = 5) -> Any:
    import torch
    from torch import nn

    class Learner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.AvgPool2d(3, 2))
            self.left = nn.Sequential(nn.Conv2d(12, 8, 1), nn.ReLU())
            self.right = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(12, 8, 1), nn.ReLU())
            self.main = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(p), nn.Linear(16, classes))
            self.aux1 = nn.Sequential(nn.Flatten(), nn.Linear(12 * 36, 16), nn.ReLU(), nn.Linear(16, classes))
            self.aux2 = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(p), nn.Linear(16 * 9, classes))

        def forward(self, image: Any) -> Any:
            x = self.stem(image)
            y = torch.cat([self.left(x), self.right(x)], 1)
            return self.main(y), self.aux1(x), self.aux2(y)

    return Learner()


def paddle_learner(p: float = 0.4, classes: int = 5) -> Any:
    import paddle
    from paddle import nn

    class Learner(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2D(3, 12, 3, padding=1), nn.BatchNorm2D(12), nn.ReLU(), nn.AvgPool2D(3, 2))
            self.left = nn.Sequential(nn.Conv2D(12, 8, 1), nn.ReLU())
            self.right = nn.Sequential(nn.MaxPool2D(3, 1, 1), nn.Conv2D(12, 8, 1), nn.ReLU())
            self.main = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Dropout(p), nn.Linear(16, classes))
            self.aux1 = nn.Sequential(nn.Flatten(), nn.Linear(12 * 36, 16), nn.ReLU(), nn.Linear(16, classes))
            self.aux2 = nn.Sequential(nn.AvgPool2D(2), nn.Flatten(), nn.Dropout(p), nn.Linear(16 * 9, classes))

        def forward(self, image: Any) -> Any:
            x = self.stem(image)
            y = paddle.concat([self.left(x), self.right(x)], axis=1)
            return self.main(y), self.aux1(x), self.aux2(y)

    return Learner()


LEARNER = Port(
    name="learner",
    paddle="tests.learning_ports:paddle_learner",
    torch="tests.learning_ports:torch_learner",
    inputs={"image": Input(("batch", 3, 14, 14))},
    outputs=("out", "out1", "out2"),
    training={"paddle": "paddle_impl.training:Training", "torch": "torch_impl.training:Training"},
)
