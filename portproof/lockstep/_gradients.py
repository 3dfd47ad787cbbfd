"""Gradients of both sides in float64: of every parameter and input, end to end and module by module.

End to end, the noise floor is what a change of about one unit in the last place of every parameter does to the
gradient: rounding in a layer is as if its weights had been others by about that much (Wilkinson's backward error), and
a network passes both on alike. Module by module, it is the float32 error of the same products, as for the forward pass,
or what the same change of every cotangent does to them, if that is more.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import finite
from portproof._numbers import EPSILON, Array, Difference, compare
from portproof.convert._transfer import transfer_present
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import HOLDS, Culprit, Deviation, Hop, Verdict, Worst
from portproof.lockstep._backward import CallStore
from portproof.lockstep._deviations import BACKWARD, RECIPROCAL
from portproof.lockstep._spread import Spread, between, flat, joined
from portproof.lockstep._tasks import GradientTasks
from portproof.ports._port import Side
from portproof.sides._sides import Sides
from portproof.sides._wire import P, R, Task

#: Perturbed runs that the floor of an end-to-end gradient is pooled over.
PERTURBED = 2


@dataclass(frozen=True)
class Pull:
    """How one product of one module differs.

    Attributes:
        key: the module.
        name: of the product.
        difference: between the sides, in float64.
        floor: of this product.
        plain: the same difference with nothing known taken into account; None where nothing is known.
        random: one side gives another answer every time.
    """

    key: str
    name: str
    difference: Difference
    floor: Spread
    plain: Difference | None = None
    random: bool = False

    @property
    def ratio(self) -> float:
        """The difference in noise floors."""
        return self.floor.ratio(self.difference)


class Backward:
    """The backward passes of one set of weights, submitted together and judged when they are there.

    Args:
        sides: both live, matched.
        keys: side to module path to the key that both share.
        types: key to layer type.
        inputs: file of a few rows.
        folder: for what is recorded.
        weights: side to file.
        seed: of cotangents and dropout masks.
    """

    def __init__(
        self, sides: Sides, keys: Mapping[str, dict[str, str]], types: Mapping[str, str], inputs: Path, folder: Path,
        weights: Mapping[str, Path], seed: int,
    ) -> None:  # fmt: skip
        self.sides, self.types, self.recorded = sides, types, folder
        self.lead, self.follower = sides.live[0], sides.live[1]
        folder.mkdir(parents=True)
        record = folder / "record"
        self._do(
            self.lead, GradientTasks.record_backward, keys=keys[self.lead], folder=record, weights=weights[self.lead],
            inputs=inputs, seed=seed,
        ).result()  # fmt: skip
        # What each run makes of a recording is twice as wide, and as much as a copy of every gradient beside it.
        recorded = sum(path.stat().st_size for path in record.iterdir())
        learned = max(path.stat().st_size for path in weights.values())
        self.folder = made = sides.sessions.room(f"{folder.name}-made", 12 * recorded + 20 * learned)
        made.mkdir()
        self._pulls: dict[str, Future[list[str]]] = {}
        self._heads: dict[str, Future[Any]] = {}
        for side in sides.live:
            for precision, nudged in (("float64", False), ("float32", False), ("float64", True)):
                name = f"{side}-{precision}{'-nudged' if nudged else ''}"
                self._pulls[name] = self._do(
                    side, GradientTasks.pull_modules, keys=keys[side], folder=record, out=made / name,
                    precision=precision, weights=weights[side], nudged=nudged, inputs=inputs, seed=seed,
                )  # fmt: skip
        for side in sides.live:
            for run in range(1 + PERTURBED):
                name = f"{side}-{run}"
                self._heads[name] = self._do(
                    side, GradientTasks.gradients, keys=keys[side], out=made / f"{name}.safetensors", perturbed=run,
                    weights=weights[side], inputs=inputs, seed=seed,
                )  # fmt: skip

    def _do(self, side: str, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self.sides.do(side, "pulling gradients back", task, *args, **kwargs)

    def judge(self, label: str) -> tuple[list[Hop], list[Culprit], list[Deviation]]:
        """Wait for the passes; returns the hops, the modules that differ, and the known deviations that were met.

        Where every gradient agrees end to end, a module that hands its parts' gradients back otherwise is only
        organised otherwise. A call that one side alone makes in training may still move statistics, and is named.
        """
        strange = {key: name.partition("-")[0] for name, future in self._pulls.items() for key in future.result()}
        pulls = self._compare()
        culprits, deviations = self._settle(pulls)
        title = f"{self.follower.title} gradients"
        source = f"{self.lead.title} gradients (oracle)"
        heads = self._judge_heads(source, title, label)
        absolved = culprits if all(hop.verdict in HOLDS for hop in heads) else []
        culprits = [] if absolved else culprits
        text = "it is called in training where the other side does not call it"
        culprits += [Culprit(side, key, "wiring", "backward", text) for key, side in strange.items()]
        drawn = list(dict.fromkeys(pull.key for pull in pulls if pull.random))
        worst = max((pull for pull in pulls if not pull.random), key=lambda pull: pull.ratio, default=pulls[0])
        verdict: Verdict = "divergent" if culprits else "inconclusive" if drawn else "equivalent"
        reason = f"in the backward pass of module '{culprits[0].module}'" if culprits else None
        if absolved:
            more = f" and {len(absolved) - 1} more" if len(absolved) > 1 else ""
            reason = (
                f"organised otherwise in '{absolved[0].module or '(root)'}'{more}: end to end, every gradient agrees"
            )
        if drawn and not culprits:
            reason = f"module '{drawn[0] or '(root)'}' gives another gradient every time: it draws at random itself"
        said = Worst(worst.key or "(root)", finite(worst.ratio), None, None, None)
        hops = [Hop("gradients", source, f"{title}, module by module", "float64", label, verdict, said, reason)]
        rest = max((hop.worst.ratio or 0.0 for hop in heads if hop.worst is not None), default=0.0)
        deviations += [
            Deviation(path, layer, "backward", size, rest, f"{RECIPROCAL}; it has no partner in torch")
            for side in (self.lead, self.follower)
            for path, layer, size in self._heads[f"{side}-0"].result()
            if size
        ]
        hops += heads
        for side in self.sides.live:
            self._do(side, GradientTasks.forget).result()
        for folder in (self.folder, self.recorded):  # gigabytes, of a large model
            shutil.rmtree(folder)
        return hops, culprits, deviations

    def _compare(self) -> list[Pull]:
        """Compare every product of every call; the lead's float64 ones are the reference."""
        stores = {name: CallStore(self.folder / name) for name in self._pulls}
        reference = stores[f"{self.lead}-float64"]
        found: list[Pull] = []
        for key, call in reference.calls():
            expected = reference.read(key, call) or {}
            mine = {name: self._own(store.read(key, call), name) for name, store in stores.items()}
            other = mine[f"{self.follower}-float64"]
            low = [mine[f"{side}-float32"] for side in self.sides.live]
            nudged = [mine[f"{side}-float64-nudged"] for side in (self.lead, self.follower)]
            for name in {**expected, **other}:
                if name.startswith("plain:"):
                    continue
                missing = [one for one in (expected, other, *low, *nudged) if name not in one]
                if missing:
                    nothing = replace(
                        compare(np.zeros(1), np.zeros(2), "float64"), mismatch="is there on one side only"
                    )
                    found.append(Pull(key, name, nothing, Spread(EPSILON["float64"], 0.0)))
                    continue
                # Carried over from float32, the smaller of the two sides' errors, as in the forward pass; or what
                # rounding does in float64, where that is more: BatchNorm adds in float64 what it has in float32.
                errors = [flat(one[name].astype(np.float64), expected[name]) for one in low]
                narrow = min((Spread.of([error], "float32") for error in errors), key=lambda spread: spread.rms)
                own = (
                    Spread.of([flat(nudged[0][name], expected[name])], "float64"),
                    Spread.of([flat(nudged[1][name], other[name])], "float64"),
                )
                seen = between(*own)
                floor = joined(narrow.carried("float32", "float64"), seen)
                floor = floor.at_least(_of_a_sum(expected), _crest(expected[name]))
                plain = None
                if f"plain:{name}" in expected:
                    plain = flat(other[name], expected[f"plain:{name}"])
                elif f"plain:{name}" in other:
                    plain = flat(other[f"plain:{name}"], expected[name])
                drawn = any(spread.is_random for spread in own)
                found.append(Pull(key, name, flat(other[name], expected[name]), floor, plain, drawn))
        return found

    def _own(self, arrays: dict[str, Array] | None, store: str) -> dict[str, Array]:
        """Return a call's products in the lead's names and layouts."""
        side = store.partition("-")[0]
        arrays = arrays or {}
        if side == self.lead:
            return arrays
        moved = dict(arrays)
        for prefix in ("gradient.", "plain:gradient."):
            mine = {n.removeprefix(prefix): moved.pop(n) for n in list(moved) if n.startswith(prefix)}
            moved |= {f"{prefix}{n}": a for n, a in transfer_present(mine, self.sides.account, self.lead).items()}
        return moved

    def _settle(self, pulls: Sequence[Pull]) -> tuple[list[Culprit], list[Deviation]]:
        """Name the modules whose products differ, and those whose difference a known cause explains."""
        culprits: dict[str, Culprit] = {}
        deviations: dict[str, Deviation] = {}
        for pull in pulls:
            if pull.random:
                continue
            if pull.ratio > FLOOR_MULTIPLE:
                amount = pull.difference.mismatch or f"differs by {pull.difference.rms:.1e} of its scale"
                what, where = _named(pull)
                text = f"on the same input and cotangent, {what} {amount}"
                culprits.setdefault(where, Culprit("unknown", where, "computes", "backward", text, finite(pull.ratio)))
            elif pull.plain is not None and pull.floor.ratio(pull.plain) > FLOOR_MULTIPLE:
                cause = BACKWARD[self.types[pull.key]][0]
                met = Deviation(pull.key, self.types[pull.key], "backward", pull.plain.rms, pull.ratio, cause)
                known = deviations.get(pull.key)
                if known is None or met.size > known.size:
                    deviations[pull.key] = met
        return list(culprits.values()), list(deviations.values())

    def _judge_heads(self, source: str, title: str, label: str) -> list[Hop]:
        """Judge the gradients end to end, a hop for each output and for the loss."""
        for future in self._heads.values():
            future.result()
        expected = load_file(self.folder / f"{self.lead}-0.safetensors")
        other = load_file(self.folder / f"{self.follower}-0.safetensors")
        noisy = {
            side: [load_file(self.folder / f"{side}-{run}.safetensors") for run in range(1, PERTURBED + 1)]
            for side in (self.lead, self.follower)
        }
        heads: dict[str, list[str]] = {}
        for name in expected:
            heads.setdefault(name.partition("|")[0], []).append(name)
        hops = []
        for head, names in heads.items():
            prefix = f"{head}|"
            mine = {n.removeprefix(prefix): a for n, a in other.items() if n.startswith(prefix)}
            own = {n: a for n, a in mine.items() if n.startswith("input:")}
            own |= transfer_present(mine, self.sides.account, self.lead)
            spreads = self._spreads(prefix, names, own, expected, noisy)
            hops.append(_judge_head(prefix, names, own, expected, spreads, (source, f"{title} of {head}", label)))
        return hops

    def _spreads(
        self, prefix: str, names: Sequence[str], own: Mapping[str, Array], expected: Mapping[str, Array],
        noisy: Mapping[Side, Sequence[Mapping[str, Array]]],
    ) -> dict[str, Spread]:  # fmt: skip
        """Measure the floor of one head's gradients: how far each side's own runs lie apart."""
        theirs = []
        for run in noisy[self.follower]:
            mine = {n.removeprefix(prefix): a for n, a in run.items() if n.startswith(prefix)}
            moved = {n: a for n, a in mine.items() if n.startswith("input:")}
            theirs.append(moved | transfer_present(mine, self.sides.account, self.lead))
        found = {}
        for name in names:
            plain = name.removeprefix(prefix)
            spread = Spread.of([flat(run[name], expected[name]) for run in noisy[self.lead]], "float64")
            if plain in own and all(plain in run for run in theirs):
                other = Spread.of([flat(run[plain], own[plain]) for run in theirs], "float64")
                drawn = spread.is_random or other.is_random  # then nothing can be told, whichever side draws
                spread = joined(spread, other) if drawn else between(spread, other)
            found[name] = spread
        return found


