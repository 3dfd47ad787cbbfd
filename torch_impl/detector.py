"""An FCOS detection head in PyTorch (Tian et al., 2019, figure 2): one head over the levels of a pyramid."""

import torch
from torch import Tensor, nn


def _tower(channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.PReLU(channels)]
    return nn.Sequential(*layers)


class FCOSHead(nn.Module):
    """Scores, boxes and centreness of every place of three levels.

    Args:
        num_classes: of objects.
        channels: of each level.
        depth: of the two towers.
    """

    def __init__(self, num_classes: int = 6, channels: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.score_tower, self.box_tower = _tower(channels, depth), _tower(channels, depth)
        self.scores = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.boxes = nn.Conv2d(channels, 4, 3, padding=1)
        self.centreness = nn.Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(3))

    def forward(self, p3: Tensor, p4: Tensor, p5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map levels ``(N, channels, H, W)`` to ``(N, places, n)``, ``n`` of classes, of sides (4) and 1."""
        scores, boxes, centreness = [], [], []
        for index, level in enumerate((p3, p4, p5)):
            score, box = self.score_tower(level), self.box_tower(level)
            sides = torch.exp(torch.clamp(self.boxes(box) * self.scales[index], max=4.0))
            scores.append(self.scores(score).flatten(2).transpose(1, 2))
            boxes.append(sides.flatten(2).transpose(1, 2))
            centreness.append(self.centreness(box).flatten(2).transpose(1, 2))
        return torch.cat(scores, dim=1), torch.cat(boxes, dim=1), torch.cat(centreness, dim=1)
