"""A port in one file: ``portproof verify examples/one_file_port.py``."""

from portproof import Input, Port


def torch_model(classes: int = 4):
    """Build the PyTorch side."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, classes))


def paddle_model(classes: int = 4):
    """Build the Paddle side."""
    from paddle import nn

    return nn.Sequential(nn.Conv2D(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, classes))


PORT = Port(
    name="one_file",
    paddle=paddle_model,
    torch=torch_model,
    inputs={"image": Input(shape=("batch", 3, 16, 16))},
    outputs=("logits",),
)
