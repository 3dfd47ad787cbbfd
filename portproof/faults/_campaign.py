"""``portproof faults``: faults planted on both sides under several seeds, and what the check saw of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from portproof._disk import among, as_kind, exclusive, parse_json, require_writable, save_arrays
from portproof._errors import BadInput, one_line
from portproof._machine import host, thread_budget, tool_version
from portproof.faults._catalogue import sample
from portproof.faults._kinds import Fault
from portproof.faults._sight import Answer, read
from portproof.faults._tasks import FaultTasks, Shown
from portproof.judge._hops import judge_outputs
from portproof.ports._inputs import few_rows, make_batch, take_rows
from portproof.ports._locate import Located
from portproof.ports._port import Side
from portproof.replay._judge import settle_accepted
from portproof.replay._oracle import Measuring
from portproof.replay._replay import Replay, Replayed
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides, Watch
from portproof.sides._tasks import Tasks
from portproof.sides._wire import pack

SCHEMA_VERSION = 2
_CHUNK = 12


@dataclass(frozen=True)
class FaultOptions:
    """What ``faults`` is asked for.

    Attributes:
        count: single faults, over all seeds and both sides.
        groups: pairs and triples of faults planted together, beside them.
        seeds: of weights, probes and places.
        jobs: seeds at a time, each with a process a side; None for as many as there are cores for.
        out: results as they come, a JSON document a line; a run that was cut off goes on from it.
    """

    count: int = 200
    groups: int = 20
    seeds: int = 2
    jobs: int | None = None
    out: Path | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Planted:
    """A group of faults that was planted together, and what became of it.

    See :class:`portproof.faults._sight.Answer`.
    """

    seed: int
    side: Annotated[str, among("torch", "paddle")]
    answer: Answer

    @property
    def key(self) -> tuple[int, str, str]:
        """What identifies it across runs."""
        return self.seed, self.side, self.answer.title

    @property
    def within_parent(self) -> bool:
        """Whether each planted module, or the one that holds it, was named."""
        named = self.answer.named
        return all(module in named or module.rpartition(".")[0] in named for module in self.answer.modules)

    def to_json(self) -> dict[str, Any]:
        """Return the line of the results file."""
        document: dict[str, Any] = pack(self)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Planted:
        """Read back what :meth:`to_json` wrote."""
        return as_kind(cls, document)


@dataclass(frozen=True)
class FaultReport:
    """The outcome of a campaign; true only where every effective fault was caught."""

    port: str
    planted: tuple[Planted, ...]
    environment: dict[str, Any]
    seconds: float

    @property
    def effective(self) -> list[Planted]:
        """The groups that had an effect on the planted side."""
        return [planted for planted in self.planted if planted.answer.effective]

    @property
    def missed(self) -> list[Planted]:
        """Effective groups of which nothing was seen."""
        return [planted for planted in self.effective if not planted.answer.seen]

    @property
    def survivors(self) -> list[Planted]:
        """Groups without effect of which nothing was seen; each carries its explanation."""
        return [p for p in self.planted if not p.answer.effective and not p.answer.seen]

    def precision_and_recall(self) -> tuple[float, float]:
        """Return the share of named modules that were planted, and of planted modules that were named."""
        met = sum(len(p.answer.named & p.answer.modules) for p in self.effective)
        named = sum(len(p.answer.named - p.answer.hidden) for p in self.effective)
        planted = sum(len(p.answer.modules) for p in self.effective)
        return met / max(1, named), met / max(1, planted)

    @property
    def exit_code(self) -> int:
        """0 where all effective faults were caught, 1 where one was missed, 3 where none was effective."""
        return 1 if self.missed else 0 if self.effective else 3

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``faults --json``."""
        precision, recall = self.precision_and_recall()
        effective = self.effective
        return {
            "schema_version": SCHEMA_VERSION, "port": self.port, "planted": len(self.planted),
            "effective": len(effective), "caught": len(effective) - len(self.missed),
            "located": sum(p.answer.exact for p in effective),
            "within_parent": sum(p.within_parent for p in effective),
            "precision": precision, "recall": recall,
            "faults": [planted.to_json() for planted in self.planted],
            "environment": self.environment, "seconds": round(self.seconds, 1),
        }  # fmt: skip


