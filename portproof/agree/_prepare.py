"""What workers start from: the packed project, weights, exports, and the noise floor on the data set's own images."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._disk import hash_json, save_arrays
from portproof._errors import BadInput, Unavailable
from portproof._machine import instruction_sets, package_versions, thread_budget, tool_version
from portproof._numbers import compare
from portproof.agree._decode import Pictures, image_input
from portproof.agree._images import DataImage, Images
from portproof.agree._judge import Yardstick
from portproof.agree._ship import pack
from portproof.agree._store import Store
from portproof.agree._work import PACKAGES, Contender, Job
from portproof.graphs._lowered import CALIBRATION, QUANTISED, calibration_file, lowered
from portproof.judge._floor import is_blind
from portproof.ports._inputs import make_batch
from portproof.ports._locate import Located, artefact_path
from portproof.ports._port import PROGRAMS, Port, Side
from portproof.replay._oracle import Measuring
from portproof.runners import RunnerInfo
from portproof.runners._choice import Choice, parse
from portproof.sides._given import given_weights
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides, Watch
from portproof.sides._tasks import Tasks
from portproof.sides._weights import load_weights

#: Images that the noise floor is measured on: the first of the data set that can be read.
_MEASURED = 64


@dataclass(frozen=True)
class AgreeOptions:
    """What ``agree`` is asked for.

    Attributes:
        images: a folder, a list or tar shards; see :class:`portproof.agree._images.Images`.
        runners: to hold against the oracle, ``name:setting=value``; empty for both frameworks and both exports.
        count: images to draw from those; None for all.
        labels: file of classes by image, or ``"folders"`` where a folder is a class.
        weights: a checkpoint; None for sensitised weights.
        output: whose classes are compared, None for the port's first.
        batch: images in a request.
        unit: images in a work unit, a multiple of ``batch``.
        threads: compute threads of each runner.
        workers: processes of the local cluster, None for as many as fill the machine.
        scheduler: address of a dask scheduler in place of the local cluster.
        store: folder or URL for results, None for the user's cache.
        device: ``"cpu"`` or ``"cuda"``.
        seed: of sensitised weights, and of which images are drawn.
        limit_s: seconds that a runner may take over one unit.
        measure: what the scheduler costs, too, for ``portproof plan``; takes some seconds.
        at_most: rate of disagreement that must not be exceeded, None to ask for none.
        calibrates: set images apart to calibrate on even where no runner is quantised.
        kwargs: for both factories, over the port's own.
    """

    images: str
    runners: tuple[str, ...] = ()
    count: int | None = None
    labels: Path | str | None = None
    weights: Path | None = None
    output: str | None = None
    batch: int = 16
    unit: int = 64
    threads: int = 1
    workers: int | None = None
    scheduler: str | None = None
    store: str | None = None
    device: str = "cpu"
    seed: int = 0
    limit_s: float = 1800.0
    measure: bool = False
    at_most: float | None = None
    calibrates: bool = False
    kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.scheduler is not None and self.workers is not None:
            raise BadInput("--workers is for this machine; a --scheduler has its own.")
        if self.batch < 1 or self.unit < 1 or self.unit % self.batch:
            raise BadInput(f"--unit must be a multiple of --batch, found {self.unit} and {self.batch}.")


def chosen(port: Port, options: AgreeOptions) -> list[Choice]:
    """Return the runners that were asked for.

    Raises:
        BadInput: one does not exist, does not belong to the port, or is named twice.
        Unavailable: it does not run on the device.
    """
    models = [side for side in port.sides if not port.artefact(side)]
    if not models:
        raise BadInput(f"port '{port.name}' is made of files; an oracle needs a side that is a model.")
    named = options.runners or (
        *(side.eager for side in reversed(models)), *(f"onnxruntime-{side}" for side in reversed(port.sides)),
    )  # fmt: skip
    choices = [parse(name) for name in named]
    for choice in choices:
        info = choice.info
        if info.side not in port.sides:
            raise BadInput(f"--runners: '{info.name}' runs a {info.side} side, which port '{port.name}' has not.")
        if info.artefact == "model" and port.artefact(info.side):
            raise BadInput(f"--runners: '{info.name}' runs a model, and the {info.side} side is a file.")
        if options.device not in info.devices:
            raise Unavailable(f"'{info.name}' runs on {' and '.join(info.devices)}, not on {options.device}.")
    names = [choice.name for choice in choices]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"--runners names '{name}' twice.")
    return choices


def images_of(port: Port, options: AgreeOptions) -> Images:
    """Return the images that are judged, and those that are set apart where a runner is calibrated.

    Raises:
        BadInput: no image is there, or a runner does not exist.
        Unavailable: a runner does not run on the device.
    """
    quantised = any(choice.info.precisions[-1] in QUANTISED for choice in chosen(port, options))
    return Images(options.images, options.count, options.seed, calibrates=options.calibrates or quantised)


def write_calibration(port: Port, images: Images, folder: Path) -> None:
    """Write the rows of the images that are set apart to where a quantiser reads its ranges from.

    Raises:
        BadInput: there are some, and none can be read.
    """
    if not images.apart:
        return
    path = folder / CALIBRATION
    unreadable = Pictures(port).decode(0, images.apart, path).unreadable
    if not path.is_file():
        raise BadInput(
            f"--images: of the {len(images.apart)} that are set apart to calibrate on, none can be read as an image: "
            f"{unreadable[0]}."
        )


@dataclass(frozen=True)
class PreparedJob:
    """What workers start from.

    Attributes:
        job: for them.
        blind: whether the scores hardly move over the images, so that nothing could be seen.
        measured: images that the floor was measured on.
        weights: label of the weights.
    """

    job: Job
    blind: bool
    measured: int
    weights: str


class Preparing:
    """Makes, once for the store, what workers start from."""

    def __init__(
        self,
        located: Located,
        options: AgreeOptions,
        choices: Sequence[Choice],
        images: Images,
        store: Store,
        watch: Watch,
    ) -> None:
        port = replace(located.port, kwargs={**located.port.kwargs, **(options.kwargs or {})})
        self.located, self.port, self.options = replace(located, port=port), port, options
        self.images, self.store, self.watch = images, store, watch
        self.choices = choices
        self.output = options.output or port.outputs[0]
        if self.output not in port.outputs:
            raise BadInput(f"--output: port '{port.name}' has {', '.join(port.outputs)}, found '{self.output}'.")
        image_input(port)
        self.shipped = pack(self.located)
        self.project = store.keep(self.shipped.content)
        self.versions = package_versions(*PACKAGES) | {"portproof": tool_version()}
        self.common: dict[str, Any] = {
            "project": self.project, "locator": self.shipped.locator, "kwargs": repr(sorted(port.kwargs.items())),
            "python": self.shipped.python, "versions": self.versions, "device": options.device,
        }  # fmt: skip

    def prepare(self, sets: Sequence[str]) -> PreparedJob:
        """Return what workers start from.

        Args:
            sets: instruction sets of the workers.

        Raises:
            BadInput: no image can be read, or a factory or the weights are wrong.
        """
        self.watch("preparing", "the first images")
        pictures = Pictures(self.port)
        first = list(islice(self.images, _MEASURED))
        hashes = pictures.read(0, first).hashes
        given = None if self.options.weights is None else self._hash_of(self.options.weights)
        made_from = {
            **self.common, "images": hashes, "weights": given, "seed": self.options.seed, "output": self.output,
            "sets": instruction_sets(),
        }  # fmt: skip
        base = self.store.remembered(
            made_from, lambda: self._base(pictures, first), lambda found: found["weights"].values()
        )
        self.watch("preparing", None)
        yardstick = Yardstick(**base["yardstick"])
        sides: dict[str, str] = base["weights"]
        lead = Side(base["lead"])
        about = {**self.common, "output": self.output, "batch": self.options.batch, "sets": list(sets)}
        title = f"{lead.title} in float64"
        oracle = _identified(
            Contender("oracle", lead.eager, title, lead, "float64", self.options.threads, {}, sides[lead]), about
        )
        runners = tuple(_identified(self._contender(choice, sides), about) for choice in self.choices)
        job = Job(
            store=self.store.url, project=self.project, locator=self.shipped.locator, python=self.shipped.python,
            kwargs=dict(self.port.kwargs), oracle=oracle, runners=runners, output=self.output,
            batch=self.options.batch, device=self.options.device, sets=tuple(sets), versions=self.versions,
            limit_s=self.options.limit_s, yardstick=yardstick,
        )  # fmt: skip
        return PreparedJob(job, base["blind"], base["measured"], base["label"])

    def _hash_of(self, path: Path) -> str:
        try:
            return hash_json({"file": self.store.keep(path.read_bytes())})
        except OSError as error:
            raise BadInput(f"--weights: '{path}' cannot be read ({error.strerror}).") from error

    def _base(self, pictures: Pictures, first: Sequence[DataImage]) -> dict[str, Any]:
        """Make the weights and measure the floor on the first images."""
        with Sessions(self.located, None, self.options.device, thread_budget()) as sessions:
            sides = Sides(sessions, self.watch)
            rows = sessions.folder / "rows.safetensors"
            unreadable = pictures.decode(0, first, rows).unreadable
            if not rows.is_file():
                raise BadInput(f"--images: of the first {_MEASURED} none can be read as an image: {unreadable[0]}.")
            label, files = self._weights(sides)
            load_weights(sides, files)
            oracle = Measuring(sides, rows, sessions.folder).result()
            outputs, floors = oracle.outputs, oracle.floors
            if self.output not in outputs or outputs[self.output].ndim != 2:
                shape = list(outputs[self.output].shape)
                raise BadInput(
                    f"output '{self.output}' has shape {shape} for {len(outputs[self.output])} images; classes are "
                    "compared over (batch, classes): name another --output."
                )
            scores, floor = outputs[self.output], floors[self.output]
            seen = compare(scores, scores, "float32")
            yardstick = Yardstick(floor.rms, floor.tail, floor.exact, seen.scale, scores.shape[1])
            return {
                "lead": sides.live[0], "label": label, "measured": len(scores), "yardstick": asdict(yardstick),
                "blind": is_blind(seen, floor, "float32") or math.isinf(seen.spread),
                "weights": {side: self.store.keep(file.read_bytes()) for side, file in files.items()},
            }  # fmt: skip

    def _weights(self, sides: Sides) -> tuple[str, dict[str, Path]]:
        """Return the label of the weights, and a file a side."""
        sides.require_match()
        lead = sides.live[0]
        if self.options.weights is not None:
            tensors, side = given_weights(self.options.weights, sides.open)
            return f"given ({self.options.weights.name})", sides.spread(tensors, side)
        if any(self.port.artefact(side) for side in self.port.sides):  # the file's weights are what they are
            out = sides.folder / "factory.safetensors"
            sides.open[lead].call(Tasks.save_state, out=out)
            return "factory", sides.spread(load_file(out), lead)
        batch = make_batch(self.port)
        inputs = sides.folder / "inputs.safetensors"
        save_arrays(inputs, batch.arrays)
        return "sensitised", sides.spread(*sides.sensitise(inputs, self.options.seed, thread_budget()))

    def _contender(self, choice: Choice, weights: Mapping[str, str]) -> Contender:
        info = choice.info
        artefact: tuple[tuple[str, str], ...] = ()
        if info.artefact != "model":
            artefact = self._artefact(info, weights)
        return Contender(
            choice.name, info.name, choice.title, info.process, info.precisions[-1],
            choice.threads or self.options.threads, choice.full_settings,
            None if artefact else weights[info.side], artefact,
        )  # fmt: skip

    def _artefact(self, info: RunnerInfo, weights: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return names and hashes of the files of an export or of a saved program, the one to open first."""
        kind, side = info.source, info.side
        if info.artefact != kind:
            return self._lowered(info, weights)
        if self.port.artefact(side):
            path = artefact_path(self.located, side)
            if (path.suffix == ".onnx") != (kind == "onnx"):
                raise BadInput(f"the {side} side is '{path.name}', which this runner does not run.")
            return self._keep_files(path)
        made_from = {**self.common, "weights": weights[side], "kind": kind, "side": side}

        def make() -> list[tuple[str, str]]:
            self.watch("preparing", f"the {Side(side).title} {'export' if kind == 'onnx' else 'program'}")
            with Sessions(self.located, None, self.options.device, thread_budget()) as sessions:
                state = self.store.fetch(weights[side], sessions.folder / "weights.safetensors")
                session = sessions.open(side)
                session.call(Tasks.load, weights=state)
                path = sessions.folder / "model.onnx"
                if kind == "onnx":
                    batch = make_batch(self.port, rows=2)
                    inputs = sessions.folder / "inputs.safetensors"
                    save_arrays(inputs, batch.arrays)
                    session.call(Tasks.export, inputs=inputs, out=path)
                else:
                    path = sessions.folder / "model.json"
                    session.call(Tasks.save_program, out=sessions.folder / "model")
                self.watch("preparing", None)
                return list(self._keep_files(path))

        found = self.store.remembered(made_from, make, lambda found: [key for _, key in found])
        return tuple((name, key) for name, key in found)

    @functools.cached_property
    def _calibrated_on(self) -> tuple[str, ...]:
        """The hashes of the images that all quantised runners are calibrated on."""
        return Pictures(self.port).read(0, self.images.apart).hashes

    def _lowered(self, info: RunnerInfo, weights: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return name and hash of what is made in lower precision, calibrated on no image that is judged."""
        exported = ""
        if info.source != "model":
            ((_, exported),) = self._artefact(replace(info, artefact=info.source), weights)
        made_from = {
            **self.common, "export": exported, "weights": weights[info.side], "kind": info.artefact,
            "calibration": self._calibrated_on,
        }  # fmt: skip

        def make() -> list[tuple[str, str]]:
            self.watch("preparing", f"the {info.precisions[-1]} graph")
            with Sessions(self.located, None, self.options.device, thread_budget()) as sessions:
                # Without the rows that `bench` judges, so that both have the same graph.
                batch = make_batch(self.port)
                inputs = sessions.folder / "inputs.safetensors"
                save_arrays(inputs, batch.arrays)
                write_calibration(self.port, self.images, sessions.folder)
                calibration = calibration_file(self.port, batch.arrays, sessions.folder)
                export = self.store.fetch(exported, sessions.folder / "export.onnx") if exported else None
                sides = Sides(sessions)
                if export is None:
                    state = self.store.fetch(weights[info.side], sessions.folder / "weights.safetensors")
                    sides.open[info.side].call(Tasks.load, weights=state)
                out = lowered(sides, export, info, calibration, inputs)
                self.watch("preparing", None)
                return list(self._keep_files(out))

        found = self.store.remembered(made_from, make, lambda found: [key for _, key in found])
        return tuple((name, key) for name, key in found)

    def _keep_files(self, path: Path) -> tuple[tuple[str, str], ...]:
        paths = [path, path.with_suffix(".pdiparams")] if path.suffix in PROGRAMS else [path]
        return tuple((f"model{file.suffix}", self.store.keep(file.read_bytes())) for file in paths)


def _identified(contender: Contender, about: Mapping[str, Any]) -> Contender:
    """Give a runner the hash of all that its scores depend on, beside the images."""
    return replace(contender, identity=hash_json({**about, **json.loads(json.dumps(asdict(contender)))}))
