"""The module-by-module part of ``verify``: pair the trees, replay one side on the other's taps, say where they part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portproof._judge import ModuleFloors, judge_modules
from portproof._port import Accepted
from portproof._report import AcceptedDeviation, Culprit, Modules, Sight
from portproof._settings import SettingDifference, compare_settings
from portproof._taps import RETURNED, TapDifference
from portproof.faults._kinds import Fault

Do = Callable[..., Future[Any]]
#: Side to the path, layer type and settings of every module.
Described = Mapping[str, Sequence[tuple[str, str, Mapping[str, Any]]]]

#: Faults that ``verify`` plants to say what it can see.
SIGHT_SAMPLE = 8


@dataclass(frozen=True)
class Pairs:
    """Modules that stand for each other.

    Attributes:
        keys: side to its module path to the common key, which is torch's path.
        unseen: modules without a partner, as a person would name them.
        settings: what paired modules were built with and do not share.
        described: side to key to layer type and settings.
    """

    keys: dict[str, dict[str, str]]
    unseen: tuple[str, ...]
    settings: tuple[SettingDifference, ...]
    described: dict[str, dict[str, tuple[str, Mapping[str, Any]]]]


def pair_modules(described: Described, paddle_path: Callable[[str], str]) -> Pairs:
    """Pair the modules of two trees by path; nothing is paired by guess.

    Args:
        described: every module of both sides.
        paddle_path: torch path to Paddle path.
    """
    known = {path for path, _, _ in described["paddle"]}
    torch: dict[str, str] = {}
    paddle: dict[str, str] = {}
    for path, _, _ in described["torch"]:
        twin = paddle_path(path)
        if twin in known and twin not in paddle:
            torch[path], paddle[twin] = path, path
    keys = {"torch": torch, "paddle": paddle}
    unseen = [
        f"{side} '{path}' ({layer})" for side in keys for path, layer, _ in described[side] if path not in keys[side]
    ]
    by_key = {
        side: {keys[side][path]: (layer, settings) for path, layer, settings in described[side] if path in keys[side]}
        for side in keys
    }
    differences = [
        difference for key in torch for difference in compare_settings(key, by_key["torch"][key], by_key["paddle"][key])
    ]
    return Pairs(keys, tuple(unseen), tuple(differences), by_key)


class Replay:
    """One replay under one set of weights: submitted piece by piece, judged when its answers are there.

    Args:
        do: submits a task to a process.
        lead, follower: the sides; the follower is run on the lead's taps.
        pairs: of modules.
        inputs: file of the few rows that are replayed.
        taps: folder for the recording.
    """

    def __init__(self, do: Do, lead: str, follower: str, pairs: Pairs, inputs: Path, taps: Path) -> None:
        self.do, self.lead, self.follower, self.pairs = do, lead, follower, pairs
        self.files = {"inputs": str(inputs), "folder": str(taps)}
        self._passes: dict[str, Future[Any]] = {}
        self._look: Future[Any] | None = None
        self._recorded = do(lead, "recording taps", "record", pairs=pairs.keys[lead], **self.files)
        self.floors: ModuleFloors | None = None

    def submit(self, *, look: bool, seed: int) -> None:
        """Submit the passes, once the recording is there; with ``look``, the planted faults too.

        Raises:
            ModelRaised: the lead raised while it was recorded.
        """
        self._recorded.result()
        for side, precision in ((self.follower, "float64"), (self.follower, "float32"), (self.lead, "float32")):
            self._passes[f"{side} {precision}"] = self._force(side, precision)
        if look:
            keys = self.pairs.keys[self.follower]
            self._look = self.do(
                self.follower, "planting faults", "look", pairs=keys, count=SIGHT_SAMPLE, seed=seed, **self.files
            )

    def _force(self, side: str, precision: str, *, plain: bool = False) -> Future[Any]:
        return self.do(
            side, "replaying modules", "force",
            pairs=self.pairs.keys[side], precision=precision, plain=plain, **self.files,
        )  # fmt: skip

    def judge(self) -> tuple[Modules, list[Culprit], list[TapDifference]]:
        """Wait for the passes and return the coverage, the culprits and the differences behind them."""
        results = {key: _read(future.result()) for key, future in self._passes.items()}
        found = results[f"{self.follower} float64"]
        low = {side: results[f"{side} float32"] for side in (self.follower, self.lead)}
        self.floors = ModuleFloors(low, found)
        modules, culprits = judge_modules(found, self.floors, self.pairs.unseen, self.pairs.settings)
        named = {culprit.module for culprit in culprits}
        culprits += [culprit for culprit in self.floors.low_precision() if culprit.module not in named]
        if any(culprit.kind != "setting" for culprit in culprits):
            modules = replace(modules, first_divergence=self._first_divergence(culprits))
        return modules, [self._beside(culprit) for culprit in self._with_drift(culprits)], found

    def _first_divergence(self, culprits: Sequence[Culprit]) -> str:
        """Run the follower end to end and return the first module whose output is not the lead's.

        The taps were rounded to float32 where they were recorded, so float32's floor is what can be told apart.
        """
        assert self.floors is not None
        for entry in _read(self._force(self.follower, "float64", plain=True).result()):
            if entry.role == RETURNED and self.floors.is_divergent(entry, "float32"):
                return entry.key
        return culprits[0].module

    def _with_drift(self, culprits: list[Culprit]) -> list[Culprit]:
        """Add to culprits the tensors in them that are not what was loaded: tied, or overwritten by the model."""
        keys = {culprit.module for culprit in culprits if culprit.kind == "computes"}
        if not keys:
            return culprits
        for side in (self.lead, self.follower):
            paths = [path for path, key in self.pairs.keys[side].items() if key in keys]
            drifted = self.do(side, "inspecting tensors", "drifted", paths=paths).result()
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

    def blame_export(self, side: str, path: Path) -> list[Culprit]:
        """Name the modules whose exported nodes compute something else on the recorded input."""
        assert self.floors is not None
        keys = self.pairs.keys[side]
        holders = {path.rpartition(".")[0] for path in keys if path}
        paths = {path: key for path, key in keys.items() if path not in holders}
        answers = self.do(
            "runtime", "locating the divergence", "blame_export",
            artefact=str(path), exporter=side, keys=paths, **self.files,
        ).result()  # fmt: skip
        culprits: list[Culprit] = []
        for answer in answers:
            (tap,) = _read([answer["tap"]])
            if self.floors.is_divergent(tap, "float64"):
                amount = tap.difference.mismatch or f"differ by {tap.difference.rms:.1e} of their scale"
                text = f"on the same input the exported nodes ({answer['nodes']}) {amount}"
                culprits.append(Culprit(side, tap.key, "export", "forward", text))
        return culprits

    def sight(self, weights: str) -> Sight | None:
        """Count the planted faults that were caught and located; None where none were planted."""
        if self._look is None or self.floors is None:
            return None
        answers = [read_answer(answer, self.pairs, self.follower, self.floors) for answer in self._look.result()]
        effective = [answer for answer in answers if answer.effective]
        return Sight(
            planted=len(effective),
            caught=sum(bool(answer.named) for answer in effective),
            located=sum(answer.exact for answer in effective),
            missed=tuple(answer.title for answer in effective if not answer.named),
            without_effect=tuple(f"{a.title}: {'; '.join(a.why)}" for a in answers if not a.effective and not a.named),
            weights=weights,
        )


@dataclass(frozen=True)
class Answer:
    """What the check said of a group of faults that were planted together.

    Attributes:
        faults: what was planted.
        modules: where, by torch's paths; in a group, of the faults that have an effect by themselves.
        named: the modules that the check named.
        effective, tap, ulp: see :class:`portproof.faults._effect.Effect`.
        why: explains a group without effect.
    """

    faults: tuple[Fault, ...]
    modules: frozenset[str]
    named: frozenset[str]
    effective: bool
    tap: str
    ulp: float | None
    why: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether exactly the planted modules were named."""
        return self.named == self.modules

    @property
    def title(self) -> str:
        """The faults in words."""
        return " + ".join(map(str, self.faults))


