"""``portproof bench run``: the same weights and exports that parity judges, timed one runner a process."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._capture import save_arrays
from portproof._environment import host, thread_budget
from portproof._errors import BadInput, PortproofError
from portproof._inputs import make_batch
from portproof._judge import Floor, judge_outputs, output_floors
from portproof._report import Hop, gravest
from portproof._resolve import Located, resolve_callable
from portproof._session import Sessions
from portproof._sides import EAGER, Sides, Watch
from portproof.bench._suite import Suite
from portproof.runners import find_runner

Arrays = dict[str, np.ndarray[Any, Any]]

SCHEMA_VERSION = 1
_CHECK_ROWS = 4
#: Share of the machine that others may use before a run is labelled contended.
_QUIET = 0.1


@dataclass(frozen=True)
class Process:
    """One fresh process of one runner. Times in milliseconds but for ``build_s``."""

    build_s: float
    first_call_ms: float
    warm_up_calls: int
    samples_ms: tuple[float, ...]
    foreign_share: float
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """A runner at one batch size.

    Attributes:
        verdict: of the artefact that was timed, before and after; without parity there is no number.
        ratio: its farthest output, in noise floors.
        median_ms: median over processes of each process's median; None without parity.
        spread_ms: smallest and largest process median.
        label: ``quiet`` or ``contended``.
        reason: why there is no number.
    """

    runner: str
    title: str
    batch: int
    verdict: str
    ratio: float | None = None
    median_ms: float | None = None
    spread_ms: tuple[float, float] | None = None
    label: str = "quiet"
    reason: str | None = None
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True)
class BenchResult:
    """What ``bench run`` writes; every figure can be made again from ``samples_ms``."""

    port: str
    device: str
    threads: int
    timings: tuple[Timing, ...]
    environment: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def exit_code(self) -> int:
        """0 where every runner has a quiet number, 1 without parity, 4 unavailable, 3 contended."""
        verdicts = {timing.verdict for timing in self.timings}
        if "divergent" in verdicts:
            return 1
        if "unavailable" in verdicts:
            return 4
        return 3 if "inconclusive" in verdicts or any(t.label == "contended" for t in self.timings) else 0

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return asdict(self)


@dataclass(frozen=True)
class _Prepared:
    """What the timed processes start from."""

    weights: Mapping[str, Path]
    exports: Mapping[str, Path | PortproofError]
    rows: Path
    oracle: Arrays
    floors: Mapping[str, Floor]


def run_suite(located: Located, suite: Suite, device: str, watch: Watch, kwargs: Mapping[str, Any]) -> BenchResult:
    """Time a suite.

    Args:
        located: the port; it needs a locator, since every runner gets a process of its own.
        suite: what to time.
        device: ``"cpu"`` or ``"cuda"``.
        watch: told what is being done.
        kwargs: for the factories.

    Raises:
        BadInput: a runner does not exist or does not belong to the port.
        Unavailable: the device is not there.
    """
    if located.locator is None:
        raise BadInput(
            "a benchmark runs each runner in a process of its own; name the port as module:NAME or file.py:NAME."
        )
    infos = [find_runner(name) for name in suite.runners]
    for info in infos:
        if info.side not in located.port.sides or info.artefact == "program":
            raise BadInput(f"runner '{info.name}' has nothing to run in port '{located.port.name}'.")
    threads = thread_budget()
    with Sessions(located, kwargs, device, threads) as outer:
        with Sessions(located, kwargs, device, threads) as preparing:
            prepared = _prepare(preparing, outer.folder, watch)
        timings: dict[tuple[str, int], list[Process]] = {(i.name, b): [] for i in infos for b in suite.batches}
        hops: dict[tuple[str, int], list[Hop]] = {key: [] for key in timings}
        failures: dict[tuple[str, int], str] = {}
        rng = np.random.default_rng(0)
        for round_number in range(suite.processes):
            for index in rng.permutation(len(timings)):
                key = list(timings)[int(index)]
                if key in failures:
                    continue
                watch(f"round {round_number + 1} of {suite.processes}", f"{find_runner(key[0]).title}, batch {key[1]}")
                try:
                    process, judged = _time_one(outer, key, prepared, suite.seconds)
                except PortproofError as error:
                    failures[key] = str(error)
                    continue
                timings[key].append(process)
                hops[key] += judged
            watch(f"round {round_number + 1} of {suite.processes}", None)
        rows = tuple(_summarise(key, timings[key], hops[key], failures.get(key)) for key in timings)
    return BenchResult(located.port.name, device, threads, rows, host())


def _prepare(sessions: Sessions, folder: Path, watch: Watch) -> _Prepared:
    """Make weights, exports, the oracle and the floors, as ``verify`` does."""
    port = sessions.located.port
    watch("preparing", "weights, oracle and exports")
    sides = Sides(sessions)
    batch = make_batch(port, resolve=lambda name: resolve_callable(name, "preprocess"))
    inputs, rows = folder / "inputs.safetensors", folder / "rows.safetensors"
    save_arrays(inputs, batch.arrays)
    step = max(1, len(batch.families) // _CHECK_ROWS)
    save_arrays(rows, {n: a[::step] if port.inputs[n].has_rows else a for n, a in batch.arrays.items()})
    sides.require_match()
    made = sides.spread(*sides.sensitise(inputs, seed=0))
    weights = {side: shutil.copyfile(file, folder / file.name) for side, file in made.items()}
    live = sides.live
    captured, exported = {}, {}
    for side in live:
        session = sides.open[side]
        session.submit("load", weights=str(weights[side]))
        captured[side] = session.submit(
            "capture", runner=EAGER[side], inputs=str(rows), out=str(folder / side),
            precisions=["float64", "float32"], hashes={"inputs": "", "weights": ""}, single=0,
        )  # fmt: skip
        exported[side] = session.submit("export", inputs=str(inputs), out=str(folder / f"{side}.onnx"))
    outputs: dict[str, dict[str, Arrays]] = {}
    exports: dict[str, Path | PortproofError] = {}
    for side in live:
        captured[side].result()
        outputs[side] = {p: load_file(folder / side / f"{p}.safetensors") for p in ("float64", "float32")}
        try:
            exported[side].result()
            exports[side] = folder / f"{side}.onnx"
        except PortproofError as error:
            exports[side] = error
    floors = output_floors([(outputs[side]["float32"], outputs[side]["float64"]) for side in live])
    watch("preparing", None)
    return _Prepared(weights, exports, rows, outputs[live[0]]["float64"], floors)


def _time_one(
    sessions: Sessions, key: tuple[str, int], prepared: _Prepared, seconds: float
) -> tuple[Process, list[Hop]]:
    """Time one runner in one fresh process, and judge what it put out before and after."""
    runner, size = key
    info = find_runner(runner)
    options: dict[str, Any] = {}
    if info.artefact == "onnx":
        export = prepared.exports[info.side]
        if isinstance(export, PortproofError):
            raise export
        options["artefact"] = str(export)
    batch, out = sessions.folder / f"batch-{size}.safetensors", sessions.folder / "timed"
    if not batch.is_file():
        port = sessions.located.port
        rows = load_file(prepared.rows)
        save_arrays(
            batch, {n: np.resize(a, (size, *a.shape[1:])) if port.inputs[n].has_rows else a for n, a in rows.items()}
        )
    session = sessions.open(info.process)
    try:
        if info.artefact == "model":
            session.call("load", weights=str(prepared.weights[info.side]))
        before = _cpu_times()
        answer = session.call(
            "time", runner=runner, rows=str(prepared.rows), batch=str(batch), out=str(out), seconds=seconds, **options
        )
        foreign = _foreign_share(before, _cpu_times(), sessions.threads)
    finally:
        session.close()
    judged = [
        judge_outputs("numerics", "oracle", f"{info.title}, {when}", "float32", "sensitised",
                      load_file(f"{out}-{when}.safetensors"), prepared.oracle, prepared.floors)
        for when in ("before", "after")
    ]  # fmt: skip
    return Process(foreign_share=foreign, **{**answer, "samples_ms": tuple(answer["samples_ms"])}), judged


def _summarise(key: tuple[str, int], processes: list[Process], hops: list[Hop], failure: str | None) -> Timing:
    runner, batch = key
    title = find_runner(runner).title
    if failure is not None:
        return Timing(runner, title, batch, "unavailable", reason=failure)
    verdict = gravest([hop.verdict for hop in hops])
    ratios = [hop.worst.ratio for hop in hops if hop.worst is not None and hop.worst.ratio is not None]
    farthest = max(ratios, default=None)
    if verdict not in ("identical", "equivalent"):
        return Timing(runner, title, batch, verdict, farthest, reason="no parity, no number: run `portproof verify`")
    medians = [statistics.median(process.samples_ms) for process in processes]
    label = "contended" if max(process.foreign_share for process in processes) > _QUIET else "quiet"
    spread = (min(medians), max(medians))
    return Timing(
        runner, title, batch, verdict, farthest, statistics.median(medians), spread, label, None, tuple(processes)
    )


def _cpu_times() -> tuple[float, float, float]:
    """Return the machine's busy and stolen seconds and the wall clock; zeros where the system does not say."""
    ticks = os.sysconf("SC_CLK_TCK")
    try:
        fields = [int(field) / ticks for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0, time.monotonic()
    return sum(fields) - fields[3] - fields[4], fields[7], time.monotonic()


def _foreign_share(before: tuple[float, float, float], after: tuple[float, float, float], threads: int) -> float:
    """Return the share of the machine that others took: stolen time, and what is busy beyond our own threads."""
    wall = after[2] - before[2]
    cores = os.cpu_count() or 1
    busy, stolen = after[0] - before[0], after[1] - before[1]
    return max(stolen / (wall * cores), (busy - threads * wall) / (wall * cores), 0.0)
