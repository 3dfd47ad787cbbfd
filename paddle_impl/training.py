"""How GoogLeNet is trained in Paddle: the paper's loss, an optimiser, a schedule, one step after the other.

Szegedy et al., "Going Deeper with Convolutions", 2014, section 5: the losses of the auxiliary classifiers are added to
the main one with a weight of 0.3. Its optimiser was SGD with a momentum of 0.9 on a million images; with a few thousand
AdamW learns sooner, so it is what a training without further words gets.
"""

import math
from collections.abc import Callable

from paddle import Tensor, nn
from paddle.nn import functional as F
from paddle.optimizer import Adam, AdamW, Momentum, Optimizer
from paddle.optimizer.lr import LambdaDecay


class Training:
    """A model in training.

    Args:
        model: returns the logits ``out, out1, out2``, each ``(N, classes)``.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``.
        learning_rate: of the schedule's highest point.
        momentum: of SGD.
        weight_decay: added to the gradient as L2 by SGD and Adam, applied to the weights by AdamW.
        betas: of Adam and AdamW.
        eps: of Adam and AdamW.
        schedule: ``"constant"``, ``"cosine"`` (to zero over ``steps``) or ``"step"`` (times ``gamma`` every
            ``step_size``).
        steps: how many there will be.
        warmup: steps over which the learning rate rises linearly from nought.
        step_size: of the step schedule.
        gamma: of the step schedule.
        auxiliary_weight: of the auxiliary classifiers' losses.
    """

    def __init__(
        self,
        model: nn.Layer,
        *,
        optimizer: str = "adamw",
        learning_rate: float = 3e-4,
        momentum: float = 0.9,
        weight_decay: float = 2e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        schedule: str = "cosine",
        steps: int = 1000,
        warmup: int = 20,
        step_size: int = 100,
        gamma: float = 0.5,
        auxiliary_weight: float = 0.3,
    ) -> None:
        self.model = model
        self.auxiliary_weight = auxiliary_weight
        factor = _factor(schedule, steps, warmup, step_size, gamma)
        self.scheduler = LambdaDecay(learning_rate, factor)
        common = {"learning_rate": self.scheduler, "parameters": model.parameters(), "weight_decay": weight_decay}
        self.optimizer: Optimizer
        if optimizer == "sgd":
            self.optimizer = Momentum(momentum=momentum, **common)
        elif optimizer == "adam":
            self.optimizer = Adam(beta1=betas[0], beta2=betas[1], epsilon=eps, **common)
        elif optimizer == "adamw":
            self.optimizer = AdamW(beta1=betas[0], beta2=betas[1], epsilon=eps, **common)
        else:
            raise ValueError(f"optimizer is 'sgd', 'adam' or 'adamw', found '{optimizer}'")

    def losses(self, outputs: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy of each classifier, and ``loss``, their weighted sum.

        Args:
            outputs: logits, each ``(N, classes)``.
            labels: ``(N,)`` int64.
        """
        out, out1, out2 = (F.cross_entropy(logits, labels) for logits in outputs)
        return {"loss": out + self.auxiliary_weight * (out1 + out2), "out": out, "out1": out1, "out2": out2}

    def step(self, image: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Learn from one batch; returns its losses before the step.

        Args:
            image: ``(N, 3, H, W)``.
            labels: ``(N,)`` int64.
        """
        self.model.train()
        losses = self.losses(self.model(image), labels)
        losses["loss"].backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.scheduler.step()
        return {name: loss.detach() for name, loss in losses.items()}


class OneHead(Training):
    """The training of a classifier that returns its logits alone."""

    def losses(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(outputs, labels)}


def _factor(schedule: str, steps: int, warmup: int, step_size: int, gamma: float) -> Callable[[int], float]:
    """Return what the learning rate is multiplied with at each step."""
    if schedule not in ("constant", "cosine", "step"):
        raise ValueError(f"schedule is 'constant', 'cosine' or 'step', found '{schedule}'")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))
        return gamma ** ((step - warmup) // step_size) if schedule == "step" else 1.0

    return factor
