"""A stack of residual blocks of any size, and a file of weights for it that is written without holding it."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from portproof import Input, Port


def torch_stack(blocks: int = 3, width: int = 32) -> Any:
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(width)
            self.up = nn.Linear(width, 2 * width)
            self.act = nn.GELU()
            self.down = nn.Linear(2 * width, width)

        def forward(self, x: Any) -> Any:
            return x + self.down(self.act(self.up(self.norm(x))))

    return nn.Sequential(*[Block() for _ in range(blocks)], nn.Linear(width, 16))


def paddle_stack(blocks: int = 3, width: int = 32, broken: int | None = None) -> Any:
    from paddle import nn

    class Block(nn.Layer):
        def __init__(self, wrong: bool) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(width)
            self.up = nn.Linear(width, 2 * width)
            self.act = nn.ReLU() if wrong else nn.GELU()
            self.down = nn.Linear(2 * width, width)

        def forward(self, x: Any) -> Any:
            return x + self.down(self.act(self.up(self.norm(x))))

    return nn.Sequential(*[Block(i == broken) for i in range(blocks)], nn.Linear(width, 16))


def paddle_broken(blocks: int = 3, width: int = 32) -> Any:
    return paddle_stack(blocks, width, broken=blocks // 2)


def _port(name: str, paddle: str, blocks: int, width: int) -> Port:
    return Port(
        name, f"tests.large_stack:{paddle}", "tests.large_stack:torch_stack",
        inputs={"x": Input(("batch", width))}, kwargs={"blocks": blocks, "width": width},
    )  # fmt: skip


#: 30 blocks of 2 * 4,096 * 8,192 weights: 2.01 billion parameters, 8 GB in float32.
LARGE = {"blocks": 30, "width": 4096}
SMALL = {"blocks": 3, "width": 32}
STACK, BROKEN = (_port("stack", factory, **SMALL) for factory in ("paddle_stack", "paddle_broken"))
LARGE_STACK, LARGE_BROKEN = (_port("large", factory, **LARGE) for factory in ("paddle_stack", "paddle_broken"))


def write_weights(path: Path, blocks: int, width: int, side: str = "torch") -> int:
    """Write weights in torch's layouts, one tensor in memory at a time; returns the number of parameters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(blocks):
        shapes |= {f"{i}.norm.weight": (width,), f"{i}.norm.bias": (width,)}
        shapes |= {f"{i}.up.weight": (2 * width, width), f"{i}.up.bias": (2 * width,)}
        shapes |= {f"{i}.down.weight": (width, 2 * width), f"{i}.down.bias": (width,)}
    shapes |= {f"{blocks}.weight": (16, width), f"{blocks}.bias": (16,)}
    header: dict[str, Any] = {"__metadata__": {"portproof.side": side}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            drawn = rng.standard_normal(shape, dtype=np.float32)
            drawn /= np.float32(math.sqrt(shape[-1])) if len(shape) > 1 else 4
            if name.endswith("norm.weight"):
                drawn += 1
            drawn.tofile(file)
    return end // 4
