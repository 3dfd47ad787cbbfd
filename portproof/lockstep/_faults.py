"""Faults of a training: wrong settings and slips that people make, to measure what the comparison of trajectories sees.

Each kind is planted into one side of a right training. ``named`` are the words of which the finding must say one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portproof.frameworks._settings import write_setting

if TYPE_CHECKING:
    from portproof.training._learner import Learner


@dataclass(frozen=True)
class TrainingFault:
    """A kind of fault.

    Attributes:
        name: what a person would have done.
        named: words, one of which the finding must say.
        applies: whether it can be planted in a learner.
        plant: plants it.
        acts: the first step at which it can show, counted from 0.
    """

    name: str
    named: tuple[str, ...]
    applies: Callable[[Learner], bool]
    plant: Callable[[Learner], None]
    acts: int = 0


def _sgd(learner: Learner) -> bool:
    return type(learner.training.optimizer).__name__ in ("SGD", "Momentum")


def _adam(learner: Learner) -> bool:
    return type(learner.training.optimizer).__name__ in ("Adam", "AdamW")


def _torch(learner: Learner) -> bool:
    return learner.side == "torch"


def _has(layer: str) -> Callable[[Learner], bool]:
    return lambda learner: bool(_modules(learner, layer))


def _modules(learner: Learner, layer: str) -> list[tuple[str, Any]]:
    framework = learner.framework
    return [(p, m) for p, m in framework.modules(learner.model.root) if framework.layer(m).startswith(layer)]


#: torch's name of an optimiser's setting to Paddle's attribute.
_ATTRIBUTES = {
    "momentum": "_momentum", "nesterov": "_use_nesterov", "eps": "_epsilon", "beta1": "_beta1", "beta2": "_beta2",
}  # fmt: skip


def _set(name: str, change: Callable[[Any], Any]) -> Callable[[Learner], None]:
    """Change a setting of the optimiser."""

    def plant(learner: Learner) -> None:
        optimizer = learner.training.optimizer
        if learner.side == "torch":
            for group in optimizer.param_groups:
                if name in ("beta1", "beta2"):
                    betas = list(group["betas"])
                    betas[int(name[-1]) - 1] = change(betas[int(name[-1]) - 1])
                    group["betas"] = tuple(betas)
                else:
                    group[name] = change(group[name])
            return
        if name == "weight_decay":
            for attribute in ("_weight_decay", "_regularization_coeff"):
                if isinstance(getattr(optimizer, attribute, None), float):
                    setattr(optimizer, attribute, change(getattr(optimizer, attribute)))
            if getattr(optimizer, "regularization", None) is not None:
                optimizer.regularization._coeff = change(optimizer.regularization._coeff)
                optimizer.regularization._regularization_coeff = optimizer.regularization._coeff
            return
        setattr(optimizer, _ATTRIBUTES[name], change(getattr(optimizer, _ATTRIBUTES[name])))

    return plant


def _losses(change: Callable[[Learner, dict[str, Any], Any], dict[str, Any]]) -> Callable[[Learner], None]:
    """Change the losses that the training computes."""

    def plant(learner: Learner) -> None:
        right = learner.training.losses

        def losses(outputs: Any, labels: Any) -> dict[str, Any]:
            return change(learner, right(outputs, labels), labels)

        learner.training.losses = losses

    return plant


def _heads(losses: dict[str, Any]) -> list[str]:
    return [name for name in losses if name != "loss"]


def _several(learner: Learner) -> bool:
    return len(learner.port.outputs) > 1 and hasattr(learner.training, "auxiliary_weight")


def _wrong_head(learner: Learner, losses: dict[str, Any], labels: Any) -> dict[str, Any]:
    first, second, *_ = _heads(losses)
    weight = learner.training.auxiliary_weight
    changed: Any = losses["loss"] + (weight - 1) * losses[first] + (1 - weight) * losses[second]
    return {**losses, "loss": changed}


def _summed(learner: Learner, losses: dict[str, Any], labels: Any) -> dict[str, Any]:
    return {name: loss * float(labels.shape[0]) for name, loss in losses.items()}


def _smoothed(learner: Learner) -> None:
    module = "torch.nn.functional" if learner.side == "torch" else "paddle.nn.functional"
    import importlib

    functional = importlib.import_module(module)
    right = learner.training.losses

    def losses(outputs: Any, labels: Any) -> dict[str, Any]:
        found: dict[str, Any] = right(outputs, labels)
        share = 0.1
        for name, logits in zip(_heads(found), outputs, strict=True):
            uniform = -functional.log_softmax(logits, 1).mean()
            change = share * (uniform - found[name])
            weight = 1.0 if name == _heads(found)[0] else getattr(learner.training, "auxiliary_weight", 1.0)
            found = {**found, name: found[name] + change, "loss": found["loss"] + weight * change}
        return found

    learner.training.losses = losses


def _around_step(change: Callable[[Learner, Callable[[], Any]], Any]) -> Callable[[Learner], None]:
    """Do something else where the optimiser steps."""

    def plant(learner: Learner) -> None:
        right = learner.training.optimizer.step
        learner.training.optimizer.step = lambda *_, **__: change(learner, right)

    return plant


def _rounded(learner: Learner, step: Callable[[], Any]) -> None:
    step()
    for tensor in learner.learning.parameters(learner.model.root).values():
        learner.framework.write(tensor, learner.framework.to_array(tensor).astype(np.float32).astype(np.float64))


def _unlearned(learner: Learner, step: Callable[[], Any]) -> None:
    """Put one parameter back as it was, as if the optimiser did not have it."""
    tensor = next(iter(learner.learning.parameters(learner.model.root).values()))
    before = learner.framework.to_array(tensor)
    step()
    learner.framework.write(tensor, before)


def _without_bias_decay(learner: Learner) -> None:
    """Leave the biases out of the weight decay, by taking it out of their gradients or weights."""
    if learner.side == "torch":
        training = learner.training
        group = training.optimizer.param_groups[0]
        biases = [parameter for parameter in group["params"] if parameter.dim() == 1]
        group["params"] = [parameter for parameter in group["params"] if parameter.dim() > 1]
        training.optimizer.param_groups.append({**group, "params": biases, "weight_decay": 0.0})
        training.scheduler.base_lrs *= 2
        training.scheduler.lr_lambdas *= 2
        return
    from paddle.regularizer import L2Decay

    for parameter in learner.model.root.parameters():
        if len(parameter.shape) == 1:
            parameter.regularizer = L2Decay(0.0)


def _frozen(learner: Learner) -> None:
    tensor = next(iter(learner.learning.parameters(learner.model.root).values()))
    if learner.side == "torch":
        tensor.requires_grad_(False)
    else:
        tensor.stop_gradient = True


def _gradients(factor: float) -> Callable[[Learner], None]:
    def change(learner: Learner, step: Callable[[], Any]) -> None:
        for tensor in learner.learning.parameters(learner.model.root).values():
            gradient = learner.learning.gradient(tensor)
            if gradient is not None:
                learner.framework.write(gradient, learner.framework.to_array(gradient) * factor)
        step()

    return _before_watch(change)


def _before_watch(change: Callable[[Learner, Callable[[], Any]], Any]) -> Callable[[Learner], None]:
    """Do something between the backward pass and whoever watches the optimiser's step."""

    def plant(learner: Learner) -> None:
        training = learner.training
        right = training.step

        def step(*args: Any, **kwargs: Any) -> Any:
            watched = training.optimizer.step
            training.optimizer.step = lambda *_, **__: change(learner, watched)
            try:
                return right(*args, **kwargs)
            finally:
                training.optimizer.step = watched

        training.step = step

    return plant


