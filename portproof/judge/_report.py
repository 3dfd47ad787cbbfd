"""Results: what was judged, hop by hop, as values that can be printed, kept as JSON, and asked whether they hold."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from portproof._disk import finite
from portproof.judge._shown import shows

Verdict = Literal["identical", "equivalent", "divergent", "inconclusive", "unavailable"]

#: Raised when a field changes its meaning or disappears; ``docs/schema`` describes it.
SCHEMA_VERSION = 1

EXIT_CODES: dict[str, int] = {"identical": 0, "equivalent": 0, "divergent": 1, "inconclusive": 3, "unavailable": 4}

#: The verdicts under which a port is right. Which of the two it is may depend on the processor: where both sides choose
#: the same kernels they round alike.
HOLDS: tuple[Verdict, ...] = ("identical", "equivalent")

#: From the one that settles a whole report to the one that settles nothing.
_GRAVITY: tuple[Verdict, ...] = ("divergent", "unavailable", "inconclusive", "equivalent", "identical")


def gravest(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict of a whole from those of its parts; ``unavailable`` where there are none."""
    return min(verdicts, key=_GRAVITY.index) if verdicts else "unavailable"


@dataclass(frozen=True)
class Worst:
    """The tensor of a hop that lies farthest out.

    Attributes:
        tensor: output name.
        ratio: its error in noise floors; decides. None where it cannot be counted (another shape, NaN elsewhere).
        max_abs, max_rel, max_ulp, cosine, scale: for people; see ``portproof._numbers.Difference``.
        floor: the noise floor, relative to the tensor's scale.
        note: why the tensor is more than a number away, or why it could not have shown a fault.
    """

    tensor: str
    ratio: float | None
    max_abs: float | None
    max_rel: float | None
    max_ulp: float | None
    cosine: float | None = None
    scale: float | None = None
    floor: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Modules:
    """What the module-by-module replay covered.

    Attributes:
        judged: tensors compared.
        worst_module, worst_ratio: the paired module that lies farthest out.
        unseen: paths on either side that no module of the other side was paired with, or that were never called.
        blind: modules whose taps are constant over the inputs, so that they could not have shown a fault.
        recut: modules that are the same function although their parts are not, "" for the whole model.
        organised: what in them is organised otherwise, a line for modules that differ alike.
        first_divergence: where something diverges, the first module whose output differs end to end, nothing forced.
    """

    judged: int
    worst_module: str
    worst_ratio: float | None
    unseen: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    first_divergence: str | None = None
    recut: tuple[str, ...] = ()
    organised: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hop:
    """One step of the chain.

    Attributes:
        kind: ``semantics``, ``numerics``, ``batch``, ``graph`` (an export interpreted in float64), ``export`` (run as
            it is written), ``runtime`` (as the runtime rewrites it), ``gradients`` or ``training``.
        source, target: what is compared with what (``from`` and ``to`` in JSON).
        precision: of ``target``.
        weights: ``sensitised``, ``given`` or ``factory``.
        verdict: of the hop.
        worst: None where it did not run.
        reason: for ``unavailable`` and ``inconclusive``.
        modules: in a lower precision, what its own replay module by module covered.
    """

    kind: str
    source: str
    target: str
    precision: str
    weights: str
    verdict: Verdict
    worst: Worst | None = None
    reason: str | None = None
    modules: Modules | None = None


#: How a cause begins that is only another order.
SAME_VALUES = "the same values"


@dataclass(frozen=True)
class Source:
    """Where a module's code stands.

    Attributes:
        side: ``"paddle"`` or ``"torch"``.
        file, line: of its ``forward``, or of its class where that has none of its own.
        name: of the class.
    """

    side: str
    file: str
    line: int
    name: str


@dataclass(frozen=True)
class Line:
    """An expression in a forward's own code.

    Attributes:
        side: ``"paddle"`` or ``"torch"``.
        file, line: where it begins.
        text: the expression.
    """

    side: str
    file: str
    line: int
    text: str


