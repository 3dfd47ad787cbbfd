"""The module-by-module part of ``verify``: pair the trees, replay one side on the other's taps, say where they part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portproof._faults import Fault
from portproof._judge import judge_modules
from portproof._port import Accepted
from portproof._report import AcceptedDeviation, Culprit, Modules, Sight
from portproof._taps import TapDifference

Do = Callable[..., Future[Any]]
Described = Mapping[str, Sequence[tuple[str, str]]]  # side to the path and layer type of every module

#: Faults that ``verify`` plants to say what it can see.
SIGHT_SAMPLE = 8


@dataclass(frozen=True)
class Pairs:
    """Modules that stand for each other.

    Attributes:
        keys: side to its module path to the common key, which is torch's path.
        unseen: modules without a partner, as a person would name them.
    """

    keys: dict[str, dict[str, str]]
    unseen: tuple[str, ...]


def pair_modules(described: Described, paddle_path: Callable[[str], str]) -> Pairs:
    """Pair the modules of two trees by path; nothing is paired by guess.

    Args:
        described: every module of both sides.
        paddle_path: torch path to Paddle path.
    """
    known = {path for path, _ in described["paddle"]}
    torch: dict[str, str] = {}
    paddle: dict[str, str] = {}
    for path, _ in described["torch"]:
        twin = paddle_path(path)
        if twin in known and twin not in paddle:
            torch[path], paddle[twin] = path, path
    keys = {"torch": torch, "paddle": paddle}
    unseen = [
        f"{side} '{path}' ({layer})" for side in keys for path, layer in described[side] if path not in keys[side]
    ]
    return Pairs(keys, tuple(unseen))


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
        self._files = {"inputs": str(inputs), "folder": str(taps)}
        self._passes: dict[str, Future[Any]] = {}
        self._look: Future[Any] | None = None
        self._low: list[list[TapDifference]] = []
        self._recorded = do(lead, "recording taps", "record", pairs=pairs.keys[lead], **self._files)

    def submit(self, *, look: bool, seed: int) -> None:
        """Submit the passes, once the recording is there; with ``look``, the planted faults too.

        Raises:
            ModelRaised: the lead raised while it was recorded.
        """
        self._recorded.result()
        for side, precision in ((self.follower, "float64"), (self.follower, "float32"), (self.lead, "float32")):
            self._passes[f"{side} {precision}"] = self.do(
                side, "replaying modules", "force", pairs=self.pairs.keys[side], precision=precision, **self._files
            )
        if look:
            keys = self.pairs.keys[self.follower]
            self._look = self.do(
                self.follower, "planting faults", "look", pairs=keys, count=SIGHT_SAMPLE, seed=seed, **self._files
            )

    def judge(self) -> tuple[Modules, list[Culprit], list[TapDifference]]:
        """Wait for the passes and return the coverage, the culprits and the differences behind them."""
        results = {key: [TapDifference.from_json(e) for e in future.result()] for key, future in self._passes.items()}
        found = results[f"{self.follower} float64"]
        self._low = [results[f"{self.follower} float32"], results[f"{self.lead} float32"]]
        modules, culprits = judge_modules(found, self._low, self.pairs.unseen)
        return modules, [self._beside(culprit) for culprit in culprits], found

    def _beside(self, culprit: Culprit) -> Culprit:
        """Add to a culprit the parts of it that only one side has: they are often the reason."""
        inside = [path for path in self.pairs.unseen if not culprit.module or f"'{culprit.module}." in path]
        if not inside or culprit.kind != "computes":
            return culprit
        return replace(culprit, message=f"{culprit.message}; without a partner: {', '.join(inside[:3])}")

    def sight(self) -> Sight | None:
        """Count the planted faults that were caught and located; None where none were planted."""
        if self._look is None:
            return None
        caught = located = 0
        missed: list[str] = []
        answers = self._look.result()
        for planted in answers:
            fault = Fault(**planted["fault"])
            found = [TapDifference.from_json(entry) for entry in planted["differences"]]
            _, culprits = judge_modules(found, self._low, ())
            caught += bool(culprits)
            located += {culprit.module for culprit in culprits} == {self.pairs.keys[self.follower][fault.module]}
            if not culprits:
                missed.append(str(fault))
        return Sight(len(answers), caught, located, tuple(missed))


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
