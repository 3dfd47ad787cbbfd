"""What a training is asked for, who hears of it, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from portproof._disk import finite
from portproof._errors import BadInput
from portproof.ports._port import SIDES
from portproof.training._learner import DROPOUTS

Rows = list[dict[str, Any]]


class TrainProgress(Protocol):
    """Hears of a training as it goes."""

    def doing(self, side: str, what: str) -> None:
        """Say what a side does that is no step."""

    def steps(self, side: str, rows: Rows, done: int, total: int) -> None:
        """Hear of steps that were made."""

    def tested(self, side: str, row: Mapping[str, Any]) -> None:
        """Hear of a test."""


@dataclass(frozen=True)
class TrainOptions:
    """What ``train`` is asked for.

    Attributes:
        data: name of a data set, or a folder.
        out: folder for what is kept, a folder a side in it.
        side: ``"paddle"``, ``"torch"`` or ``"both"``.
        epochs: how often each image is seen.
        batch: images a step.
        seed: of all that chance decides.
        start: ``"normalised"`` weights, the ``"factory"``'s own, a checkpoint, or a training of either side.
        resume: go on where the folder's trainings were left.
        augment, mirror: cut images, and mirror them, at random.
        dropout: ``"shared"``, ``"own"`` or ``"off"``.
        settings: of the port's training.
        kwargs: of both factories, over the port's own.
        keep_every: seconds between two writings of what is kept.
        threads: compute threads of each side; None shares the machine among them.
        device: ``"cpu"`` or ``"cuda"``.
        agree: whether the trained weights are carried to the other side and to both exports, to see the same there.
    """

    data: str
    out: Path
    side: str = "both"
    epochs: float = 5
    batch: int = 16
    seed: int = 0
    start: str = "normalised"
    resume: bool = False
    augment: bool = True
    mirror: bool = False
    dropout: str = "shared"
    settings: Mapping[str, Any] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    keep_every: float = 60.0
    threads: int | None = None
    device: str = "cpu"
    agree: bool = True

    def __post_init__(self) -> None:
        if self.side not in (*SIDES, "both"):
            raise BadInput(f"--side takes torch, paddle or both, found '{self.side}'.")
        if self.dropout not in DROPOUTS:
            raise BadInput(f"--dropout takes {', '.join(DROPOUTS)}, found '{self.dropout}'.")
        if self.mirror and not self.augment:
            raise BadInput("--mirror and --no-augment exclude each other.")
        if not 0 < self.epochs < 1e6:
            raise BadInput(f"--epochs takes a number above 0, found {self.epochs}.")


@dataclass(frozen=True)
class TrainAgreement:
    """What other runners say of the test images with one side's trained weights.

    Attributes:
        weights: the side that trained them.
        runner: who says it.
        images: how many.
        differing: output to how many images it names otherwise than the side that trained.
        accuracy: output to the share that is right.
    """

    weights: str
    runner: str
    images: int
    differing: Mapping[str, int]
    accuracy: Mapping[str, float]


@dataclass(frozen=True)
class Trained:
    """The result of ``train``.

    Attributes:
        port, data: names.
        recipe: per side what it followed.
        tests: per side its last test: output to accuracy.
        seconds: per side the time of all steps that stand in its log.
        same_bytes: whether both sides saw the same batches; None with one side.
        agreements: of the trained weights.
        unavailable: why nobody could be asked whether they agree; None where they were, or were not to be.
        files: what was written.
        environment: of this machine.
    """

    port: str
    data: str
    recipe: Mapping[str, Any]
    tests: Mapping[str, Mapping[str, Any]]
    seconds: Mapping[str, float]
    same_bytes: bool | None
    agreements: tuple[TrainAgreement, ...]
    unavailable: str | None
    files: tuple[str, ...]
    environment: Mapping[str, Any]

    @property
    def exit_code(self) -> int:
        """0 where everything agrees, 1 where it does not, 4 where nobody could be asked."""
        apart = self.same_bytes is False or any(n for found in self.agreements for n in found.differing.values())
        return 1 if apart else 4 if self.unavailable else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``train --json``."""
        cleaned: dict[str, Any] = finite({"schema_version": 1, **asdict(self)})
        return cleaned