def _judge_head(
    prefix: str, names: Sequence[str], own: Mapping[str, Array], expected: Mapping[str, Array],
    spreads: Mapping[str, Spread], said: tuple[str, str, str],
) -> Hop:  # fmt: skip
    """Judge the gradients of one output, or of the loss, in everything that is learned."""
    worst, worst_ratio, blind = Worst("", None, None, None, None), -1.0, list[str]()
    telling = sum(bool(np.any(expected[name])) for name in names)
    known = {name.removeprefix(prefix) for name in names}
    odd = sorted(known ^ own.keys())
    if odd:
        nothing = Worst(odd[0], None, None, None, None)
        why = f"'{odd[0]}' has a gradient on one side only"
        return Hop("gradients", said[0], said[1], "float64", said[2], "divergent", nothing, why)
    for name in names:
        plain = name.removeprefix(prefix)
        floor = spreads[name]
        if floor.is_blind("float64"):
            blind.append(plain)
            continue
        difference = flat(own[plain], expected[name])
        value = floor.ratio(difference)
        if value > worst_ratio:
            worst_ratio = value
            worst = Worst(
                plain, finite(value), difference.max_abs, None, None, None, difference.scale, floor.rms,
                difference.mismatch,
            )  # fmt: skip
    source, target, label = said
    verdict: Verdict = (
        "divergent" if worst_ratio > FLOOR_MULTIPLE else "identical" if worst_ratio == 0 else "equivalent"
    )
    reason = f"first in '{worst.tensor}'" if verdict == "divergent" else None
    if 2 * len(blind) >= telling:
        reason = (
            "the gradients of one side differ from run to run: something in it is drawn at random, and not by a layer"
        )
        return Hop("gradients", source, target, "float64", label, "inconclusive", None, reason)
    if blind and reason is None:
        reason = f"{len(blind)} of {len(names)} gradients are nothing but rounding, the first '{blind[0]}'"
    return Hop("gradients", source, target, "float64", label, verdict, worst, reason)


def _crest(array: Array) -> float:
    """Return a tensor's largest element over its root mean square."""
    scale = math.sqrt(float(np.mean(np.square(array, dtype=np.float64)))) if array.size else 0.0
    return float(np.abs(array).max()) / scale if scale else 0.0


def _of_a_sum(products: Mapping[str, Array]) -> float:
    """Return what adding up a module's rows and places rounds, one after the other: ``u sqrt(n)`` of the sum.

    Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019.
    """
    seen = products.get("input.0")
    if seen is None or seen.ndim < 2:
        return 0.0
    return math.sqrt(seen.size / (seen.shape[1] if seen.ndim > 2 else seen.shape[-1])) * EPSILON["float64"] / 2


def _named(pull: Pull) -> tuple[str, str]:
    """Return what a product is, in words, and the module that it belongs to."""
    kind, _, rest = pull.name.partition(".")
    if kind == "input":
        return "the gradient at its input", pull.key
    if kind == "gradient":
        return f"the gradient of '{rest}'", pull.key
    part = rest.rpartition("#")[0]
    return f"the gradient that it hands to its part '{part}'", pull.key
