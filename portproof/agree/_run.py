"""``portproof agree``: units out to the workers, counts back, in whatever order they come."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from portproof._errors import BadInput, PortproofError, Unavailable, require_packages
from portproof._machine import processor, thread_budget
from portproof.agree._images import DataImage, Images, Labelled, labels_of
from portproof.agree._judge import Far, Tally, Yardstick, bounds
from portproof.agree._prepare import AgreeOptions, PreparedJob, Preparing, chosen, images_of
from portproof.agree._result import Agreement, Cost, Looked, Rate, RunnerAgreement, Unreadable, whole_verdict
from portproof.agree._store import Store, default_store
from portproof.agree._work import Contender, Job, UnitOutcome, close_bench, work
from portproof.frameworks._export import EXPORTING
from portproof.graphs._lowered import QUANTISED
from portproof.ports._locate import Located
from portproof.sides._session import frameworks_here
from portproof.sides._sides import Watch

#: Units that wait for each worker: enough to keep it busy, few enough to forget nothing when the run is cut off.
_AHEAD = 4
#: Unreadable images that are named.
_NAMED = 20
#: Seconds that an idle scheduler is watched.
_IDLE_S = 4.0
_MODULUS = 2**256
_PACKAGES = ("distributed", "fsspec", "scipy", "PIL")


@dataclass
class AgreeProgress:
    """How far a run is.

    Attributes:
        images: done.
        weight, total: bytes done, and of all images.
        computed, found: results of units that were computed, and that the store had.
        seconds: what workers spent, by kind.
        damaged: entries of the store that were made again.
        units: done.
        start_s: before the first unit was done, beside what it took itself.
        driver_s: processor time of this process, which holds the local cluster's scheduler, for all units; where it is
            measured, without what it takes while nothing happens.
        wall_s: since the first unit went out.
        notes: about the workers.
    """

    images: int = 0
    weight: int = 0
    total: int = 0
    computed: int = 0
    found: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    damaged: int = 0
    units: int = 0
    start_s: float = 0.0
    driver_s: float = 0.0
    wall_s: float = 0.0
    notes: tuple[str, ...] = ()


Seen = Callable[[AgreeProgress], None]


def agree(
    located: Located, options: AgreeOptions, watch: Watch | None = None, seen: Seen | None = None
) -> tuple[Agreement, AgreeProgress]:
    """Hold runners against a side's float64 run over a whole data set.

    Args:
        located: the port; it needs a locator, since every runner gets a process of its own.
        options: what to do.
        watch: told what is being prepared.
        seen: told how far the run is.

    Returns:
        What was found, and what it took.

    Raises:
        BadInput: images, labels, runners or weights are wrong.
        Unavailable: dask, a package, the scheduler or the device is not there, or a runner fails.
    """
    if located.locator is None:
        raise BadInput("every runner gets a process of its own; name the port as module:NAME or file.py:NAME.")
    choices = chosen(located.port, options)
    require_packages("agree", *packages_of(located, options))
    from portproof.agree._cluster import connected, gathered

    images = images_of(located.port, options)
    labels = labels_of(options.labels, images)
    store = Store(options.store or default_store())
    preparing = Preparing(located, options, choices, images, store, watch or (lambda *_: None))
    begun = time.monotonic()
    workers = options.workers or max(1, thread_budget() // options.threads)
    with connected(options.scheduler, workers) as client:
        found = gathered(client, preparing.versions)
        prepared = preparing.prepare(found.sets)
        if labels is not None:
            labels.require(images, prepared.job.yardstick.classes)
        progress = AgreeProgress(total=images.total, notes=found.left_out, start_s=time.monotonic() - begun)
        units = _units(images, labels, options.unit)
        try:
            total = _run(client, prepared.job, units, found.count, found.fitting, progress, seen or (lambda _: None))
            if options.measure:
                progress.driver_s = max(0.0, progress.driver_s - progress.wall_s * _idle_share())
        finally:
            if options.scheduler is not None:
                with contextlib.suppress(Exception):  # workers may be gone; what they hold goes with them
                    client.run(close_bench, prepared.job)
    return _agreement(located.port.name, options, prepared, total, images), progress


def packages_of(located: Located, options: AgreeOptions) -> list[str]:
    """Return the packages that a run needs in this environment."""
    choices, elsewhere = chosen(located.port, options), located.project.python
    needed = [need for choice in choices if choice.info.side not in elsewhere for need in choice.info.needs]
    exported = {choice.info.side for choice in choices if choice.info.source == "onnx"}.difference(elsewhere)
    made_with = [need for side in sorted(exported) for need in EXPORTING[side]]
    return [*_PACKAGES, *frameworks_here(located), *needed, *made_with]


def _idle_share() -> float:
    """Return the share of a core that this process keeps busy with the cluster while nothing happens."""
    begun = time.process_time()
    time.sleep(_IDLE_S)
    return (time.process_time() - begun) / _IDLE_S


def _units(images: Images, labels: Labelled | None, size: int) -> Iterator[tuple[int, list[DataImage]]]:
    """Yield the number of a unit's first image, and its images."""
    pictures = iter(images) if labels is None else map(labels.of, images)
    first = 0
    while unit := list(islice(pictures, size)):
        yield first, unit
        first += len(unit)


