"""Real trainings: begin, go on, keep, test; both sides at a time, from one starting point."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import exclusive, require_writable, save_arrays, write_text
from portproof._errors import BadInput, Unavailable
from portproof._machine import host, thread_budget
from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint
from portproof.convert._account import Account
from portproof.convert._transfer import transfer
from portproof.ports._locate import Located
from portproof.ports._port import TITLE, other
from portproof.runners import EAGER
from portproof.sides._given import given_weights
from portproof.sides._session import Session, Sessions
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks
from portproof.training._state import Recipe, State, is_training, load, write
from portproof.training._tasks import TrainingTasks
from portproof.training._trained import Agreement, Progress, Rows, Trained, TrainOptions

#: A side's files in its folder.
STATE, LOG, TESTS = "training.safetensors", "log.csv", "tests.csv"
#: Beside the sides' folders: what they began with.
START = "start.safetensors"
WEIGHTS = {"torch": "weights.pt", "paddle": "weights.pdparams"}
#: How long a side's process works before it says what it did.
_PATIENCE = 0.5
#: Paddle's Adam runs on another OpenMP runtime than its convolutions, and the idle threads of each wait for work in
#: a loop, on the cores that the other needs: with two threads, everything takes three times as long from the second
#: step on. So they sleep.
_ENVIRONMENT = {"KMP_BLOCKTIME": "0"}
#: Images that the starting weights are normalised on.
_EXAMPLES = 32


def train(located: Located, options: TrainOptions, progress: Progress) -> Trained:
    """Train a port's sides.

    Raises:
        BadInput: an option, the data or a file is wrong; what was kept so far is as it was.
        Unavailable: a framework, the data set's package or the device is not there.
    """
    sides = [side for side in ("torch", "paddle") if options.side in (side, "both")]
    for side in sides:
        if side not in located.port.sides:
            raise BadInput(f"port '{located.port.name}' has no {side} side; --side takes {located.port.sides[0]}.")
    if options.out.exists() and not options.out.is_dir():
        raise BadInput(f"'{options.out}' is a file; -o takes the folder that is trained in.")
    require_writable(options.out / "x" if options.out.is_dir() else options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    with exclusive(options.out):
        try:
            return _train(located, options, sides, progress)
        finally:
            with contextlib.suppress(OSError):
                options.out.rmdir()  # where nothing came to be kept


def _train(located: Located, options: TrainOptions, sides: list[str], progress: Progress) -> Trained:
    for side in sides:
        if (options.out / side / STATE).is_file() and not options.resume:
            raise BadInput(
                f"'{options.out / side}' holds a training already; --resume goes on with it, another -o begins anew."
            )
    left = {side: state for side in sides if (state := _left(located.port.name, side, options.out)) is not None}
    threads = next((state.recipe.threads for state in left.values()), max(1, thread_budget() // len(sides)))
    with Sessions(located, options.kwargs, options.device, options.threads or threads) as sessions:
        return _Run(sessions, sides, left, options, progress).train()


def _left(port: str, side: str, folder: Path) -> State | None:
    """Return the training that was left in a folder, if there is one."""
    file = folder / side / STATE
    if not file.is_file():
        return None
    state = load(file)
    if (state.port, state.side) != (port, side):
        raise BadInput(f"'{file}' is a training of port '{state.port}' on the {state.side} side.")
    return state


class _Run:
    """One call of ``train``."""

    def __init__(
        self, sessions: Sessions, sides: list[str], left: Mapping[str, State], options: TrainOptions, progress: Progress
    ) -> None:
        self.sessions, self.sides, self.left, self.options, self.progress = sessions, sides, left, options, progress
        self.port = sessions.located.port
        self.folder = sessions.folder
        self.keys: dict[str, dict[str, str]] = {}
        self.account: Account | None = None
        self.open: dict[str, Session] = {}
        self.own: dict[str, Any] = {}
        self.files: list[str] = []
        self.stop = threading.Event()

    def train(self) -> Trained:
        looked = self._look(self.sides)
        recipe = self._recipe(looked)
        for side, state in self.left.items():
            _require_same(self.options.out / side / STATE, state.recipe, recipe)
        if len(self.sides) == 2:
            self._match()
        starts = self._starts([side for side in self.sides if side not in self.left], recipe)
        rows: dict[str, Rows] = {}
        tests: dict[str, Rows] = {}
        files = {side: self.options.out / side / STATE if side in self.left else None for side in self.sides}
        with ThreadPoolExecutor(len(self.sides)) as pool:
            running = {
                side: pool.submit(self._train_side, side, recipe, starts.get(side), files[side]) for side in self.sides
            }
            try:
                wait(running.values(), return_when=FIRST_EXCEPTION)
            finally:
                self.stop.set()  # where one side ended badly, or a person interrupts, the other keeps what it has
        for side, future in running.items():
            rows[side], tests[side] = future.result()
        same = None
        if len(self.sides) == 2:
            one, two = ([row["checksum"] for row in rows[side]] for side in self.sides)
            same = one == two
        self._plot(rows, tests)
        agreements, why_not = self._agreements()
        result = Trained(
            port=self.port.name, data=looked["name"], recipe=asdict(recipe),
            tests={side: tests[side][-1] for side in self.sides},
            seconds={side: round(sum(row["seconds"] for row in rows[side]), 1) for side in self.sides},
            same_bytes=same, agreements=agreements, unavailable=why_not, files=tuple(self.files),
            environment={**host(), "sides": {side: self.open[side].call(Tasks.hello) for side in self.sides}},
        )  # fmt: skip
        self._write(self.options.out / "result.json", json.dumps(result.to_json(), indent=1) + "\n")
        return result

    def _look(self, sides: Sequence[str]) -> dict[str, Any]:
        """Load the data in every process, and see that it is the same."""
        found = {}
        for side in sides:
            if side not in self.open:
                self.progress.doing(side, "loading the data")
                self.open[side] = self.sessions.open(side, environment=_ENVIRONMENT)
                found[side] = self.open[side].call(TrainingTasks.look, data=self.options.data, seed=self.options.seed)
        prints = {entry["fingerprint"] for entry in found.values()}
        if len(prints) > 1:
            raise BadInput(f"'{self.options.data}' is not the same for both sides; their environments differ.")
        return next(iter(found.values())) if found else {}

    def _recipe(self, looked: Mapping[str, Any]) -> Recipe:
        options = self.options
        steps = max(1, round(options.epochs * looked["train"] / options.batch))
        return Recipe(
            data=options.data, fingerprint=looked["fingerprint"], batch=options.batch, steps=steps, seed=options.seed,
            augment=options.augment, mirror=options.mirror, dropout=options.dropout, settings=dict(options.settings),
            kwargs=dict(self.port.kwargs), threads=self.sessions.threads,
        )  # fmt: skip

    def _match(self) -> None:
        """Settle how the two sides correspond, once."""
        if self.account is not None:
            return
        sides = Sides(self.sessions)
        self.account = sides.require_match()
        self.own = {side: sides.own(side) for side in sides.live}
        self.keys = sides.pairs().keys
        for session in sides.open.values():  # their models would be held for hours
            session.close()

    def _starts(self, sides: list[str], recipe: Recipe) -> dict[str, tuple[Path, bool]]:
        """Write what each side begins with; returns side to file and whether it is a training to go on with."""
        if not sides:
            return {}
        begun = self.options.out / START
        path = begun if self.options.resume and begun.is_file() else Path(self.options.start)
        given = path == begun or self.options.start not in ("normalised", "factory")
        if given and is_training(path):
            state = load(path)
            if any(side != state.side for side in sides):
                self._match()
            return {side: (self._from_training(state, side, recipe), True) for side in sides}
        source = open_checkpoint(path).side if given else sides[0]
        if any(side != source for side in sides):
            self._match()
        lead, weights = self._given_weights(path, source) if given else self._own_weights(sides[0])
        if path != begun:
            write_checkpoint(begun, {name: Stored.of(array) for name, array in weights.items()}, lead)
        self.files.append(str(begun))
        found = {}
        for side in sides:
            mine = weights
            if side != lead:
                assert self.account is not None
                mine = transfer(weights, self.account, side, self.own[side])
            found[side] = self.folder / f"start-{side}.safetensors", False
            save_arrays(found[side][0], mine)
        return found

    def _own_weights(self, side: str) -> tuple[str, dict[str, Any]]:
        """Return weights that a side makes itself."""
        out = self.folder / "first.safetensors"
        if self.options.start == "factory":
            self.open[side].call(Tasks.save_state, out=out)
        else:
            self.progress.doing(side, "normalising weights")
            examples = self.folder / "examples.safetensors"
            self.open[side].call(TrainingTasks.examples, out=examples, count=_EXAMPLES)
            self.open[side].call(TrainingTasks.normalise, inputs=examples, out=out, seed=self.options.seed)
        return side, load_file(out)

    def _given_weights(self, path: Path, source: str | None) -> tuple[str, dict[str, Any]]:
        """Return the side whose weights a file holds, and they."""
        asked = [source] if source in self.port.sides else list(self.port.sides)
        tensors, lead = given_weights(path, {side: self._session(side) for side in asked})
        return lead, tensors

    def _session(self, side: str) -> Session:
        self._look([side])
        return self.open[side]

    def _from_training(self, state: State, side: str, recipe: Recipe) -> Path:
        """Carry a training of the other side over: its weights, what its optimiser keeps, and its place."""
        _require_same(Path(self.options.start), state.recipe, recipe)
        if state.side != side:
            assert self.account is not None
            state = state.on(side, self.account, self.own[side])
        path = self.folder / f"from-{side}.safetensors"
        write(path, state)
        return path

    def _train_side(
        self, side: str, recipe: Recipe, start: tuple[Path, bool] | None, file: Path | None
    ) -> tuple[Rows, Rows]:
        session, folder = self.open[side], self.options.out / side
        folder.mkdir(exist_ok=True)
        self.progress.doing(side, "building the model")
        weights = start[0] if start is not None and not start[1] else None
        state = file if file is not None else start[0] if start is not None and start[1] else None
        begun = session.call(
            TrainingTasks.begin, recipe=recipe, weights=weights, state=state, keys=self.keys.get(side, {})
        )
        rows, tests = list(begun["rows"]), list(begun["tests"])
        each = max(1, round(recipe.steps / max(1.0, self.options.epochs)))
        kept = time.monotonic()
        self.progress.steps(side, rows, begun["step"], recipe.steps)
        done = begun["step"]
        while done < recipe.steps and not self.stop.is_set():
            until = min(recipe.steps, done - done % each + each)
            new = session.call(TrainingTasks.run, seconds=_PATIENCE, until=until)
            rows, done = rows + new, new[-1]["step"]
            self.progress.steps(side, rows, done, recipe.steps)
            ended = done == recipe.steps or self.stop.is_set()
            if done % each == 0 or done == recipe.steps:
                self.progress.doing(side, "testing")
                tests.append(session.call(TrainingTasks.test))
                self.progress.tested(side, tests[-1])
            if ended or time.monotonic() - kept > self.options.keep_every:
                session.call(TrainingTasks.keep, path=(folder / STATE).absolute())
                kept = time.monotonic()
                self._write(folder / LOG, table(rows))
                self._write(folder / TESTS, table(tests))
        self._write(folder / LOG, table(rows))
        self._write(folder / TESTS, table(tests))
        self._write_weights(side)
        self.files.append(str(folder / STATE))
        return rows, tests

    def _write(self, path: Path, text: str) -> None:
        write_text(path, text)
        if str(path) not in self.files:
            self.files.append(str(path))

    def _write_weights(self, side: str) -> None:
        """Write the trained weights as any user of the framework keeps them."""
        raw, path = self.folder / f"trained-{side}.safetensors", self.options.out / side / WEIGHTS[side]
        self.open[side].call(TrainingTasks.weights, path=raw)
        write_checkpoint(path, {name: Stored.of(array) for name, array in load_file(raw).items()}, side)
        self.files.append(str(path))

    def _plot(self, rows: Mapping[str, Rows], tests: Mapping[str, Rows]) -> None:
        from portproof.training._plot import plot_curves

        path = self.options.out / "curves.svg"
        self.progress.doing(self.sides[-1], "drawing the curves")
        self._write(path, plot_curves(self.port.name, rows, tests))

    def _agreements(self) -> tuple[tuple[Agreement, ...], str | None]:
        """Return who agrees, or why nobody could be asked: what was trained is kept all the same."""
        if not self.options.agree:
            return (), None
        try:
            return self._agree(), None
        except Unavailable as error:
            return (), str(error)

    def _agree(self) -> tuple[Agreement, ...]:
        """Ask every side and both exports what they see in the test images with each side's trained weights."""
        if len(self.port.sides) < 2:
            return ()
        self._match()
        assert self.account is not None
        both = list(self.port.sides)
        self._look(both)
        runtime = self.sessions.open("runtime")
        runtime.call(TrainingTasks.look, data=self.options.data, seed=self.options.seed)
        labels = np.array(self.open[self.sides[0]].call(TrainingTasks.labels))
        found: list[Agreement] = []
        for trained in self.sides:
            opposite = other(trained)
            raw = load_file(self.folder / f"trained-{trained}.safetensors")
            files = {trained: raw, opposite: transfer(raw, self.account, opposite, self.own[opposite])}
            with ThreadPoolExecutor(2) as pool:
                said = list(pool.map(self._say, files, files.values(), [runtime] * 2))
            truth = said[0][TITLE[trained]]
            for runner, says in {**said[0], **said[1]}.items():
                differing = {name: int(np.count_nonzero(says[name] != truth[name])) for name in truth}
                accuracy = {name: float(np.mean(says[name] == labels)) for name in truth}
                found.append(Agreement(trained, runner, len(labels), differing, accuracy))
        return tuple(found)

    def _say(self, side: str, tensors: Mapping[str, Any], runtime: Session) -> dict[str, dict[str, Any]]:
        """Return what a side and its export say of the test images with some weights."""
        weights, artefact = self.folder / f"agree-{side}.safetensors", self.folder / f"agree-{side}.onnx"
        says = [self.folder / f"says-{side}-{i}.safetensors" for i in range(2)]
        save_arrays(weights, dict(tensors))
        self.progress.doing(side, "seeing the test images")
        self.open[side].call(TrainingTasks.predict, runner=EAGER[side], out=says[0], weights=weights)
        self.progress.doing(side, "exporting to ONNX")
        self._export(side, weights, artefact)
        runtime.call(TrainingTasks.predict, runner=f"onnxruntime-{side}", out=says[1], artefact=artefact)
        return {TITLE[side]: load_file(says[0]), f"{TITLE[side]} export, ONNX Runtime": load_file(says[1])}

    def _export(self, side: str, weights: Path, artefact: Path) -> None:
        session = self.open[side]
        examples = self.folder / f"examples-{side}.safetensors"
        session.call(TrainingTasks.examples, out=examples, count=2)
        session.call(Tasks.load, weights=weights)
        session.call(Tasks.export, inputs=examples, out=artefact)


def _require_same(path: Path, kept: Recipe, asked: Recipe) -> None:
    """See that a training that is gone on with is the one that was asked for."""
    one, two = asdict(kept), json.loads(json.dumps(asdict(asked)))
    for name in one:
        if json.loads(json.dumps(one[name])) != two[name]:
            what = "the data has changed" if name == "fingerprint" else f"its {name} is {one[name]}"
            raise BadInput(
                f"'{path}' is another training: {what}, asked for is {two[name]}; "
                "give what it began with, or another -o."
            )


def table(rows: Rows) -> str:
    """Return rows as CSV."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
