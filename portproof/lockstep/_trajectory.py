"""Both sides learn step by step, in float64, from the same weights, batches and masks; are they the same all the way?

What lies apart is told by what rounding does to a training: each side is also run with about a unit in the last place
added to every parameter before every step, and the distance of its two runs, tensor by tensor and step by step, is its
spread. Where a training magnifies small differences, the spread grows with them. The noise floor is the larger spread
of the two sides (one adds a long sum term by term, the other in blocks), but no more than 32 of the smaller: so a side
that computes in less than its precision cannot raise what it is judged with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import finite, save_arrays
from portproof._numbers import Array, Arrays
from portproof.convert._transfer import transfer_present
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import Culprit, Deviation, Hop, Verdict, Worst
from portproof.lockstep._deviations import CAUSES
from portproof.lockstep._explain import Step, explain, same_rates
from portproof.lockstep._spread import Spread, between, flat, joined
from portproof.lockstep._tasks import TrajectoryTasks
from portproof.ports._inputs import make_batch
from portproof.ports._port import Side
from portproof.sides._sides import Sides
from portproof.sides._wire import P, R, Task
from portproof.training._learning import SHAPED

#: Rows of a batch where a row is large, and where it is small.
_FEW, _MANY, _LARGE = 2, 16, 16_384
#: Steps that are made after one where the learning rates lie apart, to see where they go.
_AFTER = 3
#: Steps of the runs that each leave a known cause as it is.
_PLAIN = 3
#: Nudged runs of each side: in float32, where a training jumps, one would say too little.
_NUDGED = {"float64": 1, "float32": 3}
#: Below this many numbers, a tensor's spread at one step may be small by luck.
_NUMBERS = 64
#: Kinds of arrays that are judged, in the order of a step.
_JUDGED = ("output", "loss", "pulled", "gradient", "momentum_buffer", "exp_avg", "exp_avg_sq", "weight", "buffer")


@dataclass(frozen=True)
class TrajectoryOptions:
    """What is compared.

    Attributes:
        steps: how many.
        precision: ``"float64"``, or ``"float32"``, whose runs part and are judged by how far honest ones do.
        dropout: ``"shared"`` masks, or ``"off"``.
        settings: of the port's training.
        seed: of batches and masks.
        faults: side to kinds that are planted there.
    """

    steps: int = 100
    precision: str = "float64"
    dropout: str = "shared"
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Parting:
    """The first step where something lies apart.

    Attributes:
        step: counted from 0.
        apart: ``KIND|NAME`` of all that does.
        why: in words.
    """

    step: int
    apart: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Trajectory:
    """What was found.

    Attributes:
        steps: how many were compared.
        parting: None where nothing lies apart.
        worst: the tensor that lies farthest out, ``KIND|NAME``.
        ratio: of it, in noise floors.
        worst_step: where.
        scaled: the largest difference of any element, relative to its tensor's scale.
        scaled_rms: the largest root mean square of a tensor's differences, relative to its scale.
        losses: per side, the loss at each step.
        floors: the noise floor of the loss at each step, relative.
        deviations: known ones, that the run which leaves them as they are met.
        blind: the first step at which rounding alone moves the loss too far to tell anything; None where there is none.
    """

    steps: int
    parting: Parting | None
    worst: str
    ratio: float
    worst_step: int
    scaled: float
    scaled_rms: float
    losses: Mapping[str, Sequence[float]]
    floors: Sequence[float]
    deviations: tuple[Deviation, ...]
    blind: int | None = None

    def hop(self, sides: Sides, options: TrajectoryOptions, label: str) -> Hop:
        """Return this as a step of the chain."""
        lead, follower = sides.live
        kind, _, name = self.worst.partition("|")
        value = finite(self.ratio)
        spread = f"over all steps and tensors, at most {self.scaled_rms:.1e} of scale in root mean square"
        worst = Worst(f"{kind} {name}, step {self.worst_step + 1}", value, None, self.scaled, None, note=spread)
        target = f"{follower.title} {options.precision} training, {self.steps} steps"
        reason = f"they part at step {self.parting.step + 1}: {self.parting.why}" if self.parting else None
        verdict: Verdict = "divergent" if self.parting else "equivalent"
        if self.blind == 0:
            verdict = "inconclusive"
            reason = "something in one side is drawn at random, and not by a layer"
        elif self.blind is not None:
            # What float32 makes of a training is no longer one thing then; what came before is judged.
            verdict = "equivalent" if options.precision == "float32" else "inconclusive"
            moved = f"rounding alone moves the loss of one side by {self.floors[-1]:.0e} of it"
            reason = f"judged up to step {self.blind}; from step {self.blind + 1} on, {moved}"
        source = f"{lead.title} training (oracle)"
        return Hop("training", source, target, options.precision, label, verdict, worst, reason)

    def culprits(self) -> list[Culprit]:
        """Return the cause as a culprit."""
        if self.parting is None:
            return []
        return [Culprit("unknown", "", "training", "backward", self.parting.why)]


class Trajectories:
    """Runs trainings of both sides in lockstep; a clean side's steps are kept for as many runs as there will be.

    Args:
        sides: both live, matched.
        keys: side to module path to the key that both share.
        weights: side to file.
        folder: for batches and steps.
    """

    def __init__(
        self, sides: Sides, keys: Mapping[str, dict[str, str]], weights: Mapping[str, Path], folder: Path
    ) -> None:
        self.sides, self.keys, self.weights, self.folder = sides, keys, weights, folder
        self.port = sides.sessions.located.port
        self.lead, self.follower = sides.live
        folder.mkdir(parents=True, exist_ok=True)

    def _do(self, side: str, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self.sides.do(side, "training step by step", task, *args, **kwargs)

    def begin(
        self, side: str, run: str, options: TrajectoryOptions, perturbed: int = 0, known: Sequence[str] = tuple(CAUSES)
    ) -> Future[dict[str, Any]]:
        """Build a run on a side."""
        return self._do(
            side, TrajectoryTasks.begin, run=run, precision=options.precision, weights=self.weights[side],
            settings=dict(options.settings), seed=options.seed, dropout=options.dropout, keys=self.keys[side],
            steps=options.steps, faults=list(options.faults.get(side, ())), perturbed=perturbed,
            known=known,
        )  # fmt: skip

    def batch(self, step: int, width: int, options: TrajectoryOptions) -> tuple[Path, Array]:
        """Write the batch of a step: probes and photographs, and drawn labels."""
        elements = sum(math.prod(declared.concrete(1)) for declared in self.port.inputs.values())
        rows = _FEW if elements > _LARGE else _MANY
        drawn = options.seed * 100_003 + step
        batch = make_batch(self.port, seed=drawn, rows=rows)
        labels = np.random.default_rng([drawn, 7]).integers(0, width, rows)
        path = self.folder / f"batch-{step}.safetensors"
        save_arrays(path, {**batch.arrays, "labels": labels})
        return path, labels

    def compare(self, options: TrajectoryOptions) -> Trajectory:
        """Run both sides, and what the floor and the known deviations need, and compare every step."""
        runs: dict[str, tuple[str, str]] = {self.lead: (self.lead, "clean"), self.follower: (self.follower, "clean")}
        begun = {name: self.begin(*where, options) for name, where in runs.items()}
        for number in range(1, _NUDGED[options.precision] + 1):
            for side in self.sides.live:
                name = f"nudged-{number}"
                runs[f"{name}-{side}"] = side, name
                begun[f"{name}-{side}"] = self.begin(side, name, options, perturbed=number)
        if options.precision == "float64" and not options.faults:
            for cause in CAUSES:  # each left as it is by itself, to see what it makes
                runs[f"plain-{cause}"] = "torch", f"plain-{cause}"
                known = [other for other in CAUSES if other != cause]
                begun[f"plain-{cause}"] = self.begin("torch", f"plain-{cause}", options, known=known)
        described = {name: future.result() for name, future in begun.items()}
        width = described[self.lead]["width"]
        judge = _Judge(self, options, {name: entry["settings"] for name, entry in described.items()})

        def submit(step: int) -> tuple[Path, Array, dict[str, Path], dict[str, Future[Any]]]:
            path, labels = self.batch(step, width, options)
            live = {name: where for name, where in runs.items() if not name.startswith("plain-") or step < _PLAIN}
            outs = {name: self.folder / f"{name}.{step % 2}.safetensors" for name in live}
            made = {
                name: self._do(side, TrajectoryTasks.step, run=run, inputs=path, out=outs[name])
                for name, (side, run) in live.items()
            }
            return path, labels, outs, made

        coming = submit(0)
        for step in range(options.steps):
            path, labels, outs, made = coming
            said = {name: future.result() for name, future in made.items()}
            path.unlink()
            if step == _PLAIN:  # these have said what they had to say
                self._end({name: runs.pop(name) for name in list(runs) if name.startswith("plain-")})
            more = step + 1 < options.steps
            if more and not options.faults:  # the next is made while this one is judged
                coming = submit(step + 1)
            judge.look(step, outs, said, labels)
            if judge.is_done(step):
                break
            if more and options.faults:
                coming = submit(step + 1)
        self._end(runs)
        return judge.done()

    def _end(self, runs: Mapping[str, tuple[str, str]]) -> None:
        """Forget runs, and what they wrote."""
        for name, (side, run) in runs.items():
            self._do(side, TrajectoryTasks.end, run=run).result()
            for half in range(2):
                (self.folder / f"{name}.{half}.safetensors").unlink(missing_ok=True)


class _Judge:
    """Compares step by step and remembers what it needs to say why."""

    def __init__(self, owner: Trajectories, options: TrajectoryOptions, settings: Mapping[str, Any]) -> None:
        self.owner, self.options, self.settings = owner, options, settings
        self.lead, self.follower = owner.lead, owner.follower
        self.account = owner.sides.account
        self.parted: int | None = None
        self.blind: int | None = None
        self.after = 0
        self.apart: tuple[str, ...] = ()
        self.moment: tuple[tuple[Step, Step], tuple[Step, Step] | None, Array] | None = None
        self.last: tuple[Step, Step] | None = None
        self.rates: dict[str, list[float]] = {self.lead: [], self.follower: []}
        self.losses: dict[str, list[float]] = {self.lead: [], self.follower: []}
        self.loss_floors: list[float] = []
        self.worst = ("", 0.0, 0)
        self.scaled = self.scaled_rms = 0.0
        self.few: dict[str, Spread] = {}
        self.kinds: dict[str, Spread] = {}
        self.steps = 0
        self.met: dict[str, float] = {}

    def is_done(self, step: int) -> bool:
        """Whether nothing more is to be learned after a step."""
        return self.blind is not None or (self.parted is not None and step >= self.parted + self.after)

    def look(self, step: int, files: Mapping[str, Path], said: Mapping[str, Any], labels: Array) -> None:
        for side in (self.lead, self.follower):
            self.rates[side].append(said[side]["learning_rate"])
        if self.parted is not None or self.blind is not None:
            return
        expected = _comparable(load_file(files[self.lead]))
        other = self._own(_comparable(load_file(files[self.follower])), self.follower)
        self.steps = step + 1
        self.losses[self.lead].append(float(expected["loss|loss"][0]))
        self.losses[self.follower].append(float(other["loss|loss"][0]))
        clean = {self.lead: expected, self.follower: other}
        nudged = {
            side: [
                self._own(_comparable(load_file(files[f"nudged-{number}-{side}"])), side)
                for number in range(1, _NUDGED[self.options.precision] + 1)
            ]
            for side in clean
        }
        floors = {name: self._floor(name, nudged, clean) for name in expected if name.partition("|")[0] in _JUDGED}
        if self.options.precision == "float32":
            floors = self._pooled(floors)
        loss = "loss|loss"
        self.loss_floors.append(floors[loss].rms)
        drawn = self.options.precision == "float64" and any(
            Spread.of([flat(run[loss], clean[side][loss]) for run in nudged[side]], "float64").is_random
            for side in clean
        )
        if drawn or floors[loss].is_blind(self.options.precision):
            self.blind = self.steps = step
            return
        apart: list[str] = []
        for name, floor in floors.items():
            if name not in other:
                if name.partition("|")[0] not in SHAPED:
                    apart.append(name)
                continue
            difference = flat(other[name], expected[name])
            value = floor.ratio(difference)
            if math.isfinite(difference.peak):
                self.scaled = max(self.scaled, difference.peak)
                self.scaled_rms = max(self.scaled_rms, difference.rms)
            if value > self.worst[1]:
                self.worst = name, value, step
            if value > FLOOR_MULTIPLE:
                apart.append(name)
        # What only one optimiser keeps (Momentum a buffer without momentum) is no difference: the weights will tell.
        judged = set(_JUDGED) - set(SHAPED)
        apart += [name for name in other if name not in expected and name.partition("|")[0] in judged]
        if not same_rates(self.rates[self.lead][-1:], self.rates[self.follower][-1:]):
            apart.insert(0, "rate|learning rate")
        for cause in CAUSES:
            if f"plain-{cause}" in files and cause not in self.met:
                self._look_plain(cause, _comparable(load_file(files[f"plain-{cause}"])), other, floors)
        if apart:
            for arrays, side in ((expected, self.lead), (other, self.follower)):
                arrays |= self._before(side)
        steps = (
            Step(expected, self._named(said[self.lead], self.lead), self.settings[self.lead]),
            Step(other, self._named(said[self.follower], self.follower), self.settings[self.follower]),
        )
        if apart:
            self.parted, self.apart = step, tuple(sorted(apart, key=_order))
            self.moment = steps, self.last, labels
            self.after = _AFTER if self.apart[0].startswith("rate|") else 0
        self.last = steps

    def _before(self, side: str) -> Arrays:
        """Return a side's weights before this step, in the lead's names and layouts."""
        if self.last is None:
            start = {f"weight|{name}": array for name, array in load_file(self.owner.weights[side]).items()}
            weights = Step(self._own(start, side), {}, {})
        else:
            weights = self.last[0 if side == self.lead else 1]
        return {f"before|{name}": array.astype(np.float64) for name, array in weights.of("weight").items()}

    def _look_plain(self, cause: str, plain: Arrays, other: Arrays, floors: Mapping[str, Spread]) -> None:
        """See what lies apart where one known cause is left as it is, at the first step where anything does."""
        found = plain if self.lead is Side.TORCH else self._own(plain, Side.TORCH)
        sizes = [
            difference.rms
            for name, floor in floors.items()
            if name.startswith(tuple(f"{kind}|" for kind in CAUSES[cause][0])) and name in found and name in other
            if floor.ratio(difference := flat(other[name], found[name])) > FLOOR_MULTIPLE
        ]
        if sizes:
            self.met[cause] = max(sizes)

    def _floor(self, name: str, nudged: Mapping[Side, Sequence[Arrays]], clean: Mapping[Side, Arrays]) -> Spread:
        """Return the noise floor at a tensor, from each side's nudged runs and its clean one."""
        precision = self.options.precision
        spreads = [
            Spread.of([flat(run[name], clean[side][name]) for run in nudged[side] if name in run], precision)
            for side in clean
            if name in clean[side]
        ]
        found = (between if precision == "float64" else joined)(spreads[0], spreads[-1])
        if clean[self.lead][name].size < _NUMBERS:  # they may lie close by luck: none is held to less than before
            kind = "loss" if name.startswith("loss|") else name
            known = self.few.get(kind, found)
            found = self.few[kind] = joined(found, known)
        return found

    def _pooled(self, floors: Mapping[str, Spread]) -> dict[str, Spread]:
        """Return the floors of a float32 step: each tensor is held to the widest spread of its kind so far.

        In float32 some unit out of a million lies so near to zero that rounding turns it on or off, each time another;
        then the gradients behind it jump. Which ones is luck, so the spread of one tensor says little of the next.
        """
        kinds = [name.partition("|")[0] for name in floors]
        for kind, floor in zip(kinds, floors.values(), strict=True):
            self.kinds[kind] = joined(self.kinds.get(kind, floor), floor)
        return {name: self.kinds[kind] for kind, name in zip(kinds, floors, strict=True)}

    def _own(self, arrays: Arrays, side: str) -> Arrays:
        """Return a side's arrays in the lead's names and layouts."""
        if side == self.lead:
            return arrays
        kinds: dict[str, Arrays] = {}
        for name, array in arrays.items():
            kind, _, plain = name.partition("|")
            kinds.setdefault(kind, {})[plain] = array
        moved: Arrays = {}
        for kind, named in kinds.items():
            if kind in ("output", "loss", "pulled"):
                moved |= {f"{kind}|{name}": array for name, array in named.items()}
                continue
            turned = transfer_present(named, self.account, self.lead)
            moved |= {f"{kind}|{name}": array for name, array in turned.items()}
        return moved

    def _named(self, said: Mapping[str, Any], side: str) -> dict[str, Any]:
        """Return what a side said, with the lead's names of modules and parameters."""
        keys = self.owner.keys[side]
        names = {mine: row.names(self.lead)[0] for row in self.account.rows for mine in row.names(side)}
        return {
            **said,
            "evaluating": [keys.get(path, path) for path in said["evaluating"]],
            "without_gradient": [names.get(name, name) for name in said["without_gradient"]],
        }

    def done(self) -> Trajectory:
        parting = None
        if self.parted is not None:
            assert self.moment is not None
            steps, before, labels = self.moment
            why = explain(
                (self.lead.title, self.follower.title), steps, before, self.apart,
                (self.rates[self.lead], self.rates[self.follower]), labels,
            )  # fmt: skip
            parting = Parting(self.parted, self.apart, why)
        name, value, step = self.worst
        deviations = () if parting else tuple(self._deviations())
        return Trajectory(
            self.steps,
            parting,
            name,
            value,
            step,
            self.scaled,
            self.scaled_rms,
            self.losses,
            tuple(self.loss_floors),
            deviations,
            self.blind,
        )

    def _deviations(self) -> list[Deviation]:
        """Say what the runs met that leave a known cause as it is."""
        return [
            Deviation(
                "", layer, "backward" if cause == "backward" else "training", self.met[cause], self.worst[1], said
            )
            for cause, (_, layer, said) in CAUSES.items()
            if cause in self.met
        ]


def _comparable(arrays: Arrays) -> Arrays:
    """Return a step's arrays with second moments as their roots: squares have tails that no spread describes."""
    return {name: np.sqrt(array) if name.startswith("exp_avg_sq|") else array for name, array in arrays.items()}


def _order(name: str) -> int:
    """Return where a kind of array stands in a step."""
    return ("rate", *_JUDGED).index(name.partition("|")[0])
