"""What ``agree`` finds, as values; the same bytes whatever the order, the number of workers or restarts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from portproof._disk import finite
from portproof.graphs._lowered import QUANTISED
from portproof.judge._report import EXIT_CODES, Verdict, gravest

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Rate:
    """How often the leading classes agree.

    Attributes:
        same: images on which they do.
        ties: on which they do not, by no more than both may honestly be off.
        flips: on which they do not.
        low, high: between which the rate of flips lies, each end with 95% confidence (Clopper and Pearson).
        high_with_ties: the upper end if ties are counted as flips.
    """

    same: int
    ties: int
    flips: int
    low: float
    high: float
    high_with_ties: float


@dataclass(frozen=True)
class Cost:
    """What running the model in this way costs, counted on images.

    Attributes:
        lost: images that the oracle has right and the runner wrong; without labels, whose class is another one.
        gained: the reverse; 0 without labels.
        images: of which these are.
        high: the rate of ``lost`` is below this with 95% confidence (Clopper and Pearson), and so is the drop in
            accuracy, which is that of ``lost`` less that of ``gained``.
    """

    lost: int
    gained: int
    images: int
    high: float

    @property
    def drop(self) -> float:
        """The share of the images that is lost on balance: the drop in accuracy."""
        return (self.lost - self.gained) / self.images if self.images else 0.0


@dataclass(frozen=True)
class Looked:
    """An image worth a look.

    Attributes:
        number: in the data set, from 0.
        name: of the image.
        ratio: error of its scores, in noise floors.
        margin: of the oracle's class over the runner's, in noise floors; 0 where they agree.
        expected, found: classes of the oracle and of the runner.
    """

    number: int
    name: str
    ratio: float
    margin: float
    expected: int
    found: int


@dataclass(frozen=True)
class RunnerAgreement:
    """One runner against the oracle.

    Attributes:
        name: of the runner, with settings.
        title: for people.
        precision: that it ran in.
        verdict: of its scores, image by image.
        top1, top5: agreement of the first class, and of the leading five as a set.
        ratios: error of the scores in noise floors: quantiles ``p50``, ``p90``, ``p99``, ``p99.9`` to one percent, and
            the largest as ``max``.
        beyond: images whose scores differ by more than honest rounding makes.
        accuracy, accuracy5: share of the labelled images that it has right; None without labels.
        worst: images with the largest ratios.
        flips: images whose class flips, those with the widest margins.
        changed: images whose first class is another one, though the oracle holds the two farther apart than float32
            may honestly be off: whatever the runner's own precision, a user sees another answer.
        accuracy_cost: the labelled images that it costs; None without labels.
    """

    name: str
    title: str
    precision: str
    verdict: Verdict
    top1: Rate
    top5: Rate
    ratios: dict[str, float]
    beyond: int
    accuracy: float | None
    accuracy5: float | None
    worst: tuple[Looked, ...]
    flips: tuple[Looked, ...]
    changed: Cost
    accuracy_cost: Cost | None


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be decoded.

    Attributes:
        number, name: of the image.
        reason: why.
    """

    number: int
    name: str
    reason: str


@dataclass(frozen=True)
class Agreement:
    """What a data set showed.

    Attributes:
        port: its name.
        verdict: of all runners.
        oracle: whose float64 scores the others are held against.
        output: whose classes are compared.
        weights: ``sensitised``, ``given (file)`` or ``factory``.
        images: compared.
        unreadable: images that could not be decoded, the first of them by name.
        unreadable_count: how many.
        fingerprint: hash of every image, by its place.
        classes: scores of an image.
        labelled: images with a label.
        accuracy, accuracy5: of the oracle.
        floor: of the scores, relative to ``scale``; measured in float32 on the first ``measured`` images.
        scale: root mean square of the scores on them.
        measured: images.
        tie: the margin, in floors, within which a flip is a tie.
        runners: one each.
        at_most: rate of flips of the first class that was asked for.
        notes: what a person should know.
        environment: instruction sets, package versions, batch and threads: what the scores depend on.
        drawn_from: images that there are, of which those compared were drawn; None where all were taken.
    """

    port: str
    verdict: Verdict
    oracle: str
    output: str
    weights: str
    images: int
    unreadable: tuple[Unreadable, ...]
    unreadable_count: int
    fingerprint: str
    classes: int
    labelled: int
    accuracy: float | None
    accuracy5: float | None
    floor: float
    scale: float
    measured: int
    tie: float
    runners: tuple[RunnerAgreement, ...]
    at_most: float | None
    notes: tuple[str, ...]
    environment: dict[str, Any]
    drawn_from: int | None = None

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 where it holds; 1 a runner differs, or flips more than was allowed; 2 images could not be read; 3 open."""
        code = EXIT_CODES[self.verdict]
        rates = [runner.top1 for runner in self.runners]
        if code == 1 or (self.at_most is not None and any(rate.low > self.at_most for rate in rates)):
            return 1
        if code:
            return code
        if self.unreadable_count:
            return 2
        return 3 if self.at_most is not None and any(rate.high > self.at_most for rate in rates) else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document, with null for what is no number."""
        document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        cleaned: dict[str, Any] = finite(document)
        return cleaned


def whole_verdict(runners: tuple[RunnerAgreement, ...]) -> Verdict:
    """Return the verdict of a run: of what can be judged in it."""
    judged = [runner.verdict for runner in runners if runner.precision not in QUANTISED]
    return gravest(judged or ["inconclusive"])