def plant_faults(located: Located, options: FaultOptions, watch: Watch) -> FaultReport:
    """Plant faults in a right port and count what the module-by-module check sees of them.

    Args:
        located: the port; both its sides must be models.
        options: how many, and where results go.
        watch: told how far it is.

    Raises:
        BadInput: the port has one side, is itself divergent, or the results file is of something else.
    """
    begun = time.perf_counter()
    if len(located.port.sides) < 2 or any(located.port.artefact(side) for side in located.port.sides):
        raise BadInput(f"port '{located.port.name}' has not two models; faults are seen by the side that has none.")
    about = {"port": located.port.name, "kwargs": dict(options.kwargs)}
    with _Results.of(options.out, about) as kept:
        return _plant(located, options, watch, kept, begun)


def _plant(located: Located, options: FaultOptions, watch: Watch, kept: _Results, begun: float) -> FaultReport:
    jobs = options.jobs or max(1, thread_budget() // 2)
    threads = max(1, thread_budget() // (2 * jobs))
    progress = _Progress(watch, options.count + options.groups)
    shares = _shares(options)

    def run(seeds: Sequence[int]) -> None:
        with Sessions(located, options.kwargs, "cpu", threads) as sessions:
            campaign = _Campaign(sessions, kept, progress)
            for seed in seeds:
                campaign.run(seed, *shares[seed])

    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(run, range(job, options.seeds, jobs)) for job in range(jobs)]
        for done in as_completed(running):
            done.result()
    wanted = [planted for planted in kept.planted if planted.seed < options.seeds]
    return FaultReport(located.port.name, tuple(wanted), host(), time.perf_counter() - begun)


def _shares(options: FaultOptions) -> list[tuple[int, int]]:
    """Divide singles and groups among the seeds: each seed's number of both."""
    edges = [
        [round(total * i / options.seeds) for i in range(options.seeds + 1)]
        for total in (options.count, options.groups)
    ]
    return [(s1 - s0, g1 - g0) for (s0, s1), (g0, g1) in zip(*map(itertools.pairwise, edges), strict=True)]


class _Campaign:
    """Two processes, one a side; each seed loads new weights into them."""

    def __init__(self, sessions: Sessions, kept: _Results, progress: _Progress) -> None:
        self.sessions, self.kept, self.progress = sessions, kept, progress
        self.sides = Sides(sessions, lambda *_: None)
        self.sides.require_match()
        self.pairs = self.sides.pairs()

    def run(self, seed: int, singles: int, groups: int) -> None:
        """Plant this seed's share on both sides, each side on the other's taps."""
        port, folder = self.sessions.located.port, self.sides.folder
        batch = make_batch(port, seed=seed)
        inputs, few = folder / "inputs.safetensors", folder / "few.safetensors"
        save_arrays(inputs, batch.arrays)
        save_arrays(few, take_rows(port, batch.arrays, few_rows(batch)))
        files = self.sides.spread(*self.sides.sensitise(inputs, seed))
        for side, file in files.items():
            self.sides.do(side, "loading weights", Tasks.load, weights=file)
        one, two = self.sides.live
        replays = {
            planted: Replay(
                self.sides.do, lead, planted, self.pairs, few, folder / f"taps-{seed}-{lead}", accepted=port.accepted
            )
            for lead, planted in ((one, two), (two, one))
        }
        passes = {planted: replay.submit() for planted, replay in replays.items()}
        measuring = Measuring(self.sides, few, folder / f"few-{seed}")
        outputs = {side: measuring.outputs(side) for side in (one, two)}
        floors = measuring.oracle(outputs).floors
        first, second = (outputs[side]["float64"] for side in (one, two))
        hop = judge_outputs("semantics", one.title, two.title, "float64", "sensitised", second, first, floors)
        judged: dict[Side, Replayed] = {}
        asked: list[tuple[Side, Future[list[Shown]]]] = []
        for index, (planted, replay) in enumerate(replays.items()):
            judged[planted] = clean = replay.judge(passes[planted], agree=hop.verdict != "divergent")
            culprits, _ = settle_accepted(port.accepted, clean.culprits, clean.found, clean.absolved)
            if culprits:
                said = f"'{culprits[0].module}' {culprits[0].message}"
                raise BadInput(f"port '{port.name}' is itself divergent ({said}); run `portproof verify` first.")
            half = (singles + 1 - index) // 2, (groups + 1 - index) // 2
            put_out = folder / f"few-{seed}" / f"{replay.lead}-float64" / "float64.safetensors"
            submitted = self._submit(clean, put_out, seed, *half)
            asked += [(planted, future) for future in submitted]
        for planted, future in asked:
            for answer in future.result():
                self.kept.add(Planted(seed, planted, read(judged[planted], floors, answer)))
                self.progress.step()

    def _submit(
        self, clean: Replayed, outputs: Path, seed: int, singles: int, groups: int
    ) -> Iterator[Future[list[Shown]]]:
        replay, side = clean.replay, clean.replay.follower
        keys = self.pairs.keys[side]
        listed = self.sides.do(
            side, "listing faults", FaultTasks.catalogue, pairs=keys, inputs=replay.inputs, folder=replay.taps
        ).result()  # fmt: skip
        faults = [fault for fault in listed if not {keys[path] for path in fault.modules} & clean.absolved]
        wanted = [[fault] for fault in sample(faults, singles, seed)] + _groups(faults, groups, seed)
        left = [group for group in wanted if (seed, side, " + ".join(map(str, group))) not in self.kept.keys]
        self.progress.step(len(wanted) - len(left))
        for start in range(0, len(left), _CHUNK):
            yield self.sides.do(
                side, "planting faults", FaultTasks.plant, pairs=keys, inputs=replay.inputs, folder=replay.taps,
                outputs=outputs, faults=left[start : start + _CHUNK], seed=seed,
            )  # fmt: skip


def _groups(faults: Sequence[Fault], count: int, seed: int) -> list[list[Fault]]:
    """Draw pairs and triples, in turn, of faults in different modules."""
    rng = np.random.default_rng(seed)
    drawn: list[list[Fault]] = []
    while len(drawn) < count:
        chosen = sample(faults, 2 + len(drawn) % 2, int(rng.integers(2**31)))
        paths = [path for fault in chosen for path in fault.modules]
        if len(set(paths)) == len(paths):
            drawn.append(chosen)
    return drawn


class _Progress:
    """How many are done, and how long the rest will take."""

    def __init__(self, watch: Watch, total: int) -> None:
        self._watch, self._total, self._done, self._begun = watch, total, 0, time.monotonic()
        self.step(0)

    def step(self, count: int = 1) -> None:
        """Count so many more as done."""
        self._done += count
        left = (time.monotonic() - self._begun) / max(1, self._done) * (self._total - self._done)
        about = f", {left / 60:.0f} min left" if left > 90 else f", {left:.0f} s left" if self._done else ""
        self._watch("faults", f"{self._done:,} of {self._total:,} planted{about}")


class _Results:
    """Results as lines of a file: read back when a run goes on, added to as answers come.

    Every line ends with a checksum of the rest. One that was cut off, at the end, is planted again; any other that is
    not as it was written ends the run: a count made from it would be wrong.
    """

    def __init__(self, path: Path | None, header: Mapping[str, Any]) -> None:
        self.path = path
        self.planted: list[Planted] = []
        if path is not None:
            self._read(path, dict(header))
        self.keys = {planted.key for planted in self.planted}

    @classmethod
    @contextlib.contextmanager
    def of(cls, path: Path | None, about: Mapping[str, Any]) -> Iterator[_Results]:
        """Yield the results in a file, which is this run's alone meanwhile."""
        header = {"schema_version": SCHEMA_VERSION, "portproof": tool_version(), **about}
        if path is None:
            yield cls(None, header)
            return
        require_writable(path)
        path.touch()
        with exclusive(path):
            yield cls(path, header)

    def _read(self, path: Path, header: dict[str, Any]) -> None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            # In place: another file under this name would not be the one that is held.
            os.truncate(path, len("".join(whole).encode()))
            if not whole:
                self._append(header)
                return
            first, *documents = [_checked(line) for line in whole]
            self.planted = [Planted.from_json(document) for document in documents]
        except ValueError as error:
            raise BadInput(
                f"'{path}' is damaged, or no results file of `portproof faults` ({one_line(error, 80)}); name another "
                "or remove it."
            ) from error
        if first != header:
            raise BadInput(f"'{path}' holds results of {first}, this run is of {header}; name another file.")

    def add(self, planted: Planted) -> None:
        """Keep one result, on disk too."""
        self.planted.append(planted)
        if self.path is not None:
            self._append(planted.to_json())

    def _append(self, document: Mapping[str, Any]) -> None:
        assert self.path is not None
        text = json.dumps(document)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\t{zlib.crc32(text.encode()):08x}\n")


def _checked(line: str) -> Any:
    text, _, checksum = line.rstrip("\n").rpartition("\t")
    if f"{zlib.crc32(text.encode()):08x}" != checksum:
        raise ValueError("a line's checksum is wrong")
    return parse_json(text)
