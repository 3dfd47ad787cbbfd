"""What a dask worker does with one unit. It runs none of the port's code itself: processes below it do."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save

from portproof._disk import hash_json
from portproof._errors import BadInput, PortproofError, Unavailable, WorkerDied, WorkerHung
from portproof._machine import instruction_sets, package_versions
from portproof._numbers import Array
from portproof.agree._images import DataImage
from portproof.agree._judge import Tally, Yardstick, record, tally
from portproof.agree._ship import unpack
from portproof.agree._store import Store
from portproof.agree._tasks import AgreeTasks, PictureTasks
from portproof.runners import find_runner
from portproof.sides._process import Place, WorkerSession
from portproof.sides._session import memory_folder, scratch_folder
from portproof.sides._tasks import Tasks
from portproof.sides._wire import P, R, Task

#: A process that ends is started again so many times for one unit: what kills it twice will kill it again.
_STARTS = 2
PACKAGES = (
    "torch",
    "paddlepaddle",
    "paddlepaddle-gpu",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "pillow",
    "numpy",
)


@dataclass(frozen=True)
class Contender:
    """A runner as workers run it.

    Attributes:
        name: with its settings, as on the command line.
        runner: its name alone.
        title: for people.
        process: the interpreter that it runs in.
        precision: that it runs in.
        threads: compute threads.
        settings: all of them.
        weights: hash of the state dict that it loads, or None.
        artefact: hashes of the files that it runs by their names, the first the one to open; empty for a model.
        identity: hash of all that its scores depend on, beside the images.
    """

    name: str
    runner: str
    title: str
    process: str
    precision: str
    threads: int
    settings: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None
    artefact: tuple[tuple[str, str], ...] = ()
    identity: str = ""


@dataclass(frozen=True)
class Job:
    """What all units of a run share.

    Attributes:
        store: where results and files are kept.
        project: hash of the packed port project.
        locator, python, kwargs: of the port in it.
        oracle: the side's float64 run.
        runners: that are held against it.
        output: whose classes are compared.
        batch: images in a request.
        device: that they run on.
        sets: the instruction sets of the processor.
        versions: of the packages.
        limit_s: seconds that a runner may take over one unit.
        yardstick: of the data set.
    """

    store: str
    project: str
    locator: str
    python: Mapping[str, str]
    kwargs: Mapping[str, Any]
    oracle: Contender
    runners: tuple[Contender, ...]
    output: str
    batch: int
    device: str
    sets: tuple[str, ...]
    versions: Mapping[str, str]
    limit_s: float
    yardstick: Yardstick


@dataclass
class UnitOutcome:
    """What a unit came to.

    Attributes:
        tallies: by runner; the oracle's own holds only what labels say.
        images: readable ones.
        unreadable: number, name and reason of the others.
        fingerprint: hash of the unit's images.
        weight: bytes, as announced.
        computed: runners that were run for it; the others were found in the store.
        seconds: what was spent, by kind; not part of any result.
        damaged: entries of the store that were made again.
    """

    tallies: dict[str, Tally]
    images: int
    unreadable: list[tuple[int, str, str]]
    fingerprint: str
    weight: int
    computed: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


class _Bench:
    """What a worker keeps between units: the unpacked project, fetched files, and a process for each runner."""

    def __init__(self, job: Job) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(scratch_folder(memory_folder())))
        self.job = job
        self.store = Store(job.store)
        archive = self.store.fetch(job.project, self.folder / "project.zip")
        project, locator = unpack(archive, job.locator, job.python, self.folder / "project")
        self._place = Place(project, locator, job.kwargs)
        self._open: dict[str, WorkerSession] = {}
        self._opening = threading.Lock()
        #: One runner computes at a time: a worker is as many threads as it was given, and no more.
        self.computing = threading.Lock()

    def session(
        self, name: str, process: str, threads: int = 1, weights: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> WorkerSession:  # fmt: skip
        """Return the process of that name, started where there is none."""
        with self._opening:
            if name not in self._open:
                session = WorkerSession(self._place, process, "", self.job.device, threads, variables=variables)
                self._open[name] = session
                if weights is not None:
                    session.submit(Tasks.point, weights=self.file(name, weights, "weights.safetensors"))
            return self._open[name]

    def file(self, folder: str, key: str, name: str) -> Path:
        """Return a kept file, fetched once."""
        return self.store.fetch(key, self.folder / folder / name)

    def end(self, name: str, session: WorkerSession) -> None:
        """End a process; the next call starts another, unless somebody else has started it already."""
        with self._opening:
            if self._open.get(name) is session:
                del self._open[name]
        session.close()

    def close(self) -> None:
        for name, session in list(self._open.items()):
            self.end(name, session)
        self._stack.close()


_numbers = itertools.count()
_benches: dict[str, _Bench] = {}
_finding = threading.Lock()


def _bench_key(job: Job) -> str:
    return hash_json({
        "store": job.store, "project": job.project, "locator": job.locator, "kwargs": repr(sorted(job.kwargs.items())),
        "device": job.device,
    })  # fmt: skip


def _bench(job: Job) -> _Bench:
    """Return this process's bench for a job."""
    key = _bench_key(job)
    with _finding:
        if key not in _benches:
            _benches[key] = _Bench(job)
        return _benches[key]


