"""What a data set will take: arithmetic on what a small part of it took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from portproof._disk import Count, Measured, Seconds, as_kind, read_json, several, within
from portproof._errors import BadInput
from portproof.agree._judge import TOP
from portproof.agree._prepare import AgreeOptions
from portproof.agree._result import Agreement
from portproof.agree._run import AgreeProgress

COSTS_VERSION = 1
#: Bytes that the store keeps of an image: for each runner two errors, two margins and the leading classes, and for the
#: oracle every score in float64.
_KEPT_A_RUNNER, _KEPT_A_SCORE = 4 * 8 + 4 * TOP, 8


@dataclass(frozen=True)
class Costs:
    """What a run took, an image or a unit.

    Attributes:
        port, processor: that were measured.
        images, unit: of the run.
        threads: of each runner.
        runners: seconds of computing an image, by runner; the oracle is among them.
        read_s, decode_s: seconds an image.
        image_bytes: mean size of an image.
        classes: scores of an image.
        start_s: before the first unit was done.
        driver_s: processor time of the scheduler and of the process that counts, a unit.
    """

    port: str
    processor: str
    images: Count
    unit: Annotated[int, within(1, 2**31)]
    threads: Annotated[int, within(1, 2**31)]
    runners: Annotated[dict[str, Seconds], several]
    read_s: Seconds
    decode_s: Seconds
    image_bytes: Measured
    classes: Count
    start_s: Seconds
    driver_s: Seconds

    @property
    def image_s(self) -> float:
        """Seconds of a worker for one image."""
        return sum(self.runners.values()) + self.read_s + self.decode_s

    @property
    def kept_bytes(self) -> int:
        """Bytes of one image in the store."""
        return self.classes * _KEPT_A_SCORE + (len(self.runners) - 1) * _KEPT_A_RUNNER


def costs_of(found: Agreement, progress: AgreeProgress, options: AgreeOptions) -> dict[str, Any]:
    """Return what a run took, as JSON.

    Raises:
        BadInput: it computed nothing anew, so that there is nothing to measure.
    """
    names = ["oracle", *(runner.name for runner in found.runners)]
    if progress.found or not all(progress.seconds.get(name) for name in names):
        raise BadInput("--costs: results were found in the store and cost nothing; measure with an empty --store.")
    each = {name: progress.seconds[name] / found.images for name in names}
    return {"schema_version": COSTS_VERSION, **asdict(Costs(
        found.port, found.environment["processor"], found.images, options.unit, options.threads, each,
        progress.seconds["read"] / found.images, progress.seconds["decode"] / found.images,
        progress.weight / found.images, found.classes, progress.start_s, progress.driver_s / progress.units,
    ))}  # fmt: skip


def read_costs(path: Path) -> Costs:
    """Read what :func:`costs_of` returned.

    Raises:
        BadInput: the file is something else.
    """
    document = read_json(path, "no costs", "portproof agree PORT --images WHERE --costs")
    version = document.pop("schema_version", None) if isinstance(document, dict) else None
    if version != COSTS_VERSION:
        raise BadInput(f"'{path}' has costs of version {version}, expected {COSTS_VERSION}; measure again.")
    try:
        return as_kind(Costs, document)
    except ValueError as error:
        raise BadInput(f"'{path}' holds no costs ({error}); `portproof agree --costs FILE` writes them.") from error


@dataclass(frozen=True)
class PlanRow:
    """What one data set takes over so many workers.

    Attributes:
        images, workers: of the plan.
        wall_s: from start to end.
        bottleneck: what the others wait for: ``compute``, ``read`` or ``schedule``.
        parts_s: what each of them would take alone.
        core_hours: of the workers.
        price: of them.
        kept_bytes: in the store.
    """

    images: int
    workers: int
    wall_s: float
    bottleneck: str
    parts_s: dict[str, float]
    core_hours: float
    price: float
    kept_bytes: int


def plan_of(
    costs: Costs, images: Sequence[int], workers: Sequence[int], unit: int, bandwidth: int, price: float
) -> list[PlanRow]:
    """Return a plan for each number of images and workers.

    Args:
        costs: measured.
        images, workers: how many.
        unit: images in a work unit.
        bandwidth: bytes a second that all workers together read images with.
        price: of a worker's hour.
    """
    if min(*images, *workers) < 1:
        raise BadInput("--images and --workers take numbers from 1 on.")
    plans = []
    for count in images:
        units = math.ceil(count / unit)
        for crew in workers:
            parts = {
                "compute": math.ceil(units / crew) * unit * costs.image_s,
                "read": count * costs.image_bytes / bandwidth,
                "schedule": units * costs.driver_s,
            }
            bottleneck = max(parts, key=lambda name: parts[name])
            wall = costs.start_s + parts[bottleneck]
            hours = crew * costs.threads * wall / 3600
            plans.append(PlanRow(
                count, crew, wall, bottleneck, parts, hours, crew * wall / 3600 * price, count * costs.kept_bytes
            ))  # fmt: skip
    return plans
