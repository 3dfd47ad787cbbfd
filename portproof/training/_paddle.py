"""Paddle's gradients and optimisers behind the engine's interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import paddle

from portproof.frameworks import Framework

#: What Paddle calls an accumulator, by torch's name of the slot.
_ACCUMULATORS = {
    "momentum_buffer": "velocity", "exp_avg": "moment1", "exp_avg_sq": "moment2", "max_exp_avg_sq": "moment2_max",
}  # fmt: skip
_SLOTS = {theirs: ours for ours, theirs in _ACCUMULATORS.items()}


class PaddleLearning:
    """See :class:`portproof.training._learning.Learning`."""

    def __init__(self, framework: Framework) -> None:
        self.framework = framework

    def parameters(self, model: Any) -> dict[str, Any]:
        return {name: tensor for name, tensor in model.named_parameters() if not tensor.stop_gradient}

    def watched(self, tensor: Any) -> Any:
        own = tensor.detach().clone()
        own.stop_gradient = False
        return own

    @contextmanager
    def opened(self, tensors: Sequence[Any]) -> Iterator[None]:
        before = [tensor.stop_gradient for tensor in tensors]
        for tensor in tensors:
            tensor.stop_gradient = False
        try:
            yield
        finally:
            for tensor, was in zip(tensors, before, strict=True):
                tensor.stop_gradient = was

    def is_open(self, tensor: Any) -> bool:
        return not tensor.stop_gradient

    def keep_gradient(self, tensor: Any) -> None:
        tensor.retain_grads()

    def gradient(self, tensor: Any) -> Any | None:
        return tensor.grad

    def updated_by(self, optimizer: Any, parameters: Mapping[str, Any]) -> dict[str, Any | None]:
        found = {name: self.gradient(tensor) for name, tensor in parameters.items()}
        clip = getattr(optimizer, "_grad_clip", None)  # its update does this first
        if clip is None:
            return found
        names = {id(tensor): name for name, tensor in parameters.items()}
        with paddle.no_grad():
            clipped = clip([(parameters[name], gradient) for name, gradient in found.items() if gradient is not None])
        return found | {names[id(tensor)]: gradient for tensor, gradient in clipped}

    def pull_back(self, outputs: Sequence[Any], cotangents: Sequence[Any], inputs: Sequence[Any]) -> list[Any | None]:
        found = paddle.grad(list(outputs), list(inputs), list(cotangents), retain_graph=True, allow_unused=True)
        return list(found)

    def scaled_backward(self, tensor: Any, factors: Any) -> None:
        tensor.register_hook(lambda gradient: gradient * factors)

    def slots(self, optimizer: Any, model: Any) -> dict[str, dict[str, Any]]:
        names = {tensor.name: name for name, tensor in model.named_parameters()}
        found: dict[str, dict[str, Any]] = {}
        for accumulator, kept in optimizer._accumulators.items():
            for own, tensor in kept.items():
                if own in names:
                    found.setdefault(names[own], {})[_SLOTS.get(accumulator, accumulator)] = tensor
        return found

    def load_slots(self, optimizer: Any, model: Any, slots: Mapping[str, Mapping[str, Any]], updates: int) -> None:
        state: dict[str, Any] = {}
        for name, tensor in model.named_parameters():
            kept = dict(slots.get(name, {}))
            if "exp_avg" in kept and "beta1_pow_acc" not in kept:
                for power, beta in (("beta1_pow_acc", optimizer._beta1), ("beta2_pow_acc", optimizer._beta2)):
                    kept[power] = _power(beta, updates + 1)
            for slot, value in kept.items():
                if slot != "step":
                    state[f"{tensor.name}_{_ACCUMULATORS.get(slot, slot)}_0"] = value
        # Paddle keeps them until the first step, which makes the accumulators and looks for their names here.
        optimizer.set_state_dict(state)

    def load_schedule(self, scheduler: Any, optimizer: Any, state: Mapping[str, Any]) -> None:
        scheduler.set_state_dict(dict(state))

    def learning_rate(self, optimizer: Any) -> float:
        return float(optimizer.get_lr())

    def settings(self, optimizer: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"optimizer": type(optimizer).__name__.replace("Momentum", "SGD")}
        for name, attribute in (("momentum", "_momentum"), ("nesterov", "_use_nesterov"), ("eps", "_epsilon")):
            if hasattr(optimizer, attribute):
                found[name] = getattr(optimizer, attribute)
        if hasattr(optimizer, "_beta1"):
            found["betas"] = (optimizer._beta1, optimizer._beta2)
            found["amsgrad"] = optimizer._amsgrad
        decay = getattr(optimizer, "_weight_decay", None) or getattr(optimizer, "_regularization_coeff", None)
        if not isinstance(decay, float) and getattr(optimizer, "regularization", None) is not None:
            decay = optimizer.regularization._coeff
        found["weight_decay"] = float(decay or 0.0)
        return found

    def nudge_settings(self, optimizer: Any, share: float) -> None:
        for name, sign in (("_momentum", 1), ("_beta1", -1), ("_beta2", -1)):
            if isinstance(getattr(optimizer, name, None), float):
                setattr(optimizer, name, getattr(optimizer, name) * (1 + sign * share))

    def seed(self, number: int) -> None:
        paddle.seed(number)


def _power(beta: Any, exponent: int) -> Any:
    """Return a power as Paddle makes it: one float32 product a step."""
    product = paddle.to_tensor([float(beta)], dtype="float32")
    power = product
    for _ in range(exponent - 1):
        power = power * product
    return power