@dataclass(frozen=True)
class LinePair:
    """Where two forwards part, line beside line.

    Attributes:
        paddle, torch: the likeliest first, others of the smallest region that explains the outputs after it; none where
            a side has no code of its own there.
        confirmed: with torch's value carried over into Paddle's run there, every output agrees, and it can be no line
            before or after; else it is likely.
        said: what differs between the two; "" where nothing can be said.
        calls: how often Paddle's line runs.
    """

    paddle: tuple[Line, ...]
    torch: tuple[Line, ...]
    confirmed: bool
    said: str = ""
    calls: int = 1


@dataclass(frozen=True)
class Culprit:
    """A place where a fault enters.

    Attributes:
        side: ``"paddle"``, ``"torch"``, or ``"unknown"`` where the two differ and nothing says who is wrong.
        module: path, by torch's name where the paths differ; "" for the root.
        kind: ``computes`` (another output on the same input), ``saturates`` (only on a larger one), ``wiring`` (hands
            its parts another input), ``signature`` (takes or returns tensors of another number or shape), ``raises``,
            ``weights`` (a tensor without an equal), ``setting`` (built otherwise in a way that acts in training
            only), ``graph`` (two files differ here, node by node), ``export`` (the exporter's nodes compute something
            else), ``runtime`` (the runtime does, or its optimiser), ``precision`` (computes in less than the run's
            precision), ``unsteady`` (two runs on the same rows differ), ``training`` (the two trainings part, and why)
            or ``accepted`` (a stale acceptance).
        direction: ``forward`` or ``backward``.
        message: what differs, for people.
        ratio: in noise floors, None where it cannot be counted.
        cause: the part of the message that says why, where that is known; culprits that share one are one finding.
        sources: the code of the module on each side, or of the nearest around it that no framework brought.
        lines: of its forward, or of one inside it, where the two sides part.
        origins: lines of the model that the nodes which are named were exported from, or that build a module whose
            settings differ.
    """

    side: str
    module: str
    kind: str
    direction: str
    message: str
    ratio: float | None = None
    cause: str = ""
    sources: tuple[Source, ...] = ()
    lines: tuple[LinePair, ...] = ()
    origins: tuple[Line, ...] = ()


@dataclass(frozen=True)
class ModulePicture:
    """What a module's first output looks like on both sides; made where a page is asked for.

    Attributes:
        low, high: range of the values.
        leader, follower: counts over that range, of the side whose float64 run is the oracle and of the other.
        decades: counts of the difference, relative to the tensor's scale, from 1e-18 to 1e2, one a decade.
        equal: values without any difference.
        count: values looked at.
        channels: root mean square of the difference along the channels, relative to the tensor's scale; neighbours are
            pooled where there are many.
        axis, channel_count: which axis that is, and how long.
    """

    low: float
    high: float
    leader: tuple[int, ...]
    follower: tuple[int, ...]
    decades: tuple[int, ...]
    equal: int
    count: int
    channels: tuple[float, ...] = ()
    axis: int = 1
    channel_count: int = 0


@dataclass(frozen=True)
class ModuleDetail:
    """One paired module on the other side's input.

    Attributes:
        module, paddle: its path on each side.
        layer: its type, by torch's name.
        ratio: what it returns in noise floors; None where it cannot be counted.
        rms, scale: of the difference, relative to the tensor's scale, and that scale.
        note: how it differs, where that is no number.
        picture: None where no page is asked for.
    """

    module: str
    paddle: str
    layer: str
    ratio: float | None
    rms: float | None
    scale: float | None
    note: str | None = None
    picture: ModulePicture | None = None


@dataclass(frozen=True)
class PlantedFault:
    """A fault that was planted to see what the check sees.

    Attributes:
        title: what it was.
        modules: where, by torch's paths.
        named: the modules that the check named.
        effective: whether it had an effect at all under these weights and inputs.
    """

    title: str
    modules: tuple[str, ...]
    named: tuple[str, ...]
    effective: bool


