"""What binds a pair of models: the weight maps, the Port of each GoogLeNet, and the way from one side to the other.

python -m convert googlenet.pdparams googlenet.pt      # the same as portproof convert --port googlenet
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from convert.googlenet import GOOGLENET
from portproof import convert_state

__all__ = ["GOOGLENET", "to_paddle", "to_torch"]

State = Mapping[str, Any]
Arrays = dict[str, np.ndarray[Any, Any]]


def to_torch(state: State) -> Arrays:
    """Map Paddle's state dict of GoogLeNet to PyTorch's, bit by bit; see :func:`portproof.convert_state`."""
    return convert_state(GOOGLENET, state, to="torch")


def to_paddle(state: State) -> Arrays:
    """Map PyTorch's state dict of GoogLeNet to Paddle's, bit by bit; see :func:`portproof.convert_state`."""
    return convert_state(GOOGLENET, state, to="paddle")
