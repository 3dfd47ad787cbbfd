"""What the engine needs of a framework beyond a forward: gradients, and what an optimiser keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from portproof.frameworks import Framework

#: Slots of an optimiser that have a parameter's shape, by torch's names; all others are scalars.
SHAPED = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")


class Learning(Protocol):
    """A framework's gradients. Tensors are the framework's own."""

    def parameters(self, model: Any) -> dict[str, Any]:
        """Return the parameters that are learned, by name."""

    def watched(self, tensor: Any) -> Any:
        """Return a tensor of its own with a gradient to come."""

    def opened(self, tensors: Sequence[Any]) -> AbstractContextManager[None]:
        """Let gradients reach parameters and buffers, whether they are learned or not, for the time of the block."""

    def is_open(self, tensor: Any) -> bool:
        """Whether a gradient can reach a tensor."""

    def keep_gradient(self, tensor: Any) -> None:
        """Keep the gradient at a tensor inside the graph."""

    def gradient(self, tensor: Any) -> Any | None:
        """Return the gradient at a tensor, None where nothing reached it."""

    def updated_by(self, optimizer: Any, parameters: Mapping[str, Any]) -> dict[str, Any | None]:
        """Return the gradients that an optimiser's update is given: clipped, where the optimiser itself clips."""

    def pull_back(self, outputs: Sequence[Any], cotangents: Sequence[Any], inputs: Sequence[Any]) -> list[Any | None]:
        """Return the vector-Jacobian products of the inputs; None where an input is not reached."""

    def scaled_backward(self, tensor: Any, factors: Any) -> None:
        """Multiply the gradient at a tensor by factors, elementwise, when it passes."""

    def slots(self, optimizer: Any, model: Any) -> dict[str, dict[str, Any]]:
        """Return what an optimiser keeps: parameter to slot, by torch's name, to tensor."""

    def load_slots(self, optimizer: Any, model: Any, slots: Mapping[str, Mapping[str, Any]], updates: int) -> None:
        """Give an optimiser, that has made no step yet, what another kept after ``updates`` steps."""

    def load_schedule(self, scheduler: Any, optimizer: Any, state: Mapping[str, Any]) -> None:
        """Put a schedule where it was, and the optimiser's learning rate with it."""

    def learning_rate(self, optimizer: Any) -> float:
        """Return the learning rate of the next step."""

    def settings(self, optimizer: Any) -> dict[str, Any]:
        """Return what an optimiser was built with, by torch's names."""

    def nudge_settings(self, optimizer: Any, share: float) -> None:
        """Add a share to each setting of an optimiser that enters its update: Adam's 1 - beta ** t magnifies it."""

    def seed(self, number: int) -> None:
        """Seed the framework's own random numbers."""


def load_learning(framework: Framework) -> Learning:
    """Return a framework's gradients; imports nothing of the other."""
    if framework.side == "torch":
        from portproof.training._torch import TorchLearning

        return TorchLearning(framework)
    from portproof.training._paddle import PaddleLearning

    return PaddleLearning(framework)
