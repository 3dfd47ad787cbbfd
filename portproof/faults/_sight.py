"""What the check sees of planted faults, and how they are counted."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated

from portproof._disk import several
from portproof.faults._kinds import Fault
from portproof.faults._tasks import FaultTasks, Shown
from portproof.frameworks._settings import SettingDifference, compare_settings
from portproof.judge._floor import Floor, verdict_of
from portproof.judge._report import PlantedFault, Sight
from portproof.replay._judge import judge_modules, settle_accepted
from portproof.replay._replay import Replay, Replayed
from portproof.sides._tasks import Tasks

#: Faults that ``verify`` plants to say what it can see.
SIGHT_SAMPLE = 8


def look(replay: Replay, seed: int) -> Future[list[Shown]]:
    """Plant a sample of faults into the follower of a replay, behind its passes; see :func:`sight`."""
    out = replay.taps.with_name(f"{replay.taps.name}-outputs")
    replay.do(
        replay.lead, "running in float64", Tasks.run,
        runner=replay.lead.eager, inputs=replay.inputs, out=out, precisions=["float64"], single=0,
    ).result()  # fmt: skip
    return replay.do(
        replay.follower, "planting faults", FaultTasks.look,
        pairs=replay.pairs.keys[replay.follower], inputs=replay.inputs, folder=replay.taps,
        outputs=out / "float64.safetensors", count=SIGHT_SAMPLE, seed=seed,
    )  # fmt: skip


def sight(replayed: Replayed, looked: Future[list[Shown]], floors: Mapping[str, Floor], weights: str) -> Sight:
    """Count the planted faults that were caught and located, once the replay is judged; ``floors``: of the outputs."""
    answers = [read(replayed, floors, shown) for shown in looked.result() if not replayed.absolved & {*shown.planted}]
    effective = [answer for answer in answers if answer.effective]
    return Sight(
        planted=len(effective),
        caught=sum(answer.seen for answer in effective),
        located=sum(answer.exact for answer in effective),
        missed=tuple(answer.title for answer in effective if not answer.seen),
        without_effect=tuple(f"{a.title}: {'; '.join(a.why)}" for a in answers if not a.effective and not a.seen),
        weights=weights,
        faults=tuple(
            PlantedFault(a.title, tuple(sorted(a.planted)), tuple(sorted(a.named)), a.effective) for a in answers
        ),
    )


def hidden_by_given(seen: Sight) -> list[str]:
    """Say how many planted faults the given weights hide; nothing where they hide none."""
    hidden = seen.without_effect
    if not hidden:
        return []
    return [
        f"{len(hidden)} of {seen.planted + len(hidden)} planted faults would be invisible under the given weights "
        f"({hidden[0]}); sensitised weights, below, show them, and trained ones would"
    ]


@dataclass(frozen=True)
class Answer:
    """What the check said of a group of faults that were planted together.

    Attributes:
        faults: what was planted.
        planted: where, by torch's paths.
        modules: in a group, where those faults are that have an effect by themselves; else the same.
        seen: whether the outputs differ, or a module was named by its settings.
        named: the modules that the check named.
        effective, tap, ulp: see :class:`portproof.faults._effect.Effect`.
        why: explains a group without effect.
    """

    faults: Annotated[tuple[Fault, ...], several]
    planted: frozenset[str]
    modules: frozenset[str]
    seen: bool
    named: frozenset[str]
    effective: bool
    tap: str
    ulp: float | None
    why: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether exactly the planted modules were named."""
        return self.named - self.hidden == self.modules - self.hidden

    @property
    def hidden(self) -> frozenset[str]:
        """Modules of faults that have no effect by themselves: naming them (by a setting, say) is right, not due."""
        return self.planted - self.modules

    @property
    def title(self) -> str:
        """The faults in words."""
        return " + ".join(map(str, self.faults))


def read(replayed: Replayed, floors: Mapping[str, Floor], answer: Shown) -> Answer:
    """Judge what a pass with planted faults showed.

    Where the outputs agree, nothing is seen. What differs anyway, as it is organised otherwise, and a deviation that
    the port's author accepts, within its bound, are no sighting.

    Args:
        replayed: the same replay without faults, whose follower they were planted into.
        floors: of the outputs.
        answer: of the task ``plant``.
    """
    replay = replayed.replay
    opposite = replay.follower.other
    settings: list[SettingDifference] = []
    for key, (layer, values) in answer.settings.items():
        mine, theirs = (layer, values), replay.pairs.described[opposite][key]
        torch, paddle = (mine, theirs) if replay.follower == "torch" else (theirs, mine)
        settings += compare_settings(key, torch, paddle)
    found = list(answer.differences)
    ran = {entry.key for entry in replayed.found}  # a pass runs only what the faults reach, yet parts have their owners
    _, culprits = judge_modules(found, replayed.floors, settings=settings, called=ran)
    kept, _ = settle_accepted(replay.accepted, culprits, found)
    culprits = [culprit for culprit in kept if culprit.kind != "accepted"]  # the answer has what the faults reach only
    differ = answer.outputs is None or any(
        verdict_of(difference, floors[name], "float64") == "divergent" for name, difference in answer.outputs.items()
    )
    if not differ:
        culprits = [culprit for culprit in culprits if culprit.kind == "setting"]
    named = frozenset(culprit.module for culprit in culprits) - replayed.absolved
    return Answer(
        faults=answer.faults,
        planted=frozenset(answer.planted),
        modules=frozenset(answer.modules),
        seen=differ or bool(named),
        named=named,
        why=answer.why,
        effective=answer.effect.effective,
        tap=answer.effect.tap,
        ulp=answer.effect.ulp,
    )
