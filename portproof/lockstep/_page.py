"""Faults that were planted into a training, as one page."""

from __future__ import annotations

from portproof.lockstep._campaign import TrainingFaults
from portproof.ports._port import SIDES, Side
from portproof.render._layout import rendered


def page(found: TrainingFaults) -> str:
    """Return the page: what was missed, or not named, first."""
    rows = sorted(found.planted, key=lambda planted: planted.caught and planted.named)
    return rendered(
        "training_faults",
        found=found, headline=headline(found), rows=rows, titles={side: Side(side).title for side in SIDES},
        wanting=sum(not (planted.caught and planted.named) for planted in rows),
    )  # fmt: skip


def headline(found: TrainingFaults) -> str:
    """Say in one line what was seen."""
    count = len(found.planted)
    wanting = [planted for planted in found.planted if not (planted.caught and planted.named)]
    if wanting:
        return f"{found.port}: {len(wanting)} of {count} faults planted into its training were not named"
    return f"{found.port}: all {count} faults planted into its training were caught at once and named"
