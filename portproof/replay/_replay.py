"""The module-by-module part of ``verify``: replay one side on the other's taps, say where they part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from portproof.judge._floor import is_blind, multiple, ratio
from portproof.judge._report import Culprit, ModuleDetail, Modules
from portproof.ports._port import Accepted, Side
from portproof.replay._judge import ModuleFloors, judge_modules, module_details, owner
from portproof.replay._taps import RETURNED, TapDifference
from portproof.replay._tasks import ReplayTasks
from portproof.sides._pairs import Pairs
from portproof.sides._sides import Do

#: The forced runs of a replay that are under way, by side and precision.
Passes = Mapping[tuple[str, str], Future[list[TapDifference]]]


class Replay:
    """One replay under one set of weights: recorded when it is made, then submitted, then judged.

    Args:
        do: submits a task to a process.
        lead, follower: the sides; the follower is run on the lead's taps.
        pairs: of modules.
        inputs: file of the few rows that are replayed.
        taps: folder for the recording.
        once: each side's weights may be read once only, so that nothing is run again to say more.
        accepted: module to the deviation that the port's author accepts there.
        pictures: whether to say what a page shows of each module.
    """

    def __init__(
        self, do: Do, lead: Side, follower: Side, pairs: Pairs, inputs: Path, taps: Path, *, once: bool = False,
        accepted: Mapping[str, Accepted] | None = None, pictures: bool = False,
    ) -> None:  # fmt: skip
        self.do, self.lead, self.follower, self.pairs = do, lead, follower, pairs
        self.inputs, self.taps, self.once = inputs, taps, once
        self.accepted, self.pictures = accepted or {}, pictures
        self._recorded = do(
            lead, "recording taps", ReplayTasks.record, pairs=pairs.keys[lead], inputs=inputs, folder=taps
        )

    def submit(self) -> Passes:
        """Submit the passes, once the recording is there.

        Raises:
            ModelRaised: the lead raised while it was recorded.
        """
        self._recorded.result()
        wanted = ((self.follower, "float64"), (self.follower, "float32"), (self.lead, "float32"))
        return {
            (side, precision): self.force(side, precision, pictures=self.pictures and precision == "float64")
            for side, precision in wanted
        }

    def force(
        self, side: Side, precision: str, *, plain: bool = False, pictures: bool = False
    ) -> Future[list[TapDifference]]:
        """Submit one pass: a side on the recorded taps or, ``plain``, end to end and compared with them."""
        return self.do(
            side, "replaying modules", ReplayTasks.force,
            pairs=self.pairs.keys[side], inputs=self.inputs, folder=self.taps, precision=precision, plain=plain,
            pictures=pictures,
        )  # fmt: skip

    def judge(self, passes: Passes) -> Replayed:
        """Compare, set aside what is only cut otherwise, and say of each culprit what can be said."""
        found, floors = self._measured(passes)
        modules, culprits = judge_modules(found, floors, self.pairs.unseen, self.pairs.settings)
        set_aside: frozenset[str] = frozenset()
        if not self.once:
            before = {culprit.module for culprit in culprits}
            culprits, recut = self._recut(culprits, _called(found))
            modules = replace(modules, recut=recut)
            set_aside = frozenset(before - {culprit.module for culprit in culprits})
        named = {culprit.module for culprit in culprits}
        culprits += [culprit for culprit in floors.low_precision() if culprit.module not in named]
        if not self.once:
            if any(culprit.kind != "setting" for culprit in culprits):
                modules = replace(modules, first_divergence=self._first_divergence(culprits, floors))
            culprits = self._with_drift(culprits)
        paddle = {key: path for path, key in self.pairs.keys["paddle"].items()}
        details = module_details(found, floors, self.pairs.described["torch"], paddle)
        culprits = [self._beside(culprit) for culprit in culprits]
        return Replayed(self, modules, tuple(culprits), tuple(found), floors, details, set_aside)

    def _measured(self, passes: Passes) -> tuple[list[TapDifference], ModuleFloors]:
        """Wait for the passes and return the float64 differences of the follower, and the floors."""
        results = {key: future.result() for key, future in passes.items()}
        found = results[self.follower, "float64"]
        return found, ModuleFloors({side: results[side, "float32"] for side in (self.follower, self.lead)}, found)

    def _recut(self, culprits: list[Culprit], called: Set[str]) -> tuple[list[Culprit], tuple[str, ...]]:
        """Set aside parts that differ only in where one ends and the next begins.

        A convolution that applies the ReLU itself beside a module that then does nothing is no fault. Parts that
        differ, or are called otherwise, are set aside where the whole, with its parts left alone, returns the same in
        float64; and only where something else says that the cut is another: several parts differ, or they differ in
        type, in how many tensors they take or in which axis comes first, or one side has parts without a partner. One
        difference alone never is.

        Returns:
            The culprits that remain, and the wholes that are cut otherwise.
        """
        parts: dict[str, list[Culprit]] = {}
        for culprit in culprits:
            whole = _whole(culprit, called)
            if whole is not None:
                parts.setdefault(whole, []).append(culprit)
        wholes = [
            whole
            for whole, differing in parts.items()
            if sum(culprit.kind == "computes" for culprit in differing) > 1
            or any(culprit.kind == "signature" or _reshaped(culprit) for culprit in differing)
            or self._cut_otherwise(whole)
        ]
        same: set[str] = set()
        # Wholes inside others come first: with all parts of the outer one left alone, nothing would be said of them.
        for depth in sorted({_depth(whole) for whole in wholes}, reverse=True):
            level = [whole for whole in wholes if _depth(whole) == depth]
            pairs, taps = _without_parts(self.pairs, level), self.taps.with_name(f"{self.taps.name}-coarse-{depth}")
            coarse = Replay(self.do, self.lead, self.follower, pairs, self.inputs, taps)
            found, floors = coarse._measured(coarse.submit())
            _, remaining = judge_modules(found, floors)
            same |= set(level) & _called(found) - {culprit.module for culprit in remaining}
        return [culprit for culprit in culprits if _whole(culprit, called) not in same], tuple(sorted(same))

    def _cut_otherwise(self, whole: str) -> bool:
        """Whether the two sides' parts of a whole differ in type, or some have no partner."""
        if any(f"'{whole}." in path or not whole for path in self.pairs.unseen):
            return True
        if any(d.cut and d.key and d.key.rpartition(".")[0] == whole for d in self.pairs.settings):
            return True
        torch, paddle = self.pairs.described["torch"], self.pairs.described["paddle"]
        return any(torch[key][0] != paddle[key][0] for key in torch if key and key.rpartition(".")[0] == whole)

    def _first_divergence(self, culprits: Sequence[Culprit], floors: ModuleFloors) -> str:
        """Run the follower end to end and return the first module whose output is not the lead's.

        The taps were rounded to float32 where they were recorded, so float32's floor is what can be told apart.
        """
        for entry in self.force(self.follower, "float64", plain=True).result():
            if entry.role == RETURNED and floors.diverged_by(entry):
                return entry.key
        return culprits[0].module

    def _with_drift(self, culprits: list[Culprit]) -> list[Culprit]:
        """Add to culprits the tensors in them that are not what was loaded: tied, or overwritten by the model."""
        keys = {culprit.module for culprit in culprits if culprit.kind == "computes"}
        if not keys:
            return culprits
        for side in (self.lead, self.follower):
            paths = [path for path, key in self.pairs.keys[side].items() if key in keys]
            drifted = self.do(side, "inspecting tensors", ReplayTasks.drifted, paths=paths).result()
            for name in drifted:
                key = self.pairs.keys[side][name.rpartition(".")[0]]
                text = f"; {side}'s tensor '{name}' is not what was loaded into it"
                culprits = [replace(c, message=c.message + text) if c.module == key else c for c in culprits]
        return culprits

    def _beside(self, culprit: Culprit) -> Culprit:
        """Add to a culprit the parts of it that only one side has: they are often the reason."""
        inside = [path for path in self.pairs.unseen if not culprit.module or f"'{culprit.module}." in path]
        if not inside or culprit.kind != "computes":
            return culprit
        return replace(culprit, message=f"{culprit.message}; without a partner: {', '.join(inside[:3])}")


