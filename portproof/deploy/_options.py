"""What ``deploy`` is asked for, and which runners that makes candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portproof._errors import BadInput, Unavailable
from portproof.agree._prepare import AgreeOptions
from portproof.bench._recommend import Slo
from portproof.bench._result import Suite
from portproof.ports._port import Port
from portproof.runners import runners

#: Images where no loss is asked for: 0 lost of them is a bound of 0.6%.
_PLAIN_COUNT = 500
#: Where a loss is asked for, so many times the images that would do if none of them were lost: one may be, then.
_ROOM = 2
CONFIDENCE = 0.95


@dataclass(frozen=True)
class DeployOptions:
    """What ``deploy`` is asked for.

    Attributes:
        images: a folder, a list or tar shards; see :class:`portproof.agree._images.Images`.
        runners: candidates, ``name:setting=value``; none for every runner that fits the port and the device.
        labels: file of classes by image, or ``"folders"``; None compares answers with the float64 run's.
        weights: a checkpoint; None for sensitised weights.
        at_most_loss: rate of images that may be lost, None to allow float32 alone.
        slo: what the latency must keep.
        count: images to draw; None for as many as the question needs, see :attr:`images_drawn`.
        batch: rows in a timed request.
        budget_s: seconds for all of it.
        output: whose classes are compared, None for the port's first.
        device: ``"cpu"`` or ``"cuda"``.
        store: folder or URL that keeps agreements, None for the user's cache.
        seed: of sensitised weights, and of which images are drawn.
        kwargs: for both factories, over the port's own.

    Raises:
        BadInput: a number is none that can be.
    """

    images: str
    runners: tuple[str, ...] = ()
    labels: Path | str | None = None
    weights: Path | None = None
    at_most_loss: float | None = None
    slo: Slo | None = None
    count: int | None = None
    batch: int = 1
    budget_s: float = 840.0
    output: str | None = None
    device: str = "cpu"
    store: str | None = None
    seed: int = 0
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.at_most_loss is not None and not 0 < self.at_most_loss < 1:
            raise BadInput(
                f"--at-most-loss takes more than 0% and less than 100%, found {self.at_most_loss:.4g}: that nothing at "
                "all is lost no number of images shows; leave it out for float32 alone."
            )
        if not 0 < self.budget_s < math.inf:
            raise BadInput(f"--budget takes a time such as 10m, found {self.budget_s:g} s.")

    @property
    def images_drawn(self) -> int:
        """How many images are drawn. It depends on the question alone, so that two runs draw the same."""
        if self.count is not None:
            return self.count
        return (
            _PLAIN_COUNT if self.at_most_loss is None else max(_PLAIN_COUNT, _ROOM * images_needed(self.at_most_loss))
        )

    def agreement(self, names: tuple[str, ...], *, calibrates: bool = False) -> AgreeOptions:
        """Return what ``agree`` is asked for; ``calibrates``: others of the candidates are calibrated."""
        return AgreeOptions(
            images=self.images, runners=names, count=self.images_drawn, labels=self.labels, weights=self.weights,
            output=self.output, store=self.store, device=self.device, seed=self.seed, kwargs=self.kwargs,
            calibrates=calibrates,
        )  # fmt: skip

    def suite(self, port: str, names: tuple[str, ...], **more: Any) -> Suite:
        """Return what ``bench`` is asked for."""
        weights = None if self.weights is None else str(self.weights)
        return Suite(
            port, names, (self.batch,), device=self.device, kwargs=dict(self.kwargs), weights=weights, **more
        )  # fmt: skip


def images_needed(limit: float) -> int:
    """Return how many images bound a loss by a limit where none of them is lost: Clopper and Pearson's bound at 0."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-limit))


def candidates(port: Port, options: DeployOptions) -> tuple[str, ...]:
    """Return the names of the runners that are measured: those asked for, or all that fit, each as it comes.

    Raises:
        Unavailable: none fits.
    """
    if options.runners:
        return options.runners
    found = tuple(
        info.name for info in runners().values()
        if info.side in port.sides and not port.artefact(info.side) and options.device in info.devices
        and "single" in info.scenarios and info.name != "paddle-program"  # nobody deploys the framework's own
    )  # fmt: skip
    if not found:
        raise Unavailable(f"no runner of port '{port.name}' runs on {options.device}; name some with --runners.")
    return found
