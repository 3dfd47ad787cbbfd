"""A network between a toy and a flagship: about two milliseconds a call, so that a self-check takes an hour, not a day.

``portproof bench selfcheck parity_tests/evidence/middling.py --comparisons 200 --pairs 8 --seconds 0.15`` made the
figures in docs/benchmarks.md.
"""

from typing import Any

from portproof import Input, Port


def torch_net() -> Any:
    """Build the PyTorch side."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64 * 9, 10),
    )  # fmt: skip


def paddle_net() -> Any:
    """Build the Paddle side."""
    from paddle import nn

    return nn.Sequential(
        nn.Conv2D(3, 32, 5, padding=2), nn.ReLU(), nn.Conv2D(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2D(2),
        nn.Conv2D(64, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2D(8), nn.Flatten(), nn.Linear(64 * 9, 10),
    )  # fmt: skip


PORT = Port("middling", paddle_net, torch_net, {"image": Input(("batch", 3, 48, 48))}, outputs=("logits",))
