"""A benchmark's result: values that are validated when they are read and never changed after.

Every figure that is printed or drawn is made from what stands here, so that it can be made again, offline.
``portproof schema bench`` prints the JSON Schema.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from portproof._disk import (
    Count,
    Measured,
    Milliseconds,
    Seconds,
    among,
    as_kind,
    finite,
    hash_json,
    having,
    read_json,
    several,
    within,
)
from portproof._errors import BadInput
from portproof.judge._report import EXIT_CODES

#: Raised when a field changes its meaning or disappears.
SCHEMA_VERSION = 2

#: Share of the machine that others may use before a process is labelled contended.
QUIET = 0.1


Objective = Literal["latency", "throughput", "contended"]

#: What is read of what runners, NVML and the machine say of themselves.
Evidence = Annotated[dict[str, Any], having({}, cpu_nodes=dict[str, int])]
GpuState = Annotated[dict[str, Any], having({}, memory_mib=Measured | None, used_mib=Measured)]
Spent = Annotated[dict[str, Seconds], having({"wall": Seconds, "parent_cpu": Seconds})]
Environment = Annotated[
    dict[str, Any],
    having({"portproof": str, "python": str, "system": str, "processor": str, "packages": dict[str, str]}),
]


@dataclass(frozen=True)
class Claim:
    """Something that a number rests on, and whether it was seen to be so.

    Attributes:
        what: ``threads``, ``device``, ``precision``, ``layout``, ``clock``, ``peak`` or a setting of the runner.
        state: ``verified``, ``unverified`` (nothing here can tell) or ``refuted``, after which there is no number.
        text: what was asked for and what was found.
    """

    what: str
    state: Literal["verified", "unverified", "refuted"]
    text: str


@dataclass(frozen=True)
class Process:
    """One fresh process of one runner.

    Attributes:
        round: in which it ran.
        import_s, build_s, first_call_ms, warm_up_s: costs before the steady state, each by itself.
        warm_up_calls, calls_per_sample, samples_ms, wall_s, cpu_s, rows: see :class:`portproof.bench._clock.Timed`.
        threads_busy: threads that worked, or waited for a core, for at least a fifth of the timed part.
        foreign_share: of the machine's time, taken by others in the timed part: stolen, or busy beyond this process.
        switches: involuntary context switches in the timed part.
        peak_memory: of the process, in bytes.
        event_ms: on a GPU, device time by events beside the wall clock; empty elsewhere.
        gpu: memory, clocks, power and throttle reasons as NVML gave them, ``idle`` (before the process used the GPU),
            ``before`` and ``after`` its timed part; empty elsewhere.
        claims: what was proven of it.
        evidence: what the runner itself said.
        cached: whether an earlier process of this run left something costly to build (an engine, compiled code) behind.
    """

    round: int
    import_s: Seconds
    build_s: Seconds
    first_call_ms: Measured
    warm_up_calls: Count
    warm_up_s: Seconds
    calls_per_sample: Count
    samples_ms: Annotated[tuple[Milliseconds, ...], several]
    wall_s: Seconds
    cpu_s: Seconds
    rows: Count
    threads_busy: Count
    foreign_share: float
    switches: Count
    peak_memory: Count
    event_ms: tuple[Measured, ...] = ()
    gpu: dict[str, GpuState] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    evidence: Evidence = field(default_factory=dict)
    cached: bool = False

    @property
    def time_ms(self) -> float:
        """What stands for the process: the median of its samples."""
        return statistics.median(self.samples_ms)

    @property
    def compared_ms(self) -> float:
        """What it is compared by: see :func:`portproof.bench._stats.undisturbed`."""
        from portproof.bench._stats import undisturbed

        return undisturbed(self.samples_ms)

    @property
    def gpu_mib(self) -> float | None:
        """GPU memory of the process; see :func:`portproof.bench._gpu.memory_mib`."""
        from portproof.bench._gpu import memory_mib

        return memory_mib(self.gpu)

    @property
    def setup_s(self) -> float:
        """What it costs before the second request: import, build and first call."""
        return self.import_s + self.build_s + self.first_call_ms / 1e3


@dataclass(frozen=True)
class TimedRow:
    """A runner with its settings at one batch size.

    Attributes:
        runner: as it is named on the command line, with its settings.
        title: for people.
        side, precision: of the runner.
        batch: rows in a request.
        verdict: of what was timed, judged before and after: of the parity engine, or ``refuted`` where a claim was.
        ratio: the farthest output, in noise floors.
        reason: why there is no number.
        processes: fresh ones, in the order of their rounds; empty without parity.
        file_bytes: size of the files that each loaded: the export or the saved program, else the weights.
    """

    runner: str
    title: str
    side: Annotated[str, among("torch", "paddle", "")]
    precision: str
    batch: Count
    verdict: Annotated[str, among(*EXIT_CODES, "refuted")]
    ratio: float | None = None
    reason: str | None = None
    processes: tuple[Process, ...] = ()
    file_bytes: Count | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the row in a result."""
        return self.runner, self.batch

    @property
    def times_ms(self) -> list[float]:
        """One time a process."""
        return [process.time_ms for process in self.processes]

    @property
    def compared_ms(self) -> list[float]:
        """What each process is compared by."""
        return [process.compared_ms for process in self.processes]

    @property
    def median_ms(self) -> float | None:
        """The median over processes; None where there is no number."""
        return statistics.median(self.times_ms) if self.processes else None

    @property
    def samples_ms(self) -> list[float]:
        """All samples of all processes."""
        return list(itertools.chain.from_iterable(process.samples_ms for process in self.processes))

    @property
    def rows_per_s(self) -> float | None:
        """Rows finished per second of the timed parts."""
        wall = sum(process.wall_s for process in self.processes)
        return sum(process.rows for process in self.processes) / wall if wall else None

    @property
    def peak_memory(self) -> int | None:
        """Bytes that a process held at most, the median over processes; None where there is none."""
        return round(statistics.median(p.peak_memory for p in self.processes)) if self.processes else None

    @property
    def setup_s(self) -> float | None:
        """Seconds from a process's start to its first result, the median over processes: its cold start."""
        return statistics.median(p.setup_s for p in self.processes) if self.processes else None

    @property
    def contended(self) -> bool:
        """Whether others took more of the machine than a quiet run allows, in the typical process."""
        return bool(self.processes) and statistics.median(p.foreign_share for p in self.processes) > QUIET


