"""The module-by-module part of ``verify``: replay one side on the other's taps, say where they part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from portproof._numbers import Array
from portproof.judge._floor import is_blind, multiple, ratio
from portproof.judge._report import Culprit, ModuleDetail, Modules
from portproof.ports._port import Accepted, Side
from portproof.replay._judge import ModuleFloors, judge_modules, module_details, owner
from portproof.replay._taps import OTHER_COUNT, RECEIVES, RETURNED, SAME_ROWS, TapDifference, TapStore
from portproof.replay._tasks import ReplayTasks
from portproof.sides._pairs import Pairs
from portproof.sides._sides import Do

#: Kinds of culprits that are no fault where a whole around them agrees, and what they are then.
_ORGANISED = {
    "computes": "returns something else",
    "wiring": "hands its parts something else",
    "signature": "takes or returns tensors of another number or shape",
    "raises": "cannot take the other side's tensors",
}

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

    def recorded(self) -> list[Array]:
        """Return what the whole model put out while it was recorded; nothing where that is not known.

        Raises:
            ModelRaised: the lead raised while it was recorded.
        """
        self._recorded.result()
        call = TapStore(self.taps).read("", 0)
        return [] if call is None else call[1]

    def submit(self, *, follower: bool = True) -> Passes:
        """Submit the passes, once the recording is there.

        Args:
            follower: its passes, too; else they are submitted when all are measured. A side whose every answer is known
                so far would be started, and take a core from the runs that decide.

        Raises:
            ModelRaised: the lead raised while it was recorded.
        """
        self._recorded.result()
        return self._passes(side for side in (self.follower, self.lead) if follower or side != self.follower)

    def _passes(self, sides: Iterable[Side]) -> Passes:
        precisions = {self.follower: ("float64", "float32"), self.lead: ("float32",)}
        return {
            (side, precision): self.force(side, precision, pictures=self.pictures and precision == "float64")
            for side in sides
            for precision in precisions[side]
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

    def judge(self, passes: Passes, *, agree: bool = False) -> Replayed:
        """Compare, set aside what lies in a whole that agrees, and say of each culprit what can be said.

        Args:
            passes: that were submitted.
            agree: whether the outputs agree in float64, on whatever they were compared on: then nothing inside differs
                but in how it is organised.
        """
        found, floors = self.measured(passes)
        modules, culprits = judge_modules(found, floors, self.pairs.unseen, self.pairs.settings)
        same, absolved = ({""}, _by_function(culprits)) if agree else self._absolved(culprits, _called(found))
        culprits = [culprit for culprit in culprits if culprit not in absolved]
        named = {culprit.module for culprit in culprits}
        culprits += [culprit for culprit in floors.low_precision() if culprit.module not in named]
        latent = [culprit for culprit in absolved if self._is_latent(culprit)]
        # Equal values in other leading axes (rows beside a grid) change nothing that the culprits don't say; nor do
        # tensors that only one side is given (sizes, a mask of nothing) where the same is returned.
        alike = _agreeing(found, floors)
        cut = [
            c for c in culprits
            if c.kind == "signature"
            and (SAME_ROWS in c.message or (c.message.startswith(RECEIVES) and c.module in alike))
        ]  # fmt: skip
        cut = cut if len(cut) < len(culprits) else []
        culprits = [culprit for culprit in culprits if culprit not in cut]
        organised = [culprit for culprit in (*absolved, *cut) if culprit not in latent]
        if organised:
            modules = replace(modules, recut=tuple(sorted(same)), organised=tuple(self._folded(organised)))
        if not self.once:
            if any(culprit.kind != "setting" for culprit in culprits):
                modules = replace(modules, first_divergence=self._first_divergence(culprits, floors, same))
            culprits = self._with_drift(culprits)
        paddle = {key: path for path, key in self.pairs.keys["paddle"].items()}
        details = module_details(found, floors, self.pairs.described["torch"], paddle)
        culprits = [self._beside(culprit) for culprit in culprits]
        aside = frozenset(culprit.module for culprit in organised)
        return Replayed(self, modules, tuple(culprits), tuple(found), floors, details, aside, tuple(latent))

    def measured(self, passes: Passes) -> tuple[list[TapDifference], ModuleFloors]:
        """Wait for the passes and return the float64 differences of the follower, and the floors."""
        missing = {self.lead, self.follower} - {side for side, _ in passes}
        results = {key: future.result() for key, future in (*passes.items(), *self._passes(missing).items())}
        found = results[self.follower, "float64"]
        errors: Mapping[str, Sequence[TapDifference]] = {
            side: results[side, "float32"] for side in (self.follower, self.lead)
        }
        floors = ModuleFloors(errors, found)
        keys = floors.beyond_caps()
        if keys:
            bounds = self.do(
                self.follower, "replaying modules", ReplayTasks.bound,
                pairs=self.pairs.keys[self.follower], inputs=self.inputs, folder=self.taps, keys=keys,
            ).result()  # fmt: skip
            caps = {entry.name: entry.cap for entry in bounds}
            found = [replace(entry, cap=caps.get(entry.name, entry.cap)) for entry in found]
            floors = ModuleFloors(errors, found)
        return found, floors

    def without_parts(self, wholes: Sequence[str]) -> Replay:
        """Begin the same replay with the parts of some modules left alone."""
        taps = self.taps.with_name(f"{self.taps.name}-whole-{_depth(wholes[0])}")
        return Replay(self.do, self.lead, self.follower, _without_parts(self.pairs, wholes), self.inputs, taps)

    def agreeing(self, wholes: Sequence[str]) -> set[str]:
        """Return those of some modules, none inside another, that are the same function with their parts left alone."""
        whole = self.without_parts(wholes)
        found, floors = whole.measured(whole.submit())
        return set(wholes) & _agreeing(found, floors)

    def _absolved(self, culprits: Sequence[Culprit], called: Set[str]) -> tuple[set[str], list[Culprit]]:
        """Find the modules that agree with their parts left alone, and with that what lies inside them.

        A convolution that applies the ReLU itself beside a module that then does nothing is no fault, nor is anything
        in a whole that returns the same in float64. Where the outputs differ and one part alone does, it is why.

        Returns:
            The wholes that agree, and the culprits inside them; none where all would be, since something differs.
        """
        # Of an input as large as it takes to clip, the rows of the replay say nothing; only the outputs do.
        inside = [culprit for culprit in _by_function(culprits) if culprit.kind != "saturates"]
        if self.once or len(inside) < 2:
            return set(), []
        around = {culprit: _around(culprit.module, called) for culprit in inside}
        same: set[str] = set()
        # Wholes inside others come first: with all parts of the outer one left alone, nothing would be said of them.
        for depth in range(max(map(_depth, set().union(*around.values())), default=0), 0, -1):
            left = [wholes for wholes in around.values() if not same & set(wholes)]
            level = sorted({whole for wholes in left for whole in wholes if _depth(whole) == depth})
            if level:
                same |= self.agreeing(level)
        absolved = [culprit for culprit, wholes in around.items() if same & set(wholes)]
        return (set(), []) if len(absolved) == len(inside) else (same, absolved)

    def _is_latent(self, culprit: Culprit) -> bool:
        """Whether a module is another function, as its settings or a larger input show, and not another cut."""
        built = {d.key for d in self.pairs.settings if not (d.cut or d.training)}
        return culprit.kind == "saturates" or (culprit.kind == "computes" and culprit.module in built)

    def _folded(self, organised: Sequence[Culprit]) -> list[str]:
        """Say what is organised otherwise, one line for modules of a type that differ alike."""
        alike: dict[tuple[str, str], list[str]] = {}
        for culprit in organised:
            layer = self.pairs.described["torch"].get(culprit.module, ("",))[0]
            alike.setdefault((layer, culprit.kind), []).append(culprit.module)
        lines = []
        for (layer, kind), paths in alike.items():
            count = f"{len(paths)} \u00d7 " if len(paths) > 1 else ""
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            lines.append(f"{count}{layer} {_ORGANISED[kind]} ('{paths[0] or '(root)'}'{more})")
        return lines

    def _first_divergence(self, culprits: Sequence[Culprit], floors: ModuleFloors, same: Set[str]) -> str:
        """Run the follower end to end and return the first module whose output is not the lead's.

        What lies in a whole that agrees may put out what it likes.

        The taps were rounded to float32 where they were recorded, so float32's floor is what can be told apart.
        """
        for entry in self.force(self.follower, "float64", plain=True).result():
            if entry.role == RETURNED and floors.diverged_by(entry) and not _inside(entry.key, same):
                return entry.key
        return culprits[0].module

    def _with_drift(self, culprits: list[Culprit]) -> list[Culprit]:
        """Add to culprits the tensors in them that are not what was loaded: tied, or overwritten by the model."""
        keys = {culprit.module for culprit in culprits if culprit.kind == "computes"}
        if not keys:
            return culprits
        for side in (self.lead, self.follower):
            drifted = self.do(side, "inspecting tensors", ReplayTasks.drifted, inputs=self.inputs).result()
            for name in drifted:
                key = self.pairs.keys[side].get(name.rpartition(".")[0])
                text = f"; {side}'s tensor '{name}' is not what was loaded into it"
                if key in keys:
                    culprits = [replace(c, message=c.message + text) if c.module == key else c for c in culprits]
        return culprits

    def _beside(self, culprit: Culprit) -> Culprit:
        """Add to a culprit the parts of it that are a module on one side only: one that is left out is the reason."""
        inside = [path for path in self.pairs.unseen if not culprit.module or f"'{culprit.module}." in path]
        if not inside or culprit.kind != "computes" or culprit.cause:
            return culprit
        text = "on the other side written as a function, or left out"
        return replace(culprit, message=f"{culprit.message}; {text}: {', '.join(inside[:3])}")


def _agreeing(found: Sequence[TapDifference], floors: ModuleFloors) -> set[str]:
    """Return the modules that return the same on the same input, however many tensors."""
    put_out = [
        entry for entry in found if entry.role == RETURNED and OTHER_COUNT not in (entry.difference.mismatch or "")
    ]
    return {entry.key for entry in put_out} - {e.key for e in put_out if floors.is_divergent(e, "float64")}


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
        set_aside: modules that differ in a whole that agrees: they are organised otherwise.
        latent: what is another function, and reaches no output.
    """

    replay: Replay
    modules: Modules
    culprits: tuple[Culprit, ...]
    found: tuple[TapDifference, ...]
    floors: ModuleFloors
    details: tuple[ModuleDetail, ...]
    set_aside: frozenset[str]
    latent: tuple[Culprit, ...]

    @property
    def pairs(self) -> Pairs:
        """The pairs without what is organised otherwise: there is nothing there to hold side by side."""
        keys = {
            side: {path: key for path, key in own.items() if not key or key not in self.set_aside}
            for side, own in self.replay.pairs.keys.items()
        }
        return replace(self.replay.pairs, keys=keys)

    @property
    def absolved(self) -> frozenset[str]:
        """Modules that differ where the whole does not."""
        return self.set_aside | {culprit.module for culprit in self.latent}

    def harmless(self) -> list[str]:
        """Say which modules are built otherwise and yet compute the same."""
        named = {culprit.module for culprit in (*self.culprits, *self.latent)}
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


def _by_function(culprits: Sequence[Culprit]) -> list[Culprit]:
    """Return the culprits that outputs can absolve: not those that act in training, or in a precision, alone."""
    return [culprit for culprit in culprits if culprit.kind in ("saturates", *_ORGANISED)]


def _around(path: str, called: Set[str]) -> list[str]:
    """Return the modules that run around one, itself where it has parts, without the root."""
    wholes = [path] if any(key.startswith(f"{path}.") for key in called) else []
    while path := owner(path, called):
        wholes.append(path)
    return [whole for whole in wholes if whole]


def _inside(path: str, wholes: Set[str]) -> bool:
    return any(path.startswith(f"{whole}.") if whole else path for whole in wholes)


def _depth(path: str) -> int:
    return path.count(".") + 1 if path else 0


def _without_parts(pairs: Pairs, wholes: Sequence[str]) -> Pairs:
    """Return the pairs without the parts of some modules."""
    inside = tuple(f"{whole}." for whole in wholes)
    keys = {
        side: {path: key for path, key in own.items() if not key.startswith(inside)} for side, own in pairs.keys.items()
    }
    return replace(pairs, keys=keys, settings=())
