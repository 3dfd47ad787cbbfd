"""What every timed process starts from: the weights, exports and oracle that ``verify`` judges."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput, PortproofError, Unavailable
from portproof._numbers import Arrays
from portproof.bench._tasks import BenchTasks
from portproof.graphs._lowered import QUANTISED, calibration_file, claimed, claimed_of, is_dynamic, lowered
from portproof.judge._floor import Floor
from portproof.judge._hops import judge_outputs
from portproof.judge._report import Hop
from portproof.ports._inputs import make_batch
from portproof.ports._port import PROGRAMS
from portproof.replay._oracle import Measuring, Oracle
from portproof.runners import RunnerInfo
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks
from portproof.sides._weights import given, given_label, load_weights

#: The file of rows that requests are made of; whoever has better ones than the port itself puts them there beforehand.
REQUESTS = "requests.safetensors"


@dataclass(frozen=True)
class PreparedPort:
    """What timed processes start from.

    Attributes:
        folder: for files of the run.
        weights: side to its state dict.
        artefacts: kind (``onnx``, ``program``, ``onnx-int8``) and side to the file, or to what stood in the way of it.
        rows: the inputs that requests are made of.
        oracle: the float64 outputs of those rows.
        floors: by output.
        batched: names of the inputs that have rows.
        work_gflop: of one row; None where it cannot be counted.
        label: of the weights.
        claims: by kind and side, what a quantised graph computes: its runtimes are judged by that.
        claimed_alone: by kind and side, of those whose rows depend on each other, what they compute of one request.
    """

    folder: Path
    weights: Mapping[str, Path]
    artefacts: Mapping[tuple[str, str], Path | PortproofError]
    rows: Arrays
    oracle: Arrays
    floors: Mapping[str, Floor]
    batched: frozenset[str]
    work_gflop: float | None
    label: str = "sensitised"
    claims: Mapping[tuple[str, str], Oracle] = field(default_factory=dict)
    claimed_alone: Mapping[tuple[str, str], Callable[[Arrays], Oracle | None]] = field(default_factory=dict)
    _known: dict[tuple[str, str, int, int], Oracle | None] = field(default_factory=dict)

    def request(self, size: int, number: int) -> Path:
        """Write one request of some rows, others for each number, and return its file."""
        path = self.folder / f"request-{size}-{number}.safetensors"
        if not path.is_file():
            chosen = self._chosen(size, number)
            save_arrays(path, {n: a[chosen] if n in self.batched else a for n, a in self.rows.items()})
        return path

    def _chosen(self, size: int, number: int) -> list[int]:
        count = len(next(iter(self.oracle.values())))
        return [(number * size + i) % count for i in range(size)]

    def file_bytes(self, info: RunnerInfo) -> int | None:
        """Return the size of the files that a runner loads: its export or saved program, else the weights."""
        found = self.weights[info.side] if info.artefact == "model" else self.artefacts.get((info.artefact, info.side))
        if not isinstance(found, Path):
            return None
        beside = [found.with_suffix(".pdiparams")] if found.suffix in PROGRAMS else [Path(f"{found}.data")]
        return sum(path.stat().st_size for path in (found, *beside) if path.is_file())

    @property
    def out(self) -> Path:
        """Where a timed process leaves what it put out."""
        return self.folder / "timed"

    def cache(self, runner: str, size: int) -> Path:
        """Return the folder where processes of one runner, with its settings, keep what is costly to build again."""
        path = self.folder / "cache" / f"{runner.replace(':', '-')}-{size}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def judge(self, title: str, info: RunnerInfo, size: int, number: int) -> list[Hop]:
        """Judge what a process put out for a request, before and after it was timed."""
        chosen, key = self._chosen(size, number), (info.artefact, info.side)
        oracle = self.claims.get(key) or Oracle("oracle", dict(self.oracle), self.floors)
        expected = {name: array[chosen] if self.batched else array for name, array in oracle.outputs.items()}
        floors, alone = oracle.floors, self._alone(key, size, number)
        if alone is not None:
            expected = alone.outputs
            floors = {
                name: Floor(max(floor.rms, alone.floors[name].rms), tail=max(floor.tail, alone.floors[name].tail))
                for name, floor in floors.items()
            }
        return [
            judge_outputs(
                "numerics", oracle.source, f"{title}, {when}", info.precisions[-1], self.label,
                load_file(f"{self.out}-{when}.safetensors"), expected, floors,
            )
            for when in ("before", "after")
        ]  # fmt: skip

    def _alone(self, key: tuple[str, str], size: int, number: int) -> Oracle | None:
        """Return what a quantised graph computes of one request, where that depends on its rows together."""
        place = (*key, size, number % len(next(iter(self.oracle.values()))))
        if key in self.claimed_alone and place not in self._known:
            self._known[place] = self.claimed_alone[key](load_file(self.request(size, number)))
        return self._known.get(place)


def prepare(
    sessions: Sessions, folder: Path, runners: Collection[RunnerInfo], checkpoint: Path | None = None
) -> PreparedPort:  # fmt: skip
    """Make weights, exports, the oracle and the floors, as ``verify`` does.

    Args:
        sessions: closed by the caller, so that no model is held while others are timed.
        folder: outlives them.
        runners: whose artefacts are made.
        checkpoint: with the weights; None for sensitised ones.

    Raises:
        BadInput: the checkpoint is none, or does not fit.
    """
    port = sessions.located.port
    sides = Sides(sessions)
    if not sides.live:
        raise BadInput(f"port '{port.name}' is made of files; what is timed is judged by a side that is a model.")
    batch = make_batch(port)
    inputs, judged = folder / "inputs.safetensors", folder / REQUESTS
    save_arrays(inputs, batch.arrays)
    judged = judged if judged.is_file() else inputs
    sides.require_match()
    label, state = "sensitised", None
    if checkpoint is not None:
        label, state = given_label(checkpoint), given(sides, checkpoint).files
    state = state or sides.spread(*sides.sensitise(inputs, seed=0))
    weights = {side: Path(shutil.copyfile(file, folder / file.name)) for side, file in state.items()}
    load_weights(sides, weights)
    measuring = Measuring(sides, judged, folder)
    wanted = {(info.source, info.side) for info in runners}
    artefacts: dict[tuple[str, str], tuple[Path, Future[Any]]] = {}
    for side in sides.live:
        session = sides.open[side]
        if ("onnx", side) in wanted:
            path = folder / f"{side}.onnx"
            artefacts["onnx", side] = path, session.submit(Tasks.export, inputs=inputs, out=path)
        if ("program", side) in wanted:
            path = folder / "inference"
            artefacts["program", side] = path.with_suffix(".json"), session.submit(Tasks.save_program, out=path)
    work = sides.open[sides.live[0]].submit(BenchTasks.work, inputs=inputs)
    oracle = measuring.result()
    finished: dict[tuple[str, str], Path | PortproofError] = {}
    for key, (path, future) in artefacts.items():
        try:
            future.result()
            finished[key] = path
        except PortproofError as error:
            finished[key] = Unavailable(f"it needs the {'export' if key[0] == 'onnx' else 'saved program'}: {error}")
    claims: dict[tuple[str, str], Oracle] = {}
    alone: dict[tuple[str, str], Callable[[Arrays], Oracle | None]] = {}
    for info in runners:
        key, made = (info.artefact, info.side), finished.get((info.source, info.side))
        if info.artefact == info.source or key in finished:
            continue
        try:
            if isinstance(made, PortproofError):
                raise made
            finished[key] = path = lowered(sides, made, info, calibration_file(port, batch.arrays, folder), inputs)
            if info.precisions[-1] in QUANTISED:
                claims[key] = claimed(sides, path, judged)
                if is_dynamic(path):
                    alone[key] = functools.partial(claimed_of, port, path)
        except PortproofError as error:
            finished[key] = error
    batched = frozenset(name for name, declared in port.inputs.items() if declared.has_rows)
    counted = work.result()
    return PreparedPort(
        folder, weights, finished, load_file(judged), oracle.outputs, oracle.floors, batched, counted or None, label,
        claims, alone,
    )  # fmt: skip