@dataclass(frozen=True)
class Skipped:
    """A runner that was not timed, and why; ``asked`` where it was asked for by name."""

    runner: str
    reason: str
    batch: int | None = None
    asked: bool = False


@dataclass(frozen=True)
class Mark:
    """The machine's peak before or after a round: see :class:`portproof.bench._probe.Probe`."""

    round: int
    when: Literal["before", "after"]
    gflops: Annotated[float, within(1e-9, 1e12)]
    copy_gbs: Measured
    seconds: Seconds
    bits: int = 0
    narrow_gflops: float = 0.0


@dataclass(frozen=True)
class Suite:
    """What is timed: a declaration that a port project keeps under ``benchmarks/``, or the options of a command.

    Args:
        port: its name.
        runners: as named, with settings; none for all that there are.
        batches: rows in a request.
        processes: fresh ones a row, one a round; with a budget the most.
        seconds: of timed calls in each.
        threads: of each process; None for as many as this process may keep busy.
        device: ``cpu`` or ``cuda``.
        precisions: of the runners that are taken where none are named.
        scenario: ``single`` (one request after the other), ``offline`` (as many at once as a runner likes) or
            ``server`` (at random).
        rate: requests a second of ``server``; None for half of what each runner could do.
        boundary: ``host`` (arrays in and out of the process's memory) or ``device`` (they stay where they are made).
        objective: ``latency``, ``throughput`` or ``contended`` (beside a busy neighbour that is planted).
        budget_s: seconds for all rounds; None for no limit.
        kwargs: of the port's factories.
        weights: path of a checkpoint; None for sensitised weights.

    Raises:
        BadInput: a number is not positive, or a word is none of those above.
    """

    port: str
    runners: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    processes: int = 5
    seconds: float = 1.5
    threads: int | None = None
    device: str = "cpu"
    precisions: tuple[str, ...] = ("float32",)
    scenario: Literal["single", "offline", "server"] = "single"
    rate: float | None = None
    boundary: Literal["host", "device"] = "host"
    objective: Objective = "latency"
    budget_s: float | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None

    def __post_init__(self) -> None:
        numbers = {
            "batches": min(self.batches, default=0), "processes": self.processes, "seconds": self.seconds,
            "threads": 1 if self.threads is None else self.threads, "rate": 1 if self.rate is None else self.rate,
            "budget": 1 if self.budget_s is None else self.budget_s,
        }  # fmt: skip
        for name, value in numbers.items():
            if not 0 < value < math.inf:
                raise BadInput(f"a suite's {name} must be positive, found {value}.")
        for name, values in WORDS.items():
            found = getattr(self, name)
            if found not in values:
                raise BadInput(f"a suite's {name} is {', '.join(values[:-1])} or {values[-1]}, found '{found}'.")
        if self.rate is not None and self.scenario != "server":
            raise BadInput("a rate of requests belongs to the scenario 'server'.")