def close_bench(job: Job) -> None:
    """End the processes that this one started for a job."""
    with _finding:
        bench = _benches.pop(_bench_key(job), None)
    if bench is not None:
        bench.close()


def describe_worker() -> dict[str, Any]:
    """Say what this worker's results would depend on."""
    return {"sets": instruction_sets(), "versions": package_versions(*PACKAGES, "portproof")}


def work(job: Job, first: int, pictures: Sequence[DataImage]) -> UnitOutcome:
    """Do one unit: read what the store has, compute what it lacks, and count.

    Doing it twice gives the same, and costs little the second time.

    Args:
        job: of the run.
        first: number of the first image in the data set.
        pictures: of the unit.

    Raises:
        BadInput: an image's file is gone, or a runner raises on the images.
        Unavailable: a runner cannot be started here, hangs, or ends whenever it is run.
    """
    if tuple(instruction_sets()) != job.sets:
        raise Unavailable(
            f"this worker's processor has {', '.join(instruction_sets())}, the run is of {', '.join(job.sets)}"
        )
    return _Unit(_bench(job), job, first, list(pictures)).done()


class _Unit:
    """One unit on its way."""

    def __init__(self, bench: _Bench, job: Job, first: int, pictures: list[DataImage]) -> None:
        self.bench, self.job, self.first, self.pictures = bench, job, first, pictures
        self.seconds: dict[str, float] = {}
        self.computed: list[str] = []
        self.number = next(_numbers)
        self.rows = bench.folder / f"rows-{self.number}.safetensors"

    def done(self) -> UnitOutcome:
        damaged = len(self.bench.store.damaged)
        found = self._ask(
            "images", "runtime", PictureTasks.read, unit=self.number, pictures=self.pictures
        )  # fmt: skip
        self._spent("read", found.seconds)
        self.hashes = list(found.hashes)
        contenders = (self.job.oracle, *self.job.runners)
        keys = {contender.name: self._key(contender) for contender in contenders}
        kept = {name: self._kept(key) for name, key in keys.items()}
        decoded = self._kept(self._key(None))
        missing = [contender for contender in contenders if kept[contender.name] is None]
        try:
            if missing or decoded is None:
                decoded = self._decode(decoded)
            else:
                self._ask("images", "runtime", PictureTasks.drop, unit=self.number)
            if missing and len(decoded["readable"]):
                self._compute(missing, keys, kept)
        finally:
            self.rows.unlink(missing_ok=True)
        return self._outcome(kept, decoded, self.bench.store.damaged[damaged:])

    def _key(self, contender: Contender | None) -> str:
        images = {"images": self.hashes}
        if contender is None:
            return hash_json(
                {**images, "decode": self.job.versions, "project": self.job.project, "sets": self.job.sets}
            )
        if contender is self.job.oracle:
            return hash_json({**images, "oracle": contender.identity})
        return hash_json({**images, "runner": contender.identity, "oracle": self.job.oracle.identity})

    def _kept(self, key: str) -> dict[str, Array] | None:
        content = self.bench.store.get("units", key)
        if content is None:
            return None
        try:
            return load(content)
        except SafetensorError:  # a whole entry of somebody else's
            self.bench.store.damaged.append(key)
            return None

    def _decode(self, decoded: dict[str, Array] | None) -> dict[str, Array]:
        """Make the rows, and keep which images have none and why, where that is not ``decoded`` already."""
        found = self._ask(
            "images", "runtime", PictureTasks.decode, unit=self.number, pictures=self.pictures, out=self.rows
        )  # fmt: skip
        self._spent("decode", found.seconds)
        if decoded is not None:
            return decoded
        readable = [number for number in range(len(self.pictures)) if number not in found.unreadable]
        reasons = json.dumps(sorted(found.unreadable.items())).encode()
        made: dict[str, Array] = {
            "readable": np.array(readable, np.int64),
            "reasons": np.frombuffer(reasons, np.uint8).copy(),
        }
        self.bench.store.put("units", self._key(None), save(made))
        return made

    def _compute(
        self, missing: Sequence[Contender], keys: Mapping[str, str], kept: dict[str, dict[str, Array] | None]
    ) -> None:
        for contender in missing:
            with self.bench.computing:
                scores = self._scores(contender)
            if contender is self.job.oracle:
                entry = {"scores": scores.astype(np.float64)}
            else:
                oracle = kept[self.job.oracle.name]
                assert oracle is not None
                entry = record(scores, oracle["scores"])
            kept[contender.name] = entry
            self.bench.store.put("units", keys[contender.name], save(entry))
            self.computed.append(contender.name)

    def _scores(self, contender: Contender) -> Array:
        out = self.bench.folder / f"scores-{self.number}.safetensors"
        files = [self.bench.file(contender.identity, key, name) for name, key in contender.artefact]
        try:
            taken = self._ask(
                contender, contender.process, AgreeTasks.predict,
                runner=contender.runner, precision=contender.precision, inputs=self.rows, out=out,
                batch=self.job.batch, output=self.job.output, settings=dict(contender.settings),
                artefact=files[0] if files else None,
            )  # fmt: skip
            self._spent(contender.name, taken)
            return load_file(out)["scores"]
        finally:
            out.unlink(missing_ok=True)

    def _ask(self, who: str | Contender, process: str, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Ask a process; one that ends is started again, once, unless it was ended because it hung."""
        name, key = (who, who) if isinstance(who, str) else (who.name, who.identity)
        about = () if isinstance(who, str) else (who.threads, who.weights, find_runner(who.runner).variables)
        for start in range(_STARTS):
            session = self.bench.session(key, process, *about)
            try:
                return session.submit(task, *args, **kwargs).result(self.job.limit_s)
            except Late:
                self.bench.end(key, session)
                raise Unavailable(
                    f"'{name}' took more than {self.job.limit_s:.0f} s over images {self._where()}, and was ended; "
                    "--limit gives it longer, fewer --unit images make less work"
                ) from None
            except WorkerDied as error:
                self.bench.end(key, session)
                if start == _STARTS - 1 or isinstance(error, WorkerHung):
                    raise type(error)(f"'{name}' failed on images {self._where()}: {error}") from error
            except PortproofError as error:
                kind = Unavailable if isinstance(error, Unavailable) else BadInput
                raise kind(f"'{name}' on images {self._where()}: {error}") from error
        raise AssertionError("unreachable")

    def _where(self) -> str:
        return f"{self.first} to {self.first + len(self.pictures) - 1}"

    def _spent(self, what: str, seconds: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def _outcome(
        self, kept: Mapping[str, dict[str, Array] | None], decoded: Mapping[str, Array], damaged: list[str]
    ) -> UnitOutcome:
        readable = decoded["readable"].tolist()
        unreadable: list[tuple[int, str]] = json.loads(decoded["reasons"].tobytes())
        about = {
            "names": [self.pictures[number].name for number in readable],
            "numbers": [self.first + number for number in readable],
            "labels": [self.pictures[number].label for number in readable],
        }
        tallies: dict[str, Tally] = {}
        oracle = kept[self.job.oracle.name]
        if readable and oracle is not None:
            own = record(oracle["scores"], oracle["scores"])
            entries = [(self.job.oracle, own), *((runner, kept[runner.name]) for runner in self.job.runners)]
            for contender, entry in entries:
                assert entry is not None
                tallies[contender.name] = tally(
                    entry, oracle["scores"], self.job.yardstick, contender.precision, **about
                )
        return UnitOutcome(
            tallies, len(readable),
            [(self.first + number, self.pictures[number].name, reason) for number, reason in unreadable],
            hash_json({"images": self.hashes}), sum(picture.weight for picture in self.pictures),
            self.computed, self.seconds, damaged,
        )  # fmt: skip