def read_answer(answer: Mapping[str, Any], pairs: Pairs, planted: str, floors: ModuleFloors) -> Answer:
    """Judge what the replay of planted faults showed.

    Args:
        answer: of the task ``plant``.
        pairs: of modules.
        planted: the side that the faults were in.
        floors: of the clean sides.
    """
    opposite = "torch" if planted == "paddle" else "paddle"
    settings: list[SettingDifference] = []
    for key, (layer, values) in answer["settings"].items():
        mine, theirs = (layer, values), pairs.described[opposite][key]
        torch, paddle = (mine, theirs) if planted == "torch" else (theirs, mine)
        settings += compare_settings(key, torch, paddle)
    _, culprits = judge_modules(_read(answer["differences"]), floors, settings=settings)
    return Answer(
        faults=tuple(Fault.from_json(fault) for fault in answer["faults"]),
        modules=frozenset(answer["modules"]),
        named=frozenset(culprit.module for culprit in culprits),
        why=tuple(answer["why"]),
        **answer["effect"],
    )


def _read(entries: Sequence[dict[str, Any]]) -> list[TapDifference]:
    return [TapDifference.from_json(entry) for entry in entries]


def settle_accepted(
    accepted: Mapping[str, Accepted], culprits: Sequence[Culprit], found: Sequence[TapDifference]
) -> tuple[list[Culprit], list[AcceptedDeviation]]:
    """Take out the culprits that the port's author accepts, and add those accepted that no longer occur.

    Args:
        accepted: module to what is accepted there.
        culprits: of the replay.
        found: the differences behind them.
    """
    kept = list(culprits)
    settled: list[AcceptedDeviation] = []
    for module, entry in accepted.items():
        largest = max((tap.difference.rms for tap in found if tap.key == module), default=0.0)
        met = any(culprit.module == module for culprit in culprits)
        if met and largest <= entry.bound:
            kept = [culprit for culprit in kept if culprit.module != module]
        if not met:
            text = f"the accepted deviation no longer occurs; remove it from the port ({entry.reason})"
            kept.append(Culprit("unknown", module, "accepted", "forward", text))
        settled.append(AcceptedDeviation(module, entry.reason, entry.bound, largest, stale=not met))
    return kept, settled