@dataclass(frozen=True)
class Sight:
    """What the check would have seen: deliberate faults put into a right port.

    Attributes:
        planted: faults that had an effect on the planted side alone.
        caught: of these.
        located: of these, named by exactly their modules.
        missed: those that were not caught.
        without_effect: faults that these weights and inputs hide even from the planted side, and why.
        weights: label of the weights.
        faults: each of them.
    """

    planted: int
    caught: int
    located: int
    missed: tuple[str, ...] = ()
    without_effect: tuple[str, ...] = ()
    weights: str = "sensitised"
    faults: tuple[PlantedFault, ...] = ()


@dataclass(frozen=True)
class AcceptedDeviation:
    """An accepted deviation as it was met. ``stale`` where it no longer occurs, which fails the run."""

    module: str
    reason: str
    bound: float
    found: float
    stale: bool


@dataclass(frozen=True)
class Deviation:
    """Something that a framework is known to do otherwise, as it was met; with it taken into account, nothing is left.

    Attributes:
        module: where.
        layer: its type.
        direction: ``forward`` or ``backward``.
        size: root mean square, relative to the tensor's scale, before the cause was taken into account.
        rest: what is left after that, in noise floors.
        cause: in words.
    """

    module: str
    layer: str
    direction: str
    size: float
    rest: float
    cause: str


@dataclass(frozen=True)
class Kept:
    """What a side's process was spared, since it was answered from the store of earlier runs.

    Attributes:
        taken: tasks that were answered from it.
        asked: tasks that were run.
        why_not: why what was run is not kept for later; "" for no reason.
    """

    taken: tuple[str, ...]
    asked: tuple[str, ...]
    why_not: str = ""


@dataclass(frozen=True, repr=False)
class Report:
    """The outcome of :func:`portproof.verify`; true only where the verdict holds.

    ``details`` has every paired module that ran, in order; ``edges`` which of them hands a tensor to which, where a
    page is asked for and torch can be asked; ``latent`` what is another function in a whole whose outputs agree;
    ``kept`` by process, where answers are kept: with the seconds, all that differs between a first run and a second.
    """

    port: str
    verdict: Verdict
    hops: tuple[Hop, ...]
    culprits: tuple[Culprit, ...] = ()
    latent: tuple[Culprit, ...] = ()
    sight: Sight | None = None
    modules: Modules | None = None
    details: tuple[ModuleDetail, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    weights: tuple[str, ...] = ()
    ignored: tuple[tuple[str, str, str], ...] = ()
    accepted: tuple[AcceptedDeviation, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    inputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.exit_code == 0

    def __repr__(self) -> str:
        counts = f"{len(self.hops)} hops, {len(self.culprits)} culprits"
        return f"<Report of {self.port!r}: {self.verdict}, {counts}>"

    def __str__(self) -> str:
        return shows().text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the same in IPython without a browser."""
        printer.text(repr(self) if cycle else str(self))

    def _repr_html_(self) -> str:
        """What a notebook shows: verdict, chain and culprits."""
        return shows().html(self)

    def save(self, target: str | os.PathLike[str]) -> None:
        """Write the report: a page (``.html``), a summary (``.md``), JUnit (``.xml``) or ``to_json`` (``.json``).

        A file that is there is replaced. ``verify(..., pictures=True)`` makes the page's pictures of every module.

        Raises:
            BadInput: another ending, or the file cannot be written.
            Unavailable: a page was asked for and jinja2 is not installed.
        """
        shows().save(self, target)

    @property
    def exit_code(self) -> int:
        """What the command line answers with."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``verify --json``; numbers that are no numbers become null."""
        document = asdict(self)
        for hop in document["hops"]:
            hop["from"], hop["to"] = hop.pop("source"), hop.pop("target")
        cleaned: dict[str, Any] = finite({"schema_version": SCHEMA_VERSION, **document})
        return cleaned
