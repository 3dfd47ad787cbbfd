"""Real trainings: begin, go on, keep, test; both sides at a time, from one starting point."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._disk import exclusive, require_writable, write_text
from portproof._errors import BadInput, Unavailable, require_packages
from portproof._machine import host, thread_budget
from portproof.checkpoints import Stored, write_checkpoint
from portproof.ports._locate import Located
from portproof.ports._port import LEADING, Side
from portproof.sides._session import Sessions, frameworks_here
from portproof.sides._tasks import Tasks
from portproof.training._agreement import agreements, trained_weights
from portproof.training._data import data_packages, require_data
from portproof.training._learner import require_declared
from portproof.training._opened import Opened
from portproof.training._starting import Start, starts
from portproof.training._state import Recipe, State, load, require_same
from portproof.training._tasks import TrainingTasks
from portproof.training._trained import Rows, TrainAgreement, Trained, TrainOptions, TrainProgress

#: A side's files in its folder.
STATE, LOG, TESTS = "training.safetensors", "log.csv", "tests.csv"
WEIGHTS = {"torch": "weights.pt", "paddle": "weights.pdparams"}
#: How long a side's process works before it says what it did.
_PATIENCE = 0.5


def train(located: Located, options: TrainOptions, progress: TrainProgress) -> Trained:
    """Train a port's sides.

    Raises:
        BadInput: an option, the data or a file is wrong; what was kept so far is as it was.
        Unavailable: a framework, the data set's package or the device is not there.
    """
    sides = [side for side in LEADING if options.side in (side, "both")]
    for side in sides:
        if side not in located.port.sides:
            raise BadInput(f"port '{located.port.name}' has no {side} side; --side takes {located.port.sides[0]}.")
    require_packages("this training", *frameworks_here(located, sides), *data_packages(options.data), "matplotlib")
    if options.out.exists() and not options.out.is_dir():
        raise BadInput(f"'{options.out}' is a file; -o takes the folder that is trained in.")
    require_declared(located.port, sides)
    require_data(options.data)
    require_writable(options.out / "x" if options.out.is_dir() else options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    with exclusive(options.out):
        try:
            return _train(located, options, sides, progress)
        finally:
            with contextlib.suppress(OSError):
                options.out.rmdir()  # where nothing came to be kept


def _train(located: Located, options: TrainOptions, sides: list[Side], progress: TrainProgress) -> Trained:
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
        self, sessions: Sessions, sides: list[Side], left: Mapping[Side, State], options: TrainOptions,
        progress: TrainProgress,
    ) -> None:  # fmt: skip
        self.opened = Opened(sessions, options, progress)
        self.sides, self.left, self.options, self.progress = sides, left, options, progress
        self.port = sessions.located.port
        self.files: list[str] = []
        self.stop = threading.Event()

    def train(self) -> Trained:
        looked = self.opened.look(self.sides)
        recipe = self._recipe(looked)
        for side, state in self.left.items():
            require_same(self.options.out / side / STATE, state.recipe, recipe)
        if len(self.sides) == 2:
            self.opened.match()
        begin, files = starts(self.opened, [side for side in self.sides if side not in self.left], recipe)
        self.files += map(str, files)
        begin |= {side: Start(state=self.options.out / side / STATE) for side in self.left}
        rows, tests = self._train_sides(recipe, begin)
        same = None
        if len(self.sides) == 2:
            one, two = ([row["checksum"] for row in rows[side]] for side in self.sides)
            same = one == two
        self._plot(rows, tests)
        found, why_not = self._agreements()
        result = Trained(
            port=self.port.name, data=looked["name"], recipe=asdict(recipe),
            tests={side: tests[side][-1] for side in self.sides},
            seconds={side: round(sum(row["seconds"] for row in rows[side]), 1) for side in self.sides},
            same_bytes=same, agreements=found, unavailable=why_not, files=tuple(self.files),
            environment={**host(), "sides": {side: self.opened.sides[side].call(Tasks.hello) for side in self.sides}},
        )  # fmt: skip
        self._write(self.options.out / "result.json", json.dumps(result.to_json(), indent=1) + "\n")
        return result

    def _recipe(self, looked: Mapping[str, Any]) -> Recipe:
        options = self.options
        steps = max(1, round(options.epochs * looked["train"] / options.batch))
        return Recipe(
            data=options.data, fingerprint=looked["fingerprint"], batch=options.batch, steps=steps, seed=options.seed,
            augment=options.augment, mirror=options.mirror, dropout=options.dropout, settings=dict(options.settings),
            kwargs=dict(self.port.kwargs), threads=self.opened.sessions.threads,
        )  # fmt: skip

    def _train_sides(self, recipe: Recipe, begin: Mapping[str, Start]) -> tuple[dict[str, Rows], dict[str, Rows]]:
        """Train all sides at a time; returns side to the rows of its steps, and of its tests."""
        with ThreadPoolExecutor(len(self.sides)) as pool:
            running = {side: pool.submit(self._train_side, side, recipe, begin[side]) for side in self.sides}
            try:
                wait(running.values(), return_when=FIRST_EXCEPTION)
            finally:
                self.stop.set()  # where one side ended badly, or a person interrupts, the other keeps what it has
        rows: dict[str, Rows] = {}
        tests: dict[str, Rows] = {}
        for side, future in running.items():
            rows[side], tests[side] = future.result()
        return rows, tests

    def _train_side(self, side: str, recipe: Recipe, start: Start) -> tuple[Rows, Rows]:
        session, folder = self.opened.sides[side], self.options.out / side
        folder.mkdir(exist_ok=True)
        self.progress.doing(side, "building the model")
        begun = session.call(
            TrainingTasks.begin,
            recipe=recipe, weights=start.weights, state=start.state, keys=self.opened.keys.get(side, {}),
        )  # fmt: skip
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
        raw, path = trained_weights(self.opened, side), self.options.out / side / WEIGHTS[side]
        self.opened.sides[side].call(TrainingTasks.weights, path=raw)
        write_checkpoint(path, {name: Stored.of(array) for name, array in load_file(raw).items()}, side)
        self.files.append(str(path))

    def _plot(self, rows: Mapping[str, Rows], tests: Mapping[str, Rows]) -> None:
        from portproof.training._plot import plot_curves

        path = self.options.out / "curves.svg"
        self.progress.doing(self.sides[-1], "drawing the curves")
        self._write(path, plot_curves(self.port.name, rows, tests))

    def _agreements(self) -> tuple[tuple[TrainAgreement, ...], str | None]:
        """Return who agrees, or why nobody could be asked: what was trained is kept all the same."""
        if not self.options.agree:
            return (), None
        try:
            return agreements(self.opened, self.sides), None
        except Unavailable as error:
            return (), str(error)


def table(rows: Rows) -> str:
    """Return rows as CSV."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
