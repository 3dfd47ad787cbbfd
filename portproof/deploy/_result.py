"""What ``deploy`` finds, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from portproof._disk import finite
from portproof.agree._result import Cost
from portproof.bench._stats import Change
from portproof.judge._report import HOLDS

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Latency:
    """How long a request takes.

    Attributes:
        median_ms: of the processes' medians.
        low_ms, high_ms: between which their mean lies with 95% confidence; None where there are too few processes.
        p90_ms, p99_ms: where the samples support them.
        rounds: processes, one a round.
    """

    median_ms: float
    low_ms: float | None
    high_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    rounds: int


@dataclass(frozen=True)
class Candidate:
    """A runner that could be deployed, or why it has no number.

    Attributes:
        runner: as it is named on the command line.
        title: for people.
        side, precision: of the runner.
        verdict: of the parity engine on what was timed, before and after, and of its scores on the images; ``refuted``
            where it did not run as it was asked to, ``unavailable`` where it did not run or was left out.
        reason: why there is no number.
        latency: of a request.
        cost: what it loses on the images.
        peak_memory: bytes that its process held at most, the median over processes.
        file_bytes: of the files that it loads.
        start_s: from a process's start to its first result, the median over processes.
        place: ``frontier`` where no other is as fast, loses as little and holds as little; ``dominated``; "" without a
            number.
        beaten_by: a runner that is better or equal in all three.
        allowed: whether its loss and latency are known to be within what was asked for.
    """

    runner: str
    title: str
    side: str
    precision: str
    verdict: str
    reason: str | None = None
    latency: Latency | None = None
    cost: Cost | None = None
    peak_memory: int | None = None
    file_bytes: int | None = None
    start_s: float | None = None
    place: Literal["frontier", "dominated", ""] = ""
    beaten_by: str | None = None
    allowed: bool = False

    @property
    def has_number(self) -> bool:
        """Whether all of its axes were measured: it is faithful, and nothing stood in the way."""
        return self.verdict in (*HOLDS, "measured") and self.latency is not None and self.cost is not None


@dataclass(frozen=True)
class Neighbour:
    """A runner beside which the recommended one was measured again, process by process in turn.

    Attributes:
        runner: of it.
        allowed: whether it could have been recommended.
        change: of it against the recommended one.
        ratio: how many times as long as the recommended one it takes.
        low, high: of the 95% interval of that.
        before: the same from the first measurement; None where it has no pairs.
    """

    runner: str
    allowed: bool
    change: Change
    ratio: float
    low: float
    high: float
    before: float | None


@dataclass(frozen=True)
class Held:
    """The recommended runner, measured once more.

    Attributes:
        holds: whether no neighbour that is allowed is faster beyond doubt, and it still passes parity.
        median_ms: of it; None where it has no number any more.
        pairs: of fresh processes, next to each other.
        neighbours: that it was measured beside; on the frontier, and the next that is allowed.
    """

    holds: bool
    median_ms: float | None
    pairs: int
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Attributes:
        at_most_loss: rate of images that may be lost; None for float32 alone.
        slo: such as ``p99=30ms``.
        budget_s: seconds for all of it.
        batch: rows in a request.
        device: ``cpu`` or ``cuda``.
        threads: of a process that is timed.
    """

    at_most_loss: float | None
    slo: str | None
    budget_s: float
    batch: int
    device: str
    threads: int


@dataclass(frozen=True)
class Seen:
    """The images that losses were counted on.

    Attributes:
        images: compared.
        drawn_from: of so many; None where all were taken.
        fingerprint: of every image, by its place.
        labelled: images with a label: a loss is an image that the float64 run has right and the runner wrong. Without
            any, it is one whose class is another than the float64 run's by more than float32's rounding explains.
        accuracy: of the float64 run.
        oracle: whose it is.
        output: whose classes are compared.
        weights: ``sensitised``, ``given (file)`` or ``factory``.
    """

    images: int
    drawn_from: int | None
    fingerprint: str
    labelled: int
    accuracy: float | None
    oracle: str
    output: str
    weights: str


@dataclass(frozen=True)
class Deployment:
    """What to deploy.

    Attributes:
        port: its name.
        asked: what for.
        seen: the images; None where no runner came so far.
        candidates: the frontier, fastest first, then those that are dominated, then those without a number.
        recommended: the runner to deploy; None where none is known to be within what was asked for.
        why: in words, a sentence each.
        remedy: what to do where none is, or where one did not hold.
        undecided: whether more images or samples could decide.
        held: the recommended one, measured again.
        notes: what a person should know.
        seconds: where the time went: ``prepare``, ``agreement``, ``rounds``, ``again``, ``wall``.
        environment: versions and host.
    """

    port: str
    asked: Asked
    seen: Seen | None
    candidates: tuple[Candidate, ...]
    recommended: str | None
    why: tuple[str, ...]
    remedy: tuple[str, ...]
    undecided: bool
    held: Held | None
    notes: tuple[str, ...]
    seconds: dict[str, float]
    environment: dict[str, Any]

    @property
    def choice(self) -> Candidate | None:
        """The recommended candidate."""
        return next((one for one in self.candidates if one.runner == self.recommended), None)

    @property
    def exit_code(self) -> int:
        """0: one is recommended, and held; 1: none is within what was asked for; 3: undecided; 4: nothing ran."""
        if self.recommended is not None:
            return 0 if self.held is None or self.held.holds else 3
        if not any(one.has_number for one in self.candidates):
            verdicts = {one.verdict for one in self.candidates}
            return 1 if verdicts & {"divergent", "refuted"} else 3 if "inconclusive" in verdicts else 4
        return 3 if self.undecided else 1

    def to_json(self) -> dict[str, Any]:
        """Return the document, with null for what is no number."""
        cleaned: dict[str, Any] = finite({"schema_version": SCHEMA_VERSION, **asdict(self)})
        return cleaned