@dataclass
class _Total:
    """What all units came to so far."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    images: int = 0
    unreadable: list[tuple[int, str, str]] = field(default_factory=list)
    unreadable_count: int = 0
    fingerprint: int = 0

    def add(self, first: int, outcome: UnitOutcome) -> None:
        for name, found in outcome.tallies.items():
            self.tallies.setdefault(name, Tally()).add(found)
        self.images += outcome.images
        self.unreadable = heapq.nsmallest(_NAMED, [*self.unreadable, *outcome.unreadable])
        self.unreadable_count += len(outcome.unreadable)
        place = int(outcome.fingerprint, 16) * (2 * first + 1)  # odd, so that no place is lost
        self.fingerprint = (self.fingerprint + place) % _MODULUS


def _run(
    client: Any, job: Job, units: Iterator[tuple[int, list[DataImage]]], workers: int, fitting: list[str] | None,
    progress: AgreeProgress, seen: Seen,
) -> _Total:  # fmt: skip
    """Keep every worker supplied until the units end."""
    from distributed import CancelledError, KilledWorker, as_completed

    total, firsts = _Total(), {}
    begun, busy = time.monotonic(), time.process_time()

    def submit(first: int, unit: list[DataImage]) -> Any:
        future = client.submit(work, job, first, unit, pure=False, workers=fitting, retries=0)
        firsts[future.key] = first
        return future

    running = as_completed([submit(*unit) for unit in islice(units, _AHEAD * workers)])
    for future in running:
        try:
            outcome: UnitOutcome = future.result()
        except PortproofError:
            raise
        except CancelledError as error:
            raise Unavailable(
                "the scheduler or its connection was lost; what was computed is in the store, and a new run goes on."
            ) from error
        except KilledWorker as error:
            first = firsts[future.key]
            raise Unavailable(
                f"the unit of images from {first} on ended its worker whenever it was run; "
                "the log of the worker says why (out of memory is likely)."
            ) from error
        total.add(firsts.pop(future.key), outcome)
        for unit in islice(units, 1):
            running.add(submit(*unit))
        progress.images, progress.weight = total.images, progress.weight + outcome.weight
        progress.computed += len(outcome.computed)
        progress.found += len(job.runners) + 1 - len(outcome.computed)
        progress.damaged += len(outcome.damaged)
        progress.wall_s, progress.driver_s = time.monotonic() - begun, time.process_time() - busy
        progress.units += 1
        if progress.units == 1:
            progress.start_s = max(0.0, progress.start_s + progress.wall_s - sum(outcome.seconds.values()))
        for kind, seconds in outcome.seconds.items():
            progress.seconds[kind] = progress.seconds.get(kind, 0.0) + seconds
        seen(progress)
    return total


def _agreement(port: str, options: AgreeOptions, prepared: PreparedJob, total: _Total, images: Images) -> Agreement:
    job = prepared.job
    own = total.tallies.get(job.oracle.name, Tally())
    runners = tuple(_runner(runner, total.tallies.get(runner.name, Tally()), prepared) for runner in job.runners)
    notes: list[str] = []
    if prepared.blind:
        notes.append("the scores hardly move from image to image, less than rounding does: nothing could be seen")
    if prepared.measured * job.yardstick.classes < _FEW_SCORES:
        notes.append(f"the noise floor is pooled over {prepared.measured} images only")
    quantised = [runner.title for runner in job.runners if runner.precision in QUANTISED]
    if quantised:
        whose = quantised[0] if len(quantised) == 1 else f"{len(quantised)} runners of {'/'.join(QUANTISED)}"
        notes.append(f"what quantising costs is measured, and not judged ({whose})")
        ranges = f"{len(images.apart)} images, which are not judged" if images.apart else "the port's own rows"
        notes.append(f"ranges are read from {ranges}")
    if own.labelled and own.labelled < total.images:
        notes.append(f"{total.images - own.labelled} images have no label")
    return Agreement(
        port, whole_verdict(runners), job.oracle.title, job.output, prepared.weights, total.images,
        tuple(Unreadable(*entry) for entry in total.unreadable), total.unreadable_count, f"{total.fingerprint:064x}",
        job.yardstick.classes, own.labelled, _share(own.right, own.labelled), _share(own.right5, own.labelled),
        job.yardstick.rms, job.yardstick.scale, prepared.measured, _tie(job.yardstick), runners, options.at_most,
        tuple(notes),
        {
            "processor": processor(), "instruction_sets": list(job.sets), "versions": dict(job.versions),
            "batch": job.batch, "threads": options.threads, "device": job.device,
        },
        images.drawn_from,
    )  # fmt: skip


#: Scores below which a floor is pooled over too few.
_FEW_SCORES = 64


def _tie(yardstick: Yardstick) -> float:
    return 2 * yardstick.farthest


def _runner(runner: Contender, tally: Tally, prepared: PreparedJob) -> RunnerAgreement:
    verdict: Any = "equivalent" if tally.largest else "identical"
    quantised = runner.precision in QUANTISED
    if prepared.blind or not tally.images or quantised:
        verdict = "inconclusive"
    if tally.beyond and not quantised:
        verdict = "divergent"
    quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
    ratios = {name: tally.quantile(share) for name, share in quantiles.items()} | {"max": tally.largest}
    return RunnerAgreement(
        runner.name, runner.title, runner.precision, verdict, _rate(tally.first), _rate(tally.fifth), ratios,
        tally.beyond, _share(tally.right, tally.labelled), _share(tally.right5, tally.labelled),
        tuple(map(_looked, sorted(tally.worst, reverse=True))), tuple(map(_looked, sorted(tally.flips, reverse=True))),
        _cost(tally.changed, 0, tally.images),
        _cost(tally.lost, tally.gained, tally.labelled) if tally.labelled else None,
    )  # fmt: skip


def _cost(lost: int, gained: int, of: int) -> Cost:
    return Cost(lost, gained, of, bounds(lost, of)[1] if of else 1.0)


def _rate(counted: list[int]) -> Rate:
    same, ties, flips = counted
    if not sum(counted):
        return Rate(0, 0, 0, 0.0, 1.0, 1.0)
    low, high = bounds(flips, sum(counted))
    return Rate(same, ties, flips, low, high, bounds(flips + ties, sum(counted))[1])


def _looked(far: Far) -> Looked:
    return Looked(-far.place, far.name, far.ratio, far.margin, far.expected, far.found)


def _share(part: int, of: int) -> float | None:
    return part / of if of else None
