"""``portproof bench run``: rounds of fresh processes, one runner each, in random order, on what passes parity."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from portproof._errors import BadInput, PortproofError, Unavailable
from portproof._machine import host, package_versions, thread_budget
from portproof.bench._choose import choose
from portproof.bench._prepare import PreparedPort, prepare
from portproof.bench._proof import Asked, Speed, prove
from portproof.bench._result import BenchResult, Claim, Mark, Process, Skipped, Suite, TimedRow
from portproof.bench._tasks import BenchTasks
from portproof.judge._report import HOLDS, Hop, gravest
from portproof.ports._locate import Located
from portproof.runners._choice import Choice
from portproof.sides._process import WorkerSession
from portproof.sides._session import Sessions
from portproof.sides._tasks import Tasks

#: Rounds below which there is nothing to compare; a row that does not fit a budget that often is left out.
LEAST_ROUNDS = 3
#: How many times as fast another is, for a row that is left out before what may be the fastest.
_BEHIND = 1.25
#: A process that takes longer than this share of the budget is ended, and its runner left out.
_LONGEST_SHARE = 0.25
_PROBE_S = 0.05

Watch = Callable[[str, str | None], None]
Seen = Callable[[BenchResult], None]


@dataclass
class _Entry:
    """A row in the making."""

    choice: Choice
    batch: int
    processes: list[Process] = field(default_factory=list)
    hops: list[Hop] = field(default_factory=list)
    failure: str | None = None
    refused: Claim | None = None
    cost_s: float = 0.0

    @property
    def out(self) -> bool:
        return self.failure is not None or self.refused is not None

    @property
    def rows_a_second(self) -> float:
        """How many it had in its last process; none before its first."""
        last = self.processes[-1] if self.processes else None
        return last.rows / last.wall_s if last is not None and last.wall_s else 0.0

    def row(self) -> TimedRow:
        info = self.choice.info
        about = (self.choice.name, self.choice.title, info.side, info.precisions[-1], self.batch)
        ratios = [hop.worst.ratio for hop in self.hops if hop.worst is not None and hop.worst.ratio is not None]
        ratio = max(ratios, default=None)
        verdict: str = gravest([hop.verdict for hop in self.hops])
        if verdict not in HOLDS:
            return TimedRow(*about, verdict, ratio, "no parity, no number: run `portproof verify`")
        if self.refused is not None:
            return TimedRow(*about, "refuted", ratio, f"{self.refused.what}: {self.refused.text}")
        return TimedRow(*about, verdict, ratio, None, tuple(self.processes))


def first_to_go(running: Sequence[_Entry]) -> _Entry:
    """Return the row that is left out where there is no time for all: the costliest of those that are far behind.

    What may be the fastest of its batch and precision stays, whatever a process of it costs, until no other is left.
    """
    most: dict[tuple[int, str], float] = {}
    for entry in running:
        key = entry.batch, entry.choice.info.precisions[-1]
        most[key] = max(most.get(key, 0.0), entry.rows_a_second)
    behind = [e for e in running if _BEHIND * e.rows_a_second < most[e.batch, e.choice.info.precisions[-1]]]
    return max(behind or running, key=lambda entry: entry.cost_s)


def run_suite(
    located: Located, suite: Suite, watch: Watch, seen: Seen | None = None, resumed: BenchResult | None = None
) -> BenchResult:
    """Time a suite.

    Args:
        located: the port; it needs a locator, since every runner gets a process of its own.
        suite: what to time.
        watch: told what is being done.
        seen: called with the result so far after every process.
        resumed: a result of the same suite that was interrupted.

    Raises:
        BadInput: a runner does not exist or does not belong to the port, or the suite cannot be carried out.
        Unavailable: the device is not there.
    """
    with Stage.of(located, suite, watch) as stage:
        return stage.run(suite, seen, resumed)


def run_interleaved(stages: Sequence[Stage], suite: Suite) -> tuple[BenchResult, ...]:
    """Time one suite on several stages, such as two versions of a project, each process next to its counterparts.

    Args:
        stages: of ports that have the same runners.
        suite: what to time on each.

    Returns:
        A result for each stage; processes of the same round make pairs.
    """
    suite = replace(suite, threads=suite.threads or thread_budget())
    rounds = [_Rounds(stage, suite, *choose(stage.located.port, suite), lambda _: None) for stage in stages]
    rng = np.random.default_rng(0)
    with neighbour(suite.objective == "contended"):
        for number in range(suite.processes):
            for index in rng.permutation(len(rounds[0].entries)):
                for own in (rounds[int(i)] for i in rng.permutation(len(rounds))):
                    if not own.entries[index].out:
                        own.one(own.entries[index], number)
    return tuple(own.result(complete=True) for own in rounds)


@dataclass(frozen=True)
class Stage:
    """What is prepared once for all suites of one port on one device.

    Attributes:
        located: the port.
        sessions: that timed processes are opened from.
        prepared: weights, exports and oracle.
        seconds: that preparing took.
        watch: told what is being done.
    """

    located: Located
    sessions: Sessions
    prepared: PreparedPort
    seconds: float
    watch: Watch

    @classmethod
    @contextlib.contextmanager
    def of(
        cls, located: Located, suite: Suite, watch: Watch, put_rows: Callable[[Path], None] | None = None
    ) -> Iterator[Stage]:
        """Prepare for a suite and for every other that names no more runners; see :func:`run_suite`.

        ``put_rows`` writes rows to time and to calibrate on into a folder, where there are better than the port's own.
        """
        if located.locator is None:
            raise BadInput(
                "a benchmark runs each runner in a process of its own; name the port as module:NAME or file.py:NAME."
            )
        choices, skipped = choose(located.port, suite)
        if not choices:
            reason = f": {skipped[0].reason}" if skipped else ""
            raise Unavailable(f"no runner of port '{located.port.name}' runs on {suite.device} as asked{reason}")
        if suite.batches != (1,) and not any(declared.has_rows for declared in located.port.inputs.values()):
            raise BadInput(f"port '{located.port.name}' has no input with a batch dimension; --batch must be 1.")
        threads = suite.threads or thread_budget()
        with Sessions(located, suite.kwargs, suite.device, threads) as sessions:
            begun = time.perf_counter()
            watch("preparing", "weights, oracle and exports")
            with Sessions(located, suite.kwargs, suite.device, threads) as preparing:
                weights = None if suite.weights is None else Path(suite.weights)
                if put_rows is not None:
                    put_rows(sessions.folder)
                prepared = prepare(preparing, sessions.folder, [choice.info for choice in choices], weights)
            watch("preparing", None)
            yield cls(located, sessions, prepared, time.perf_counter() - begun, watch)

    def run(self, suite: Suite, seen: Seen | None = None, resumed: BenchResult | None = None) -> BenchResult:
        """Time a suite; see :func:`run_suite`."""
        suite = replace(suite, threads=suite.threads or thread_budget())
        choices, skipped = choose(self.located.port, suite)
        rounds = _Rounds(self, suite, choices, skipped, seen or (lambda _: None))
        if resumed is not None:
            rounds.take_up(resumed)
        with neighbour(suite.objective == "contended"):
            rounds.run()
        return rounds.result(complete=True)


@contextlib.contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Keep half of the cores busy, at least one, for the time of the block."""
    count = max(1, (os.cpu_count() or 1) // 2) if busy else 0
    command = [sys.executable, "-P", "-c", "while True: pass"]
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def start_timing(
    sessions: Sessions, suite: Suite, choice: Choice, prepared: PreparedPort, batch: int, number: int,
    slowdown: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Time one runner in one fresh process; returns what it measured.

    Args:
        sessions: to open it from.
        suite: what to time.
        choice: of the runner.
        prepared: what it starts from.
        batch: rows in a request.
        number: of the round, which chooses the rows.
        slowdown: share by which calls are made longer on purpose.

    Raises:
        PortproofError: it cannot run, or not within a quarter of the budget.
    """
    info = choice.info
    artefact = None if info.artefact == "model" else prepared.artefacts[info.artefact, info.side]
    if isinstance(artefact, PortproofError):
        raise artefact
    begun = time.perf_counter()
    session = sessions.open(info.process, threads=choice.threads, environment=info.variables)
    try:
        session.call(Tasks.point, weights=prepared.weights[info.side] if artefact is None else None)
        started = time.perf_counter() - begun
        future: Future[Any] = session.submit(
            BenchTasks.time, runner=info.name, inputs=prepared.request(batch, number), out=prepared.out,
            seconds=suite.seconds, scenario=suite.scenario, boundary=suite.boundary, rate=suite.rate, seed=number,
            artefact=artefact, cache=prepared.cache(choice.name, batch),
            settings=choice.full_settings, slowdown=slowdown,
        )  # fmt: skip
        longest = None if suite.budget_s is None else max(5.0, _LONGEST_SHARE * suite.budget_s)
        try:
            answer: dict[str, Any] = future.result(longest)
        except Late:
            raise Unavailable(
                f"one process of it takes more than {longest:.0f} s, a quarter of the budget of "
                f"{suite.budget_s:.0f} s; give a longer --budget"
            ) from None
    finally:
        session.close()
    answer["import_s"] += started
    return answer


class _Rounds:
    """The rounds of one run."""

    def __init__(
        self, stage: Stage, suite: Suite, choices: Sequence[Choice], skipped: Sequence[Skipped], seen: Seen
    ) -> None:
        self.sessions, self.prepared, self.watch = stage.sessions, stage.prepared, stage.watch
        self.suite, self.seen = suite, seen
        self.skipped = list(skipped)
        self.entries = [_Entry(choice, batch) for choice in choices for batch in suite.batches]
        self.marks: list[Mark] = []
        names = ("prepare", "import", "build", "first_call", "warm_up", "timed", "probe", "wall", "parent_cpu")
        self.seconds = dict.fromkeys(names, 0.0) | {"prepare": stage.seconds}
        self.first = 0
        packages = package_versions(
            "torch", "paddlepaddle", "paddlepaddle-gpu", "onnxruntime", "onnxruntime-gpu", "openvino", "paddle2onnx"
        )
        self.environment: dict[str, Any] = {**host(), "packages": packages}
        self._probing: WorkerSession | None = None

    def take_up(self, resumed: BenchResult) -> None:
        """Go on from an interrupted run: its finished rounds are kept, one that was cut off is run again."""
        done = 1 + max((mark.round for mark in resumed.marks if mark.when == "after"), default=-1)
        self.first = done
        self.marks = [mark for mark in resumed.marks if mark.round < done]
        found = {row.key: row for row in resumed.rows}
        for entry in self.entries:
            row = found.get((entry.choice.name, entry.batch))
            if row is None:
                continue
            entry.processes = [process for process in row.processes if process.round < done]
            entry.cost_s = max((p.setup_s + p.warm_up_s + p.wall_s for p in entry.processes[-1:]), default=0.0)
            if entry.processes and row.ratio is not None:
                entry.hops = [_hop_again(row, self.prepared.label)]
        self.seconds |= {key: value for key, value in resumed.seconds.items() if key != "prepare"}

    def run(self) -> None:
        """Run rounds until there are enough, or until no other fits the budget."""
        rng = np.random.default_rng(0)
        begun, cpu = time.perf_counter(), time.process_time()
        base, parent = self.seconds["wall"], self.seconds["parent_cpu"]
        for number in range(self.suite.processes):
            order = rng.permutation(len(self.entries))  # drawn also for rounds that are done: a resumed run goes on
            if number < self.first:
                continue
            if self.suite.budget_s is not None and not self._fits(number):
                break
            self._mark(number, "before")
            for index in order:
                entry = self.entries[int(index)]
                if not entry.out:
                    self.one(entry, number)
                self.seconds["wall"] = base + time.perf_counter() - begun
                self.seconds["parent_cpu"] = parent + time.process_time() - cpu
                self.seen(self.result(complete=False))
            self._mark(number, "after")
            self.seconds["wall"] = base + time.perf_counter() - begun
            self.seen(self.result(complete=False))

    def _fits(self, number: int) -> bool:
        """Whether another round fits the budget; leaves rows out where three rounds would not."""
        assert self.suite.budget_s is not None
        left = self.suite.budget_s - self.seconds["wall"]
        if number == 0:
            return True
        wanted = max(1, LEAST_ROUNDS - number)
        while number < LEAST_ROUNDS:
            running = [entry for entry in self.entries if not entry.out]
            total = sum(entry.cost_s for entry in running) * wanted
            if total <= left or len(running) < 2:
                break
            dearest = first_to_go(running)
            need = 1.1 * (self.seconds["wall"] + total)
            dearest.failure = (
                f"one process of it takes {dearest.cost_s:.0f} s, too long for {LEAST_ROUNDS} rounds in a budget of "
                f"{self.suite.budget_s:.0f} s; --budget {need:.0f}s has room for all"
            )
        return sum(entry.cost_s for entry in self.entries if not entry.out) <= left or number < LEAST_ROUNDS

    def _mark(self, number: int, when: Any) -> None:
        """Measure the machine's peak, in a process that is kept and sleeps meanwhile."""
        if self._probing is None:
            self._probing = _quiet_session(self.sessions)
        try:
            found = self._probing.call(
                BenchTasks.probe, threads=self.suite.threads or thread_budget(), seconds=_PROBE_S
            )
        except Unavailable as error:
            if not any(entry.runner == "peak" for entry in self.skipped):
                self.skipped.append(Skipped("peak", str(error)))
            return
        self.seconds["probe"] += found.seconds
        self.marks.append(Mark(number, when, **asdict(found)))

    def one(self, entry: _Entry, number: int) -> None:
        """Time one runner in one fresh process, judge what it put out, and hold it to what was asked."""
        suite, info = self.suite, entry.choice.info
        what = f"{entry.choice.title}, batch {entry.batch}"
        self.watch(f"round {number + 1} of {suite.processes}", what)
        begun = time.perf_counter()
        try:
            answer = start_timing(self.sessions, suite, entry.choice, self.prepared, entry.batch, number)
        except PortproofError as error:
            entry.failure = str(error)
            return
        finally:
            entry.cost_s = time.perf_counter() - begun
            self.watch(f"round {number + 1} of {suite.processes}", None)
        hops = self.prepared.judge(entry.choice.title, info, entry.batch, number)
        entry.hops += hops
        threads = entry.choice.threads or self.sessions.threads
        asked = Asked(threads, suite.device, info.precisions[-1], suite.boundary, suite.scenario, info.claims)
        claims = prove(asked, answer, self._ratio32(hops, info.precisions[-1]), self._speed(answer))
        for claim in claims:
            if claim.state == "refuted" and entry.refused is None:
                entry.refused = claim
        entry.processes.append(_process(number, answer, claims))
        for key, name in (("import", "import_s"), ("build", "build_s"), ("warm_up", "warm_up_s"), ("timed", "wall_s")):
            self.seconds[key] += answer[name]
        self.seconds["first_call"] += answer["first_call_ms"] / 1e3

    def _speed(self, answer: Mapping[str, Any]) -> Speed | None:
        """Return how fast a process computed, beside the peak that narrower vectors have."""
        if not self.marks or self.prepared.work_gflop is None or self.suite.device != "cpu":
            return None
        peak, narrow = (max(rates) for rates in zip(*((m.gflops, m.narrow_gflops) for m in self.marks), strict=True))
        return Speed(self.prepared.work_gflop * answer["rows"] / answer["wall_s"], self.marks[-1].bits, peak, narrow)

    @staticmethod
    def _ratio32(hops: Sequence[Hop], precision: str) -> float | None:
        """Return the farthest error in float32's floors, whatever the precision."""
        from portproof._numbers import EPSILON

        ratios = [hop.worst.ratio for hop in hops if hop.worst is not None and hop.worst.ratio is not None]
        if not ratios:
            return None
        return max(ratios) * EPSILON[precision] / EPSILON["float32"]

    def result(self, *, complete: bool) -> BenchResult:
        """Return what is known so far."""
        timed = tuple(
            replace(entry.row(), file_bytes=self.prepared.file_bytes(entry.choice.info))
            for entry in self.entries if entry.hops and entry.failure is None
        )  # fmt: skip
        failed = [
            Skipped(entry.choice.name, entry.failure, entry.batch, entry.choice.asked)
            for entry in self.entries
            if entry.failure is not None
        ]
        found = BenchResult(
            self.suite, timed, (*self.skipped, *failed), tuple(self.marks), self.prepared.work_gflop,
            {key: round(value, 3) for key, value in self.seconds.items()}, complete, self.environment,
        )  # fmt: skip
        # With all marks at hand: a peak that was measured in a bad moment is too low, never too high.
        return replace(found, rows=tuple(_within_peak(found, row) for row in found.rows)) if complete else found


def _within_peak(result: BenchResult, row: TimedRow) -> TimedRow:
    """Take the number from a row that is faster than the processor."""
    share = result.share_of_peak(row)
    if share is None or share <= 1:
        return row
    text = f"peak: {share:.0%} of this processor's measured peak: the clock or the count of the work is wrong"
    return replace(row, verdict="refuted", reason=text, processes=())


def _quiet_session(sessions: Sessions) -> WorkerSession:
    session = sessions.open("runtime")
    assert isinstance(session, WorkerSession)
    return session


def _process(number: int, answer: Mapping[str, Any], claims: tuple[Claim, ...]) -> Process:
    taken = {key: value for key, value in answer.items() if key not in ("late_share", "counted", "threads_at_once")}
    taken |= {"samples_ms": tuple(answer["samples_ms"]), "event_ms": tuple(answer["event_ms"])}
    return Process(round=number, claims=claims, **taken)


def _hop_again(row: TimedRow, weights: str) -> Hop:
    """Return a row's verdict as the hop that it was made from."""
    from portproof.judge._report import Worst

    worst = Worst("", row.ratio, None, None, None)
    verdict: Any = "equivalent" if row.verdict == "refuted" else row.verdict
    return Hop("numerics", "oracle", row.title, row.precision, weights, verdict, worst)