#: The words that a suite's fields take.
WORDS = {
    "device": ("cpu", "cuda"),
    "scenario": ("single", "offline", "server"),
    "boundary": ("host", "device"),
    "objective": ("latency", "throughput", "contended"),
}


@dataclass(frozen=True)
class BenchResult:
    """What ``bench run`` writes.

    Attributes:
        suite: what was asked for.
        rows: what was timed, or why not, in the order of the suite.
        skipped: runners that this machine or this port has not.
        marks: the machine's peak around each round.
        work_gflop: multiply-adds of one row, counted as two, in 1e9; None where they cannot be counted.
        seconds: where the time went: ``prepare``, ``import``, ``build``, ``first_call``, ``warm_up``, ``timed``,
            ``probe``, ``wall`` (of the rounds) and ``parent_cpu`` (this process's own).
        complete: False where rounds are missing: the run was interrupted, and can go on.
        environment: versions and host.
    """

    suite: Suite
    rows: tuple[TimedRow, ...]
    skipped: tuple[Skipped, ...]
    marks: tuple[Mark, ...]
    work_gflop: Measured | None
    seconds: Spent
    complete: bool
    environment: Environment
    schema_version: int = SCHEMA_VERSION

    @property
    def peak_gflops(self) -> float | None:
        """The highest of the measured peaks: a neighbour can only lower one. None where none was measured."""
        return max(mark.gflops for mark in self.marks) if self.marks else None

    def share_of_peak(self, row: TimedRow) -> float | None:
        """Return the share of the processor's float32 peak that a row reached; None where that cannot be told.

        The marks are of the host's processor, so that a GPU's rows have no share.
        """
        if self.suite.device != "cpu":
            return None
        rate, peak = row.rows_per_s, self.peak_gflops
        busy = row.median_ms
        if self.suite.scenario == "server" and busy:
            rate = row.batch / busy * 1e3
        if rate is None or peak is None or self.work_gflop is None or row.precision != "float32":
            return None
        return self.work_gflop * rate / peak

    @property
    def share_in_loops(self) -> float:
        """The share of the rounds' wall time, but for imports and builds, that was spent in timed or warm-up loops."""
        seconds = self.seconds
        apart = seconds.get("import", 0.0) + seconds.get("build", 0.0)
        inside = seconds.get("first_call", 0.0) + seconds.get("warm_up", 0.0) + seconds.get("timed", 0.0)
        return inside / max(1e-9, seconds.get("wall", 0.0) - apart)

    @property
    def exit_code(self) -> int:
        """0: all rows have quiet numbers; 1: no parity; 4: nothing ran, or not what was named; 3: contended."""
        verdicts = {row.verdict for row in self.rows}
        if verdicts & {"divergent", "refuted"}:
            return 1
        timed = [row for row in self.rows if row.processes]
        if not timed or any(skipped.asked for skipped in self.skipped):
            return 4
        contended = self.suite.objective != "contended" and any(row.contended for row in timed)
        return 3 if "inconclusive" in verdicts or contended or not self.complete else 0

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts, with a checksum of them."""
        document = finite(asdict(self))
        return {**document, "sha256": hash_json(document)}


def read_result(path: Path) -> BenchResult:
    """Read a result.

    Raises:
        BadInput: it is none, is cut short, or is of another schema.
    """
    document = read_json(path, "no result of `portproof bench run`", "portproof bench run PORT -o")
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version != SCHEMA_VERSION:
        raise BadInput(
            f"'{path}' is no result of `portproof bench run`: expected schema {SCHEMA_VERSION}, found {version}; "
            "make it again."
        )
    checksum = document.pop("sha256", None)  # older results have none
    if checksum not in (None, hash_json(document)):
        raise BadInput(f"'{path}' is damaged: its checksum is wrong; make it again.")
    try:
        return as_kind(BenchResult, document)
    except (ValueError, BadInput) as error:
        raise BadInput(f"'{path}' is damaged: {error}; make it again.") from error


def differing_hosts(one: BenchResult, two: BenchResult) -> list[str]:
    """Return what differs between the machines and suites of two results, in words."""
    said = []
    for key in ("processor", "threads", "system"):
        first, second = one.environment.get(key), two.environment.get(key)
        if first != second:
            said.append(f"{key} {first} and {second}")
    for key in ("scenario", "boundary", "threads", "device", "objective"):
        first, second = getattr(one.suite, key), getattr(two.suite, key)
        if first != second:
            said.append(f"{key} {first} and {second}")
    return list(dict.fromkeys(said))


def quantiles(samples: Sequence[float]) -> dict[str, float | None]:
    """Return the percentiles that people ask for, None where the samples do not support them."""
    from portproof.bench._stats import percentile

    return {"p50": statistics.median(samples)} | {f"p{q}": percentile(samples, q / 100) for q in (90, 99)}
