"""An FCOS detection head in Paddle (Tian et al., 2019, figure 2): one head over the levels of a pyramid."""

import paddle
from paddle import Tensor, nn


def _tower(channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Layer] = []
    for _ in range(depth):
        layers += [nn.Conv2D(channels, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.PReLU(channels)]
    return nn.Sequential(*layers)


class FCOSHead(nn.Layer):
    """Scores, boxes and centreness of every place of three levels.

    Args:
        num_classes: of objects.
        channels: of each level.
        depth: of the two towers.
    """

    def __init__(self, num_classes: int = 6, channels: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.score_tower, self.box_tower = _tower(channels, depth), _tower(channels, depth)
        self.scores = nn.Conv2D(channels, num_classes, 3, padding=1)
        self.boxes = nn.Conv2D(channels, 4, 3, padding=1)
        self.centreness = nn.Conv2D(channels, 1, 3, padding=1)
        self.scales = self.create_parameter([3], default_initializer=nn.initializer.Constant(1.0))

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map levels ``(N, channels, H, W)`` to ``(N, places, n)``, ``n`` of classes, of sides (4) and 1."""
        scores, boxes, centreness = [], [], []
        for index, level in enumerate((p3, p4, p5)):
            score, box = self.score_tower(level), self.box_tower(level)
            sides = paddle.exp(paddle.clip(self.boxes(box) * self.scales[index], max=4.0))
            scores.append(self.scores(score).flatten(2).transpose([0, 2, 1]))
            boxes.append(sides.flatten(2).transpose([0, 2, 1]))
            centreness.append(self.centreness(box).flatten(2).transpose([0, 2, 1]))
        return paddle.concat(scores, axis=1), paddle.concat(boxes, axis=1), paddle.concat(centreness, axis=1)
