"""CRNN in Paddle: convolutions, a recurrent network over columns, and CTC (Shi et al., 2015, table 1, narrower)."""

from collections.abc import Iterable

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F


def _block(in_channels: int, channels: int, pool: tuple[int, int]) -> nn.Sequential:
    conv = nn.Conv2D(in_channels, channels, 3, padding=1, bias_attr=False)
    return nn.Sequential(conv, nn.BatchNorm2D(channels), nn.ReLU(), nn.MaxPool2D(pool))


class CRNN(nn.Layer):
    """Reads a line of text.

    Args:
        num_classes: characters, with the blank first.
        hidden: width of the recurrent layers.
    """

    def __init__(self, num_classes: int = 37, hidden: int = 48) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(1, 32, (2, 2)), _block(32, 64, (2, 2)), _block(64, 96, (2, 1)), _block(96, 96, (4, 1))
        )
        self.rnn = nn.LSTM(96, hidden, num_layers=2, direction="bidirect")
        self.fc = nn.Linear(2 * hidden, num_classes)

    def forward(self, line: Tensor) -> Tensor:
        """Map grey lines ``(N, 1, 32, W)`` to logits ``(N, W / 4, num_classes)``."""
        columns = self.features(line).squeeze(2).transpose([0, 2, 1])
        sequence, _ = self.rnn(columns)
        return self.fc(sequence)


class Training:
    """Adam and CTC; a label is a word of one character.

    Args:
        model: the network.
        lr: of Adam.
    """

    def __init__(self, model: nn.Layer, lr: float = 1e-3) -> None:
        self.model = model
        self.optimizer = paddle.optimizer.Adam(lr, parameters=model.parameters())

    def losses(self, outputs: Iterable[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Return the mean CTC loss per character. Paddle's takes logits and normalises them itself."""
        (logits,) = outputs
        rows, length, _ = logits.shape
        steps, words = paddle.full([rows], length, "int64"), paddle.ones([rows], "int64")
        target = (labels.unsqueeze(1) + 1).astype("int32")
        return {"loss": F.ctc_loss(logits.transpose([1, 0, 2]), target, steps, words)}

    def step(self, line: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Make one step and return its losses."""
        self.model.train()
        losses = self.losses([self.model(line)], labels)
        losses["loss"].backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        return losses
