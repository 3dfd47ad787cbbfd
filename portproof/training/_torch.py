"""PyTorch's gradients and optimisers behind the engine's interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from portproof.frameworks import Framework

_SETTINGS = ("momentum", "dampening", "nesterov", "weight_decay", "betas", "eps", "amsgrad", "maximize")


class TorchLearning:
    """See :class:`portproof.training._learning.Learning`."""

    def __init__(self, framework: Framework) -> None:
        self.framework = framework

    def parameters(self, model: Any) -> dict[str, Any]:
        return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}

    def watched(self, tensor: Any) -> Any:
        return tensor.detach().clone().requires_grad_()

    @contextmanager
    def opened(self, tensors: Sequence[Any]) -> Iterator[None]:
        before = [tensor.requires_grad for tensor in tensors]
        for tensor in tensors:
            tensor.requires_grad_(True)
        try:
            yield
        finally:
            for tensor, was in zip(tensors, before, strict=True):
                tensor.requires_grad_(was)

    def is_open(self, tensor: Any) -> bool:
        return bool(tensor.requires_grad)

    def keep_gradient(self, tensor: Any) -> None:
        tensor.retain_grad()

    def gradient(self, tensor: Any) -> Any | None:
        return tensor.grad

    def updated_by(self, optimizer: Any, parameters: Mapping[str, Any]) -> dict[str, Any | None]:
        return {name: self.gradient(tensor) for name, tensor in parameters.items()}

    def pull_back(self, outputs: Sequence[Any], cotangents: Sequence[Any], inputs: Sequence[Any]) -> list[Any | None]:
        found = torch.autograd.grad(list(outputs), list(inputs), list(cotangents), retain_graph=True, allow_unused=True)
        return list(found)

    def scaled_backward(self, tensor: Any, factors: Any) -> None:
        tensor.register_hook(lambda gradient: gradient * factors)

    def slots(self, optimizer: Any, model: Any) -> dict[str, dict[str, Any]]:
        names = {id(tensor): name for name, tensor in model.named_parameters()}
        return {
            names[id(parameter)]: {slot: value for slot, value in kept.items() if isinstance(value, torch.Tensor)}
            for parameter, kept in optimizer.state.items()
        }

    def load_slots(self, optimizer: Any, model: Any, slots: Mapping[str, Mapping[str, Any]], updates: int) -> None:
        adam = "betas" in optimizer.param_groups[0]
        for name, parameter in model.named_parameters():
            kept = {
                slot: tensor.to(parameter.dtype) for slot, tensor in slots.get(name, {}).items() if "pow" not in slot
            }
            kept = {
                slot: t.clone(memory_format=torch.preserve_format) if slot == "step" else _like(t, parameter)
                for slot, t in kept.items()
            }
            if adam and kept and "step" not in kept:
                kept["step"] = torch.tensor(float(updates))
            if "step" in kept:
                kept["step"] = kept["step"].to(torch.float32)
            if kept:
                optimizer.state[parameter] = kept

    def load_schedule(self, scheduler: Any, optimizer: Any, state: Mapping[str, Any]) -> None:
        scheduler.load_state_dict(dict(state))
        # The optimiser holds the rate itself, and only its own state_dict would bring it back.
        for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
            group["lr"] = rate

    def learning_rate(self, optimizer: Any) -> float:
        return float(optimizer.param_groups[0]["lr"])

    def settings(self, optimizer: Any) -> dict[str, Any]:
        group = optimizer.param_groups[0]
        found = {name: group[name] for name in _SETTINGS if name in group}
        return {"optimizer": type(optimizer).__name__, **found}

    def nudge_settings(self, optimizer: Any, share: float) -> None:
        for group in optimizer.param_groups:
            for name in ("momentum", "weight_decay"):
                if name in group:
                    group[name] *= 1 + share
            if "betas" in group:
                group["betas"] = tuple(beta * (1 - share) for beta in group["betas"])

    def seed(self, number: int) -> None:
        torch.manual_seed(number)


def _like(tensor: Any, parameter: Any) -> Any:
    """Return a tensor in a parameter's memory format, as the optimiser itself would have made it."""
    made = torch.empty_like(parameter, memory_format=torch.preserve_format)
    with torch.no_grad():
        made.copy_(tensor)
    return made.detach()
