"""What one step of a check found."""

from __future__ import annotations

from dataclasses import dataclass, field

from portproof.judge._report import Culprit, Deviation, Hop


@dataclass(frozen=True)
class Found:
    """What a step returns; whoever asked for the step adds it to the rest.

    Attributes:
        hops, culprits, deviations: see :class:`portproof.judge._report.Report`.
        notes: for a person.
    """

    hops: list[Hop] = field(default_factory=list)
    culprits: list[Culprit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)
