"""The search: what parts is carried over from torch into Paddle, until the outputs agree or nothing is left to try."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from safetensors.numpy import load_file

from portproof._errors import ModelRaised
from portproof._numbers import Arrays
from portproof.lines._calls import Recording
from portproof.lines._candidates import Candidate, candidates
from portproof.lines._match import Matched, computed_alike
from portproof.lines._recorder import Carried
from portproof.lines._tasks import Recorded, Rerun
from portproof.lines._values import SAME, outputs_agree

#: Faults that are looked for, runs for one, and recordings for one where several faults act together.
_FAULTS, _RUNS, _RECORDINGS = 6, 20, 3
#: Calls that must agree anew before a value counts as one of several repairs.
_GAIN = 2


class Forwards(Protocol):
    """How the two forwards are run: in processes of their own, or here."""

    folder: Path

    def record(self, side: str, name: str, carried: Sequence[Carried] = ()) -> Future[Recorded]:
        """Begin to record a side's forward: values into ``folder/side``, outputs into ``folder/name.safetensors``."""

    def carry(self, name: str, carried: Sequence[Carried]) -> Rerun:
        """Run Paddle's forward with something carried over; its outputs go to ``folder/name.safetensors``."""


@dataclass(frozen=True)
class Repair:
    """A value that was carried over and made a difference.

    Attributes:
        candidate: what was carried.
        matched: the two forwards as they were before.
        confirmed: with it, and with those found beside it, every output agrees.
    """

    candidate: Candidate
    matched: Matched
    confirmed: bool = False