def _kept_gradients(learner: Learner) -> None:
    """Never clear the gradients."""
    optimizer = learner.training.optimizer
    for name in ("zero_grad", "clear_grad", "clear_gradients"):
        if hasattr(optimizer, name):
            setattr(optimizer, name, lambda *_, **__: None)


def _early(learner: Learner) -> None:
    learner.training.scheduler.step()


def _late(learner: Learner) -> None:
    scheduler = learner.training.scheduler
    right, calls = scheduler.step, [0]

    def step(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return right(*args, **kwargs) if calls[0] > 1 else None

    scheduler.step = step


def _never(learner: Learner) -> None:
    learner.training.scheduler.step = lambda *_, **__: None


def _rate(learner: Learner) -> None:
    scheduler = learner.training.scheduler
    if learner.side == "torch":
        scheduler.base_lrs = [rate * 2 for rate in scheduler.base_lrs]
        for group in learner.training.optimizer.param_groups:
            group["lr"] *= 2
    else:
        scheduler.base_lr *= 2
        scheduler.last_lr *= 2


def _evaluating(layer: str) -> Callable[[Learner], None]:
    """Leave some modules in evaluation mode."""

    def plant(learner: Learner) -> None:
        right = learner.training.step

        def step(*args: Any, **kwargs: Any) -> Any:
            train = learner.model.root.train

            def trained(*a: Any, **k: Any) -> Any:
                result = train(*a, **k)
                for _, module in _modules(learner, layer):
                    module.training = False
                return result

            object.__setattr__(learner.model.root, "train", trained)
            try:
                return right(*args, **kwargs)
            finally:
                object.__setattr__(learner.model.root, "train", train)

        learner.training.step = step

    return plant


def _module_setting(layer: str, name: str, change: Callable[[Any], Any]) -> Callable[[Learner], None]:
    def plant(learner: Learner) -> None:
        from portproof.frameworks._settings import read_settings

        for _, module in _modules(learner, layer):
            kind = learner.framework.layer(module)
            now = read_settings(learner.side, kind, module)[name]
            write_setting(learner.side, kind, module, name, change(now))

    return plant


def _shifted(learner: Learner) -> None:
    right = learner.training.losses

    def losses(outputs: Any, labels: Any) -> dict[str, Any]:
        first = outputs[0] if isinstance(outputs, (tuple, list)) else next(iter(outputs.values()))
        found: dict[str, Any] = right(outputs, (labels + 1) % int(first.shape[1]))
        return found

    learner.training.losses = losses


def _decays(learner: Learner) -> bool:
    return bool(learner.learning.settings(learner.training.optimizer).get("weight_decay"))


def _has_losses(learner: Learner) -> bool:
    return hasattr(learner.training, "losses")


def _scheduled(learner: Learner) -> bool:
    return getattr(learner.training, "scheduler", None) is not None


def _both(*conditions: Callable[[Learner], bool]) -> Callable[[Learner], bool]:
    return lambda learner: all(condition(learner) for condition in conditions)


def _always(learner: Learner) -> bool:
    return True


_RATE = ("learning rate",)

#: Every kind. Those of one optimiser apply where it is used.
TRAINING_FAULTS: tuple[TrainingFault, ...] = (
    TrainingFault("weight decay off", ("weight decay",), _decays, _set("weight_decay", lambda _: 0.0)),
    TrainingFault("weight decay ten times", ("weight decay",), _decays, _set("weight_decay", lambda w: w * 10)),
    TrainingFault("no weight decay on biases", ("weight decay",), _both(_decays, _sgd), _without_bias_decay),
    TrainingFault("momentum 0.8", ("momentum",), _sgd, _set("momentum", lambda _: 0.8), acts=1),
    TrainingFault("dampening", ("dampening",), _both(_sgd, _torch), _set("dampening", lambda _: 0.1), acts=1),
    TrainingFault("nesterov", ("nesterov",), _sgd, _set("nesterov", lambda _: True)),
    TrainingFault("first beta 0.8", ("beta1",), _adam, _set("beta1", lambda _: 0.8)),
    TrainingFault("second beta 0.99", ("beta2",), _adam, _set("beta2", lambda _: 0.99)),
    TrainingFault("eps 1e-3", ("eps",), _adam, _set("eps", lambda _: 1e-3)),
    TrainingFault("learning rate doubled", _RATE, _scheduled, _rate),
    TrainingFault("schedule stepped early", ("early",), _scheduled, _early),
    TrainingFault("schedule stepped late", ("late",), _scheduled, _late, acts=1),
    TrainingFault("schedule never stepped", ("never",), _scheduled, _never, acts=1),
    TrainingFault("auxiliary losses left out", ("weight of",), _several,
                  _losses(lambda learner, losses, _: {**losses, "loss": losses[_heads(losses)[0]]})),
    TrainingFault("auxiliary weight on the wrong head", ("weight of",), _several, _losses(_wrong_head)),
    TrainingFault("auxiliary weight 0.4", ("weight of",), _several,
                  lambda learner: setattr(learner.training, "auxiliary_weight", 0.4)),
    TrainingFault("sum instead of mean", ("sum",), _has_losses, _losses(_summed)),
    TrainingFault("label smoothing", ("smooth",), _has_losses, _smoothed),
    TrainingFault("labels off by one", ("labels",), _has_losses, _shifted),
    TrainingFault("gradients not cleared", ("cleared",), _always, _kept_gradients, acts=1),
    TrainingFault("gradients halved", ("scaled",), _always, _gradients(0.5)),
    TrainingFault("a parameter frozen", ("no gradient",), _always, _frozen),
    TrainingFault("a parameter not in the optimiser", ("not learned",), _always, _around_step(_unlearned)),
    TrainingFault("weights rounded to float32", ("float32",), _always, _around_step(_rounded)),
    TrainingFault("dropout rate", ("p is",), _has("Dropout"), _module_setting("Dropout", "p", lambda p: p / 2)),
    TrainingFault("dropout in evaluation mode", ("evaluation mode",), _has("Dropout"), _evaluating("Dropout")),
    TrainingFault("BatchNorm in evaluation mode", ("evaluation mode",), _has("BatchNorm"), _evaluating("BatchNorm")),
    TrainingFault("BatchNorm's momentum", ("momentum is",), _has("BatchNorm"),
                  _module_setting("BatchNorm", "momentum", lambda _: 0.3)),
)  # fmt: skip


def fault_named(name: str) -> TrainingFault:
    """Return a kind by its name."""
    return next(kind for kind in TRAINING_FAULTS if kind.name == name)


def plant(learner: Learner, name: str) -> None:
    """Plant a kind in a learner, which is thrown away afterwards."""
    fault_named(name).plant(learner)
