"""A training as tasks in a side's own process: a little at a time, so that the caller can show and keep it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput
from portproof.frameworks._model import Model
from portproof.ports._locate import resolve_factory
from portproof.runners import find_runner
from portproof.sides._roles import never_kept
from portproof.sides._workplace import Workplace
from portproof.training._batches import Batches, TrainBatch, image_size, test_batches
from portproof.training._data import load_data
from portproof.training._learner import Learner, ready_framework, with_steps
from portproof.training._normalised import normalised_start
from portproof.training._state import Recipe, load, restore, save

#: Images at a time when nothing is learned.
TEST_BATCH = 32


@never_kept
class TrainingTasks:
    """Tasks on one side; see :class:`portproof.sides._workplace.Workplace`.

    Args:
        place: of this side.
    """

    spoken = "training."

    def __init__(self, place: Workplace) -> None:
        self.place, self.port, self.side = place, place.job.port, place.job.side
        self._batches: Iterator[TrainBatch] | None = None

    def look(self, data: str, seed: int) -> dict[str, Any]:
        """Load a data set and say what it holds."""
        self.data = load_data(data, seed)
        return {
            "name": self.data.name,
            "classes": list(self.data.classes),
            "train": len(self.data.train),
            "test": len(self.data.test),
            "fingerprint": self.data.fingerprint,
        }

    def examples(self, out: Path, count: int) -> None:
        """Write images of the training part, cut alike, to begin from."""
        self.size = image_size(self.port)
        (name,) = self.port.inputs
        chosen = np.linspace(0, len(self.data.train) - 1, min(count, len(self.data.train))).round().astype(int)
        images = [self.data.train.images[i] for i in chosen]
        part = replace(self.data.train, images=images, labels=self.data.train.labels[chosen])
        rows = np.concatenate([image for image, _ in test_batches(part, self.size, TEST_BATCH)])
        save_arrays(out, {name: rows})

    def normalise(self, inputs: Path, out: Path, seed: int) -> None:
        """Write starting weights that are normalised on some inputs."""
        model = Model(ready_framework(self.place.job), self.port, resolve_factory(self.port, self.side), "float32")
        save_arrays(out, normalised_start(model, load_file(inputs), seed))

    def labels(self) -> list[int]:
        """Return what the test images show."""
        return [int(label) for label in self.data.test.labels]

    def begin(self, recipe: Recipe, weights: Path | None, state: Path | None, keys: dict[str, str]) -> dict[str, Any]:
        """Build the model and its training, from weights or from where a training was left.

        Raises:
            BadInput: the model does not fit the data, or the state does not fit them.
        """
        self.recipe = recipe
        self.size = image_size(self.port)
        settings = with_steps(self.port, self.side, self.recipe.settings, self.recipe.steps)
        self.learner = Learner(
            ready_framework(self.place.job),
            self.port,
            "float32",
            settings,
            self.recipe.seed,
            self.recipe.dropout,
            keys,
            weights,
        )
        self.rows: list[dict[str, Any]] = []
        self.tests: list[dict[str, Any]] = []
        if state is not None:
            found = load(state)
            restore(self.learner, found)
            self.rows, self.tests = [dict(row) for row in found.rows], [dict(row) for row in found.tests]
        self._require_classes()
        batches = Batches(
            self.data, self.size, self.recipe.batch, self.recipe.seed, augment=self.recipe.augment,
            mirror=self.recipe.mirror,
        )  # fmt: skip
        self._batches = batches.from_step(self.learner.steps)
        return {"step": self.learner.steps, "rows": self.rows, "tests": self.tests}

    def _require_classes(self) -> None:
        """Run one image, to see that there is an output for each class."""
        (name,) = self.port.inputs
        row = np.zeros((1, 3, *self.size), np.float32)
        for output, array in self.learner.predict({name: row}).items():
            if array.shape != (1, len(self.data.classes)):
                raise BadInput(
                    f"'{self.data.name}' has {len(self.data.classes)} classes, the model's '{output}' has shape "
                    f"{list(array.shape)} for one image; set the width, for instance --set num_classes="
                    f"{len(self.data.classes)}."
                )

    def run(self, seconds: float, until: int) -> list[dict[str, Any]]:
        """Make steps for some seconds, or until a step; returns a row of the log for each."""
        assert self._batches is not None
        (name,) = self.port.inputs
        begun = time.perf_counter()
        made: list[dict[str, Any]] = []
        while self.learner.steps < until and (not made or time.perf_counter() - begun < seconds):
            batch, at = next(self._batches), time.perf_counter()
            rate = self.learner.learning.learning_rate(self.learner.training.optimizer)
            losses, outputs = self.learner.step({name: batch.image}, batch.labels)
            if not all(np.isfinite(value) for value in losses.values()):
                raise BadInput(
                    f"the {self.side} training went to NaN or infinity at step {self.learner.steps}; what was kept "
                    "last is as it was. Lower the learning rate (--with learning_rate=…) or warm up (--with warmup=…)."
                )
            main = self.learner.framework.to_array(next(iter(outputs.values())))
            row = {
                "step": self.learner.steps,
                "epoch": round(self.learner.steps * self.recipe.batch / len(self.data.train), 4),
                "learning_rate": rate,
                **losses,
                "accuracy": float(np.mean(main.argmax(axis=1) == batch.labels)),
                "images": len(batch.labels),
                "checksum": batch.checksum,
                "seconds": round(time.perf_counter() - at, 4),
            }
            made.append(row)
        self.rows += made
        return made

    def test(self) -> dict[str, Any]:
        """Say how many images of the test part each output recognises, and keep it for the log."""
        found = self._predictions(self.learner.predict)
        labels = self.data.test.labels
        row = {"step": self.learner.steps, **{n: float(np.mean(p == labels)) for n, p in found.items()}}
        self.tests.append(row)
        return row

    def keep(self, path: Path) -> None:
        """Write the training so far."""
        save(path, self.learner, self.recipe, self.rows, self.tests)

    def weights(self, path: Path) -> None:
        """Write the model's state dict."""
        save_arrays(path, self.learner.model.state())

    def predict(self, runner: str, out: Path, weights: Path | None = None, artefact: Path | None = None) -> None:
        """Write what any runner of this port says of each test image: output to class."""
        self.size = image_size(self.port)
        info = find_runner(runner)
        job = replace(
            self.place.job, side=info.side, precision="float32", weights=weights,
            artefact=artefact,
        )  # fmt: skip
        with info.load()(job) as built:
            save_arrays(out, self._predictions(built.run))

    def _predictions(self, run: Any) -> dict[str, Any]:
        (name,) = self.port.inputs
        found: dict[str, list[Any]] = {output: [] for output in self.port.outputs}
        for image, _ in test_batches(self.data.test, self.size, TEST_BATCH):
            for output, logits in run({name: image}).items():
                found[output].append(np.argmax(logits, axis=1).astype(np.int64))
        return {output: np.concatenate(parts) for output, parts in found.items()}