@dataclass
class Search:
    """One search.

    Args:
        forwards: to run.
        seconds: after which nothing new is begun.
        partners: paths of torch's modules to those of Paddle's that stand for them.

    Attributes:
        repairs: found, in order.
        runs: of Paddle's forward.
        notes: for a person.
        seconds_used: by it all.
        late: whether it ended for want of time.
        recordings: of both sides.
    """

    forwards: Forwards
    seconds: float
    partners: Mapping[str, str] = field(default_factory=dict)
    repairs: list[Repair] = field(default_factory=list)
    runs: int = 0
    notes: list[str] = field(default_factory=list)
    late: bool = False
    unexplained: Matched | None = None

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds
        self._known: dict[tuple[Path, Path], str] = {}
        self._names = itertools.count()

    def search(self) -> list[Repair]:
        """Find the faults of Paddle's forward; see :attr:`repairs`.

        Raises:
            ModelRaised: a side's forward raised.
        """
        begun = [self.forwards.record(side, side) for side in ("torch", "paddle")]
        torch, paddle = (future.result() for future in begun)
        for one in (torch, paddle):
            side = one.recording.side
            if one.changed:
                self.notes.append(
                    f"no lines: {side} puts out something else when its calls are looked at ('{one.changed[0]}'); "
                    "a fused kernel is left then, and it may be the difference"
                )
                return []
        self._torch = torch.recording
        self._expected = load_file(self.forwards.folder / "torch.safetensors")
        self._tolerance = self._fine(load_file(self.forwards.folder / "paddle.safetensors"))
        self._said_missing((torch.recording, paddle.recording))
        matched = self._matched(paddle.recording)
        carried: list[Carried] = []
        if not matched.differing():
            self.notes.append("no lines: on the few rows that were recorded, every output agrees")
        while matched.differing() and len(self.repairs) < _FAULTS and not self._is_late():
            found = self._one(matched, carried)
            if found is None:
                break
            candidate, agree, after = found
            self.repairs.append(Repair(candidate, matched))
            carried += candidate.carried(matched)
            if agree:
                self._confirm()
                return self.repairs
            assert after is not None
            matched = after
        self.unexplained = matched
        return self.repairs

    def _one(self, matched: Matched, carried: Sequence[Carried]) -> tuple[Candidate, bool, Matched | None] | None:
        """Return the next fault's candidate, whether the outputs agree with it, and else the forwards after it."""
        tried: list[Candidate] = []
        for candidate in candidates(matched)[:_RUNS]:
            if self._is_late():
                break
            done, agree = self._try([*carried, *candidate.carried(matched)], candidate)
            if agree:
                return candidate, True, None
            if done:
                tried.append(candidate)
        before, best = computed_alike(matched, "torch"), None
        for candidate in tried[:_RECORDINGS]:
            if self._is_late():
                break
            after = self._again([*carried, *candidate.carried(matched)])
            if after is None:
                continue
            gain = computed_alike(after, "torch") - before
            if gain >= _GAIN and (best is None or gain > best[0]):
                best = (gain, candidate, after)
        return None if best is None else (best[1], False, best[2])

    def _try(self, carried: Sequence[Carried], candidate: Candidate) -> tuple[bool, bool]:
        """Run with something carried over; returns whether that was possible, and whether all outputs agree."""
        name = f"try-{next(self._names)}"
        self.runs += 1
        try:
            rerun = self.forwards.carry(name, carried)
        except ModelRaised:  # what follows cannot take it
            return False, False
        outputs = self.forwards.folder / f"{name}.safetensors"
        agree = outputs_agree(self._expected, load_file(outputs), self._tolerance)
        outputs.unlink()
        done = set(rerun.done) >= {one.call for one in carried} and not rerun.refused
        return done, done and agree

    def _again(self, carried: Sequence[Carried]) -> Matched | None:
        name = f"paddle-{next(self._names)}"
        self.runs += 1
        try:
            recorded = self.forwards.record("paddle", name, carried).result()
        except ModelRaised:
            return None
        return self._matched(recorded.recording)

    def _confirm(self) -> None:
        """With all repairs the outputs agree: leave those out without which they do, too; the rest is confirmed.

        One whose result is on the way to another's stays: torch's value there would hide whatever is wrong before it.
        """
        for repair in list(self.repairs):
            others = [other for other in self.repairs if other is not repair]
            if not others or self._is_late():
                break
            if any(_is_before(repair, other) for other in others):
                continue
            done, agree = self._try(
                [c for other in others for c in other.candidate.carried(other.matched)], repair.candidate
            )
            if done and agree:
                self.repairs.remove(repair)
        self.repairs = [Repair(repair.candidate, repair.matched, True) for repair in self.repairs]

    def _matched(self, paddle: Recording) -> Matched:
        folders = {side: self.forwards.folder / side for side in ("torch", "paddle")}
        return Matched({"torch": self._torch, "paddle": paddle}, folders, self._tolerance, self._known, self.partners)

    def _fine(self, outputs: Arrays) -> float:
        """Return how near two values are one: finer where what differs is little."""
        for tolerance in (SAME, SAME / 10, SAME / 100):
            if not outputs_agree(self._expected, outputs, 100 * tolerance):
                return tolerance
        return SAME / 100

    def _said_missing(self, recordings: Sequence[Recording]) -> None:
        for recording in recordings:
            if recording.orphans:
                more = f" and {len(recording.orphans) - 1} more" if len(recording.orphans) > 1 else ""
                self.notes.append(f"lines: not every call of {recording.side} was seen: {recording.orphans[0]}{more}")
            if recording.unread:
                self.notes.append(f"lines: {recording.unread} calls of {recording.side} hold no values (vmap)")
            if recording.unwritten:
                self.notes.append(
                    f"lines: {recording.unwritten} values of {recording.side} were too much to write, and are matched "
                    "by their moments alone"
                )

    def _is_late(self) -> bool:
        self.late = self.late or time.monotonic() > self._until
        return self.late


def _is_before(repair: Repair, other: Repair) -> bool:
    """Whether what one repair exchanges is on the way to what another does."""
    wanted = {call.index for call in repair.candidate.targets}
    seen: set[int] = set()
    waiting = [given.maker for call in other.candidate.targets for given in call.given]
    while waiting:
        index = waiting.pop()
        call = other.matched.call("paddle", index)
        if index in seen or call is None:
            continue
        seen.add(index)
        waiting += [given.maker for given in call.given]
    return bool(wanted & seen)