@dataclass(frozen=True)
class Replayed:
    """A replay that was judged.

    Attributes:
        replay: what was judged.
        modules: what it covered.
        culprits: the modules that differ, those that the port's author accepts among them.
        found: the differences in float64 behind them.
        floors: of the taps.
        details: every paired module that ran, as a report shows it.
        set_aside: modules that differ only in where they are cut.
    """

    replay: Replay
    modules: Modules
    culprits: tuple[Culprit, ...]
    found: tuple[TapDifference, ...]
    floors: ModuleFloors
    details: tuple[ModuleDetail, ...]
    set_aside: frozenset[str]

    @property
    def pairs(self) -> Pairs:
        """The pairs without the parts of those modules that are cut otherwise."""
        recut, called = self.modules.recut, _called(self.found)
        keys = {
            side: {path: key for path, key in own.items() if key in recut or not key or owner(key, called) not in recut}
            for side, own in self.replay.pairs.keys.items()
        }
        return replace(self.replay.pairs, keys=keys)

    def harmless(self) -> list[str]:
        """Say which modules are built otherwise and yet compute the same."""
        named = {culprit.module for culprit in self.culprits}
        alike: dict[str, list[str]] = {}
        for key, text in {d.key: d.text for d in self.replay.pairs.settings if not d.training}.items():
            if key not in named:
                alike.setdefault(text, []).append(f"'{key}'")
        notes = []
        for text, keys in alike.items():
            which = f"{keys[0]} is" if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more are"
            notes.append(f"{which} built otherwise: {text}; it makes no difference on these inputs")
        return notes

    def in_precision(self, side: Side, precision: str) -> tuple[list[Culprit], Modules]:
        """Name the modules that err by more than a lower precision rounds, and say what was covered."""
        named: dict[str, Culprit] = {}
        worst_module, worst_ratio, blind = "", 0.0, set[str]()
        returned = [entry for entry in self.replay.force(side, precision).result() if entry.role == RETURNED]
        for entry in returned:
            floor = self.floors.of(entry)
            value = ratio(entry.difference, floor, precision)
            if is_blind(entry.difference, floor, precision):
                blind.add(entry.key)
            if value > multiple(precision):
                amount = entry.difference.mismatch or f"differs by {entry.difference.rms:.1e} of its scale"
                text = f"in {precision}, on the same input, its output {amount}"
                number = value if math.isfinite(value) else None
                named.setdefault(entry.key, Culprit(side, entry.key, "precision", "forward", text, number))
            elif value > worst_ratio:
                worst_module, worst_ratio = entry.key, value
        return list(named.values()), Modules(len(returned), worst_module, worst_ratio, (), tuple(sorted(blind)))


def _called(found: Sequence[TapDifference]) -> set[str]:
    return {entry.key for entry in found}


def _whole(culprit: Culprit, called: Set[str]) -> str | None:
    """Return the module that runs in which a culprit may be a matter of where parts are cut; None: it cannot be."""
    if culprit.kind in ("computes", "signature") and culprit.module:
        return owner(culprit.module, called)
    return culprit.module if culprit.kind == "wiring" else None


def _reshaped(culprit: Culprit) -> bool:
    """Whether a part receives a tensor of another shape: a mask, say, of another form."""
    return culprit.kind == "wiring" and culprit.ratio is None


def _depth(path: str) -> int:
    return path.count(".") + 1 if path else 0


def _without_parts(pairs: Pairs, wholes: Sequence[str]) -> Pairs:
    """Return the pairs without the parts of some modules."""
    inside = tuple(f"{whole}." if whole else "" for whole in wholes)
    keys = {
        side: {path: key for path, key in own.items() if not key.startswith(inside) or key in wholes}
        for side, own in pairs.keys.items()
    }
    return replace(pairs, keys=keys, settings=())
