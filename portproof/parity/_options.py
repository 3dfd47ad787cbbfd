"""What ``verify`` is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.ports._inputs import require_images
from portproof.ports._port import Port
from portproof.runners._choice import parse

LOWER_PRECISIONS = ("bfloat16", "float16")


@dataclass(frozen=True)
class Options:
    """What ``verify`` is asked for.

    Attributes:
        weights: a checkpoint to judge the port on, beside sensitised weights.
        images: folder of photographs in place of the packaged ones.
        module: path of the part that is judged, "" for all.
        quick: without exports, planted faults and batch checks: for the edit loop.
        modules: whether to replay module by module and plant faults; without, a divergence has no culprit.
        seed: of weights and probes.
        device: ``"cpu"`` or ``"cuda"``.
        kwargs: for both factories, over the port's own.
        threads: compute threads of each process; None shares the machine among the sides.
        precisions: lower ones that each side is judged in too, where it can run: ``bfloat16``, ``float16``.
        runners: others to judge too, ``name:setting=value``.
        gradients: judge the backward pass too.
        steps: of a training of both sides, compared one by one; 0 for none.
        training: settings of the port's training.
        strict: another function that reaches no output here is a fault, too.
        pictures: also what a page shows: distributions of every module, and the network as a graph.
        find_map: look for the weight map where names do not fit and the port has none, and where the port's fails.
        blockwise: hold one module in memory at a time, its weights read from ``weights``: for models too large.
        rows: input name to array, ``(n, …)``: the first rows that the port is judged on, before those that are made.
        lines: where the two models are two functions, look for the lines of their forwards where they part.
        same_weights: both models must hold the same weights, too, as they are built.
        cache: take from the store what has been answered before, of a port that was found by name.
    """

    weights: Path | None = None
    images: Path | None = None
    module: str = ""
    quick: bool = False
    modules: bool = True
    seed: int = 0
    device: str = "cpu"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    precisions: tuple[str, ...] = ()
    runners: tuple[str, ...] = ()
    blockwise: bool = False
    find_map: bool = True
    gradients: bool = False
    steps: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    pictures: bool = False
    rows: Mapping[str, Array] = field(default_factory=dict)
    lines: bool = True
    same_weights: bool = False
    cache: bool = True

    def __post_init__(self) -> None:
        for precision in self.precisions:
            if precision not in LOWER_PRECISIONS:
                known = " or ".join(LOWER_PRECISIONS)
                raise BadInput(f"precision is {known}, found '{precision}'; float64 and float32 are always judged.")
        for name in self.runners:
            parse(name)

    def require_possible(self, port: Port) -> None:
        """Stop where a port cannot be judged so.

        Raises:
            BadInput: it has not the models for it, or two options exclude each other.
        """
        models = [side for side in port.sides if not port.artefact(side)]
        if not models and (self.weights or self.module or self.quick):
            raise BadInput(f"port '{port.name}' is made of files: leave out --weights, --module and --quick.")
        if (self.gradients or self.steps) and (len(models) < 2 or self.blockwise):
            raise BadInput("--gradients and --steps compare two models; this port has one, or is judged --blockwise.")
        if self.steps:
            from portproof.training._learner import require_training

            require_training(port)
        require_images(port, self.images)
        if self.blockwise and self.weights is None:
            raise BadInput("--blockwise reads weights from disk: give them with --weights FILE.")
        if self.blockwise and self.module:
            raise BadInput("--blockwise judges every module by itself; leave --module out.")
        if self.blockwise and len(models) < 2:
            raise BadInput(f"--blockwise compares two models; port '{port.name}' has not two.")
