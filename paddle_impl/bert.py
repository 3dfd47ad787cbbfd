"""A BERT-like encoder in Paddle (Devlin et al., 2018), of the framework's own encoder layers."""

from typing import Any

import paddle
from paddle import Tensor, nn


class Encoder(nn.Layer):
    """Embeds tokens, mixes them and pools the first.

    Args:
        vocabulary, positions: numbers of embeddings.
        width, heads, depth: of the encoder.
    """

    def __init__(
        self, vocabulary: int = 120, positions: int = 64, width: int = 48, heads: int = 4, depth: int = 3
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=0)
        self.positions = nn.Embedding(positions, width)
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, epsilon=1e-12)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, depth)
        self.pooler = nn.Linear(width, width)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> dict[str, Any]:
        """Map ``(N, T)`` tokens, segments and a mask of ones to ``hidden`` ``(N, T, width)`` and ``pooled``."""
        places = paddle.arange(input_ids.shape[1], dtype="int64")
        x = self.norm(self.tokens(input_ids) + self.positions(places) + self.segments(token_type_ids))
        x = self.encoder(x, src_mask=(attention_mask != 0).unsqueeze([1, 2]))
        return {"hidden": x, "pooled": paddle.tanh(self.pooler(x[:, 0]))}
