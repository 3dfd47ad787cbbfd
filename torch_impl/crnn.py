"""CRNN in PyTorch: convolutions, a recurrent network over columns, and CTC (Shi et al., 2015, table 1, narrower)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _block(in_channels: int, channels: int, pool: tuple[int, int]) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(pool))


class CRNN(nn.Module):
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
        self.rnn = nn.LSTM(96, hidden, num_layers=2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, num_classes)

    def forward(self, line: Tensor) -> Tensor:
        """Map grey lines ``(N, 1, 32, W)`` to logits ``(N, W / 4, num_classes)``."""
        columns = self.features(line).squeeze(2).transpose(1, 2)
        sequence, _ = self.rnn(columns)
        return self.fc(sequence)


class Training:
    """Adam and CTC; a label is a word of one character.

    Args:
        model: the network.
        lr: of Adam.
    """

    def __init__(self, model: nn.Module, lr: float = 1e-3) -> None:
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def losses(self, outputs: Iterable[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Return the mean CTC loss per character."""
        (logits,) = outputs
        rows, length, _ = logits.shape
        steps, words = torch.full((rows,), length), torch.ones(rows, dtype=torch.int64)
        return {"loss": F.ctc_loss(logits.transpose(0, 1).log_softmax(-1), labels[:, None] + 1, steps, words)}

    def step(self, line: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Make one step and return its losses."""
        self.model.train()
        losses = self.losses([self.model(line)], labels)
        self.optimizer.zero_grad()
        losses["loss"].backward()
        self.optimizer.step()
        return losses
