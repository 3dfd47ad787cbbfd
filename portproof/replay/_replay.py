"""The module-by-module part of ``verify``: replay one side on the other's taps, say where they part."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from portproof.judge._floor import is_blind, multiple, ratio
from portproof.judge._report import Culprit, ModuleDetail, Modules
from portproof.ports._port import Accepted
from portproof.replay._judge import ModuleFloors, judge_modules, module_details, owner
from portproof.replay._taps import RETURNED, TapDifference
from portproof.replay._tasks import ReplayTasks
from portproof.sides._pairs import Pairs
from portproof.sides._sides import Do


class Replay:
    """One replay under one set of weights: submitted piece by piece, judged when its answers are there.

    Args:
        do: submits a task to a process.
        lead, follower: the sides; the follower is run on the lead's taps.
        pairs: of modules.
        inputs: file of the few rows that are replayed.
        taps: folder for the recording.
        once: each side's weights may be read once only, so that nothing is run again to say more.
    """

    def __init__(
        self, do: Do, lead: str, follower: str, pairs: Pairs, inputs: Path, taps: Path, *, once: bool = False,
        accepted: Mapping[str, Accepted] | None = None, pictures: bool = False,
    ) -> None:  # fmt: skip
        self.accepted, self.pictures = accepted or {}, pictures
        self.details: tuple[ModuleDetail, ...] = ()
        self.do, self.lead, self.follower, self.pairs, self.once = do, lead, follower, pairs, once
        self.inputs, self.taps = inputs, taps
        self._passes: dict[str, Future[list[TapDifference]]] = {}
        self._recorded = do(
            lead, "recording taps", ReplayTasks.record, pairs=pairs.keys[lead], inputs=inputs, folder=taps
        )
        self.floors: ModuleFloors | None = None
        self.called: set[str] = set()
        self.set_aside: set[str] = set()

    def submit(self) -> None:
        """Submit the passes, once the recording is there.

        Raises:
            ModelRaised: the lead raised while it was recorded.
        """
        self._recorded.result()
        for side, precision in ((self.follower, "float64"), (self.follower, "float32"), (self.lead, "float32")):
            shown = self.pictures and precision == "float64"
            self._passes[f"{side} {precision}"] = self._force(side, precision, pictures=shown)

    def _force(
        self, side: str, precision: str, *, plain: bool = False, pictures: bool = False
    ) -> Future[list[TapDifference]]:
        return self.do(
            side, "replaying modules", ReplayTasks.force,
            pairs=self.pairs.keys[side], inputs=self.inputs, folder=self.taps, precision=precision, plain=plain,
            pictures=pictures,
        )  # fmt: skip

    def compare(self) -> tuple[Modules, list[Culprit], list[TapDifference]]:
        """Wait for the passes and return the coverage, the modules that differ and the differences behind them."""
        results = {key: future.result() for key, future in self._passes.items()}
        found = results[f"{self.follower} float64"]
        self.called = {entry.key for entry in found}
        low = {side: results[f"{side} float32"] for side in (self.follower, self.lead)}
        self.floors = ModuleFloors(low, found)
        return *judge_modules(found, self.floors, self.pairs.unseen, self.pairs.settings), found

    def judge(self) -> tuple[Modules, list[Culprit], list[TapDifference]]:
        """Compare, set aside what is only cut otherwise, and say of each culprit what can be said."""
        modules, culprits, found = self.compare()
        assert self.floors is not None
        paddle = {key: path for path, key in self.pairs.keys["paddle"].items()}
        self.details = module_details(found, self.floors, self.pairs.described["torch"], paddle)
        if not self.once:
            before = {culprit.module for culprit in culprits}
            culprits, recut = self._recut(culprits)
            modules = replace(modules, recut=recut)
            self.set_aside = before - {culprit.module for culprit in culprits}
        named = {culprit.module for culprit in culprits}
        culprits += [culprit for culprit in self.floors.low_precision() if culprit.module not in named]
        if not self.once:
            if any(culprit.kind != "setting" for culprit in culprits):
                modules = replace(modules, first_divergence=self._first_divergence(culprits))
            culprits = self._with_drift(culprits)
        return modules, [self._beside(culprit) for culprit in culprits], found

    def _recut(self, culprits: list[Culprit]) -> tuple[list[Culprit], tuple[str, ...]]:
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
            whole = self._whole(culprit)
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
            coarse = Replay(self.do, self.lead, self.follower, _without_parts(self.pairs, level), *self._paths(depth))
            coarse.submit()
            _, remaining, _ = coarse.compare()
            same |= set(level) & coarse.called - {culprit.module for culprit in remaining}
        return [culprit for culprit in culprits if self._whole(culprit) not in same], tuple(sorted(same))

    def _whole(self, culprit: Culprit) -> str | None:
        """Return the module that runs in which a culprit may be a matter of where parts are cut; None: it cannot be."""
        if culprit.kind in ("computes", "signature") and culprit.module:
            return owner(culprit.module, self.called)
        return culprit.module if culprit.kind == "wiring" else None

    def judged_pairs(self, recut: Collection[str]) -> Pairs:
        """Return the pairs without the parts of those modules that are cut otherwise."""
        keys = {
            side: {
                path: key
                for path, key in own.items()
                if key in recut or not key or owner(key, self.called) not in recut
            }
            for side, own in self.pairs.keys.items()
        }
        return replace(self.pairs, keys=keys)

    def _paths(self, depth: int) -> tuple[Path, Path]:
        return self.inputs, self.taps.with_name(f"{self.taps.name}-coarse-{depth}")

    def _cut_otherwise(self, whole: str) -> bool:
        """Whether the two sides' parts of a whole differ in type, or some have no partner."""
        if any(f"'{whole}." in path or not whole for path in self.pairs.unseen):
            return True
        if any(d.cut and d.key and d.key.rpartition(".")[0] == whole for d in self.pairs.settings):
            return True
        torch, paddle = self.pairs.described["torch"], self.pairs.described["paddle"]
        return any(torch[key][0] != paddle[key][0] for key in torch if key and key.rpartition(".")[0] == whole)

    def _first_divergence(self, culprits: Sequence[Culprit]) -> str:
        """Run the follower end to end and return the first module whose output is not the lead's.

        The taps were rounded to float32 where they were recorded, so float32's floor is what can be told apart.
        """
        assert self.floors is not None
        for entry in self._force(self.follower, "float64", plain=True).result():
            if entry.role == RETURNED and self.floors.diverged_by(entry):
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

    def in_precision(self, side: str, precision: str) -> tuple[list[Culprit], Modules]:
        """Name the modules that err by more than a lower precision rounds, and say what was covered."""
        assert self.floors is not None
        named: dict[str, Culprit] = {}
        worst_module, worst_ratio, blind = "", 0.0, set[str]()
        returned = [entry for entry in self._force(side, precision).result() if entry.role == RETURNED]
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
