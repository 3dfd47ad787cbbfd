"""The search: what parts is carried over from torch into Paddle, until the outputs agree or nothing is left to try."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from safetensors.numpy import load_file

from portproof._errors import ModelRaised
from portproof._numbers import Arrays
from portproof.lines._calls import Recording
from portproof.lines._candidate import Candidate
from portproof.lines._candidates import candidates
from portproof.lines._gains import Gains
from portproof.lines._match import Look, Matched, base
from portproof.lines._recorder import Carried
from portproof.lines._repairs import Repair, calls_of, confirmed, kind_of, lines_of, may_hide, set_behind
from portproof.lines._tasks import Recorded, Rerun
from portproof.lines._values import SAME, outputs_agree

#: Faults that are looked for; runs for one, for one after others, for two at once, and recordings for one of several.
_FAULTS, _RUNS, _LATER, _PAIRS, _RECORDINGS = 6, 24, 16, 24, 8
#: Bytes of outputs that are cleared away as soon as they are compared.
_LARGE = 2**22
#: What it speaks against a candidate that another was tried in the same place.
_AGAIN = 0.3
#: What it speaks for a candidate that twice as many calls agree with it.
_GAINS = 0.4
#: Times that the search goes on with a candidate with which nothing more agrees.
_GUESSES = 2
#: What it speaks for a candidate that nothing is left behind it.
_ENDS = 0.2


class Forwards(Protocol):
    """How the two forwards are run: in processes of their own, or here."""

    folder: Path

    def record(self, side: str, name: str, carried: Sequence[Carried] = ()) -> Future[Recorded]:
        """Begin to record a side's forward: values into ``folder/side``, outputs into ``folder/name.safetensors``."""

    def carry(self, name: str, carried: Sequence[Carried]) -> Rerun:
        """Run Paddle's forward with something carried over; its outputs go to ``folder/name.safetensors``."""


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
        self._guesses: list[Candidate] = []

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
        self._tolerance = _tolerance(self._expected, load_file(self.forwards.folder / "paddle.safetensors"))
        self.notes += _unseen((torch.recording, paddle.recording))
        matched = self._matched(paddle.recording)
        carried: list[Carried] = []
        if not matched.differing():
            self.notes.append("no lines: on the few rows that were recorded, every output agrees")
        while matched.differing() and self._named() < _FAULTS and not self._is_late():
            likely = candidates(matched)
            found = self._elsewhere(matched, carried, likely) or self._one(matched, carried, likely)
            if found is None:
                break
            some, agree, after = found
            self.repairs += [Repair(candidate, matched, guessed=candidate in self._guesses) for candidate in some]
            carried += [one for candidate in some for one in candidate.carried(matched)]
            if agree:
                behind = self._look_behind(carried)
                self.repairs = confirmed(self.repairs, self._agree_with, self._is_late, behind=behind)
                return self.repairs
            assert after is not None
            matched = after
            set_behind(matched, self.repairs, ended=False)
        self.unexplained = matched
        return self.repairs

    def _named(self) -> int:
        """Return on how many lines of Paddle's something was exchanged."""
        return len({(repair.candidate.given, *lines_of(repair.candidate, repair.matched)) for repair in self.repairs})

    def _elsewhere(
        self, matched: Matched, carried: Sequence[Carried], likely: Sequence[Candidate]
    ) -> tuple[list[Candidate], bool, Matched | None] | None:
        """Return the first candidate that exchanges on a line what was exchanged there before: in another block."""
        known = {kind_of(repair.candidate, repair.matched) for repair in self.repairs}
        done = {one.call for one in carried}
        some = [one for one in likely if kind_of(one, matched) in known and not done >= calls_of(one, matched)][:1]
        found = self._gaining(matched, carried, some) if some else None
        if found is None:
            return None
        agree = not found[1].differing() and self._try([*carried, *found[0].carried(matched)])[1]
        return some, agree, found[1]

    def _one(
        self, matched: Matched, carried: Sequence[Carried], likely: Sequence[Candidate]
    ) -> tuple[list[Candidate], bool, Matched | None] | None:
        """Return the next faults' candidates, whether the outputs agree with them, and else the forwards after them."""
        tried: list[Candidate] = []
        for candidate in likely[: _LATER if carried else _RUNS]:  # of several, one alone is rarely all
            if self._is_late():
                break
            done, agree = self._try([*carried, *candidate.carried(matched)])
            if agree:
                two = self._two(matched, carried, tried, candidate)
                if two is not None:
                    return two, True, None
                return self._in_steps(matched, carried, tried, candidate) or ([candidate], True, None)
            if done:
                tried.append(candidate)
        two = self._two(matched, carried, tried)
        if two is not None:
            return two, True, None
        tried = _by_place(tried)
        found = self._gaining(matched, carried, tried[:_RECORDINGS], guess=len(self._guesses) < _GUESSES)
        return None if found is None else ([found[0]], False, found[1])

    def _two(
        self, matched: Matched, carried: Sequence[Carried], tried: Sequence[Candidate], one: Candidate | None = None
    ) -> list[Candidate] | None:
        """Return two candidates with which the outputs agree, where Paddle parts from torch on several lines.

        ``one`` is what they do with, too: after both, where their results meet, and explained by more.
        """
        parting = matched.frontier("paddle", Look(True))
        if one is not None:
            parting = [call for call in parting if call in one.regions[1]]
        if len(matched.lines("paddle", parting)) < 2:
            return None
        for some in _pairs(matched, _by_place(tried)):
            if self._is_late() or (one is not None and some[0].cost + some[1].cost > one.cost):
                break
            if self._try([*carried, *(own for candidate in some for own in candidate.carried(matched))])[1]:
                return list(some)
        return None

    def _in_steps(
        self, matched: Matched, carried: Sequence[Carried], tried: Sequence[Candidate], one: Candidate
    ) -> tuple[list[Candidate], bool, Matched | None] | None:
        """Return the first of two faults, one behind the other, that take less to explain than ``one``, after both."""
        if not tried or _is_one_line(matched, one):
            return None
        found = self._gaining(matched, carried, [c for c in _by_place(tried) if c.cost < one.cost][:_RECORDINGS])
        if found is None:
            return None
        first, after = found
        for candidate in candidates(after)[:_RECORDINGS]:
            if self._is_late() or first.cost + candidate.cost >= one.cost:
                break
            if self._try([*carried, *first.carried(matched), *candidate.carried(after)])[1]:
                return [first], False, after
        return None

    def _gaining(
        self, matched: Matched, carried: Sequence[Carried], tried: Sequence[Candidate], *, behind: bool = False,
        guess: bool = False,
    ) -> tuple[Candidate, Matched] | None:  # fmt: skip
        """Return the likeliest candidate with which more agrees than before, and the forwards then.

        How much agrees speaks for it, but not alone: a value further on hides whatever is wrong before it.

        Args:
            behind: the outputs must go on agreeing.
            guess: where nothing more agrees with any, that is the first with which a line parts no more, but another.
        """
        best: tuple[float, Candidate, Matched] | None = None
        guessed: tuple[Candidate, Matched] | None = None
        gains = Gains(matched)
        for candidate in tried:
            after = None if self._is_late() else self._again([*carried, *candidate.carried(matched)])
            if after is None or (behind and after.differing()):
                continue
            set_behind(after, [*self.repairs, *([Repair(candidate, matched)] if behind else [])], ended=behind)
            left = after.frontier("paddle", Look(True))
            gain = gains.of(candidate, after, left)
            rank = _GAINS * math.log2(1 + gain) - candidate.cost + _ENDS * (behind and not left) if gain > 0 else 0.0
            if gain > 0 and (best is None or rank > best[0]):
                best = (rank, candidate, after)
            if guess and guessed is None and gains.parting - {call.index for call in left}:
                guessed = candidate, after
        if best is None and guessed is not None:
            self._guesses.append(guessed[0])
            return guessed
        return None if best is None else best[1:]

    def _look_behind(self, carried: list[Carried]) -> bool:
        """Find the faults that carried values hide: a line that runs in every block has torch's value in the last, too.

        What those are made of must agree but for the lines that are known.

        Returns:
            Whether it does in the end.
        """
        if not any(may_hide(repair) for repair in self.repairs):
            return True
        matched = self._again(carried)
        while matched is not None and len(self.repairs) < _FAULTS and not self._is_late():
            set_behind(matched, self.repairs)
            if not matched.frontier("paddle", Look(True)):
                return True
            some = [
                candidate for candidate in _by_place(candidates(matched))[:_LATER]
                if all(self._try([*carried, *candidate.carried(matched)]))
            ]  # fmt: skip
            found = self._gaining(matched, carried, some[:_RECORDINGS], behind=True)
            if found is None:
                break
            self.repairs.append(Repair(found[0], matched, behind=True))
            carried += found[0].carried(matched)
            matched = found[1]
        return False

    def _try(self, carried: Sequence[Carried]) -> tuple[bool, bool]:
        """Run with something carried over; returns whether that was possible, and whether all outputs agree."""
        name = f"try-{next(self._names)}"
        self.runs += 1
        try:
            rerun = self.forwards.carry(name, carried)
        except ModelRaised:  # what follows cannot take it
            return False, False
        outputs = self.forwards.folder / f"{name}.safetensors"
        agree = outputs_agree(self._expected, load_file(outputs), self._tolerance)
        if outputs.stat().st_size > _LARGE:  # the others may be on their way into the store
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

    def _agree_with(self, repairs: Sequence[Repair]) -> bool:
        """Whether the outputs agree with some repairs alone."""
        return all(self._try([one for repair in repairs for one in repair.candidate.carried(repair.matched)]))

    def _matched(self, paddle: Recording) -> Matched:
        folders = {side: self.forwards.folder / side for side in ("torch", "paddle")}
        return Matched({"torch": self._torch, "paddle": paddle}, folders, self._tolerance, self._known, self.partners)

    def _is_late(self) -> bool:
        self.late = self.late or time.monotonic() > self._until
        return self.late


def _tolerance(expected: Arrays, outputs: Arrays) -> float:
    """Return how near two values are one: finer where what differs is little."""
    for tolerance in (SAME, SAME / 10, SAME / 100):
        if not outputs_agree(expected, outputs, 100 * tolerance):
            return tolerance
    return SAME / 100


def _unseen(recordings: Sequence[Recording]) -> list[str]:
    """Say what of two forwards was not seen."""
    notes = []
    for recording in recordings:
        if recording.orphans:
            more = f" and {len(recording.orphans) - 1} more" if len(recording.orphans) > 1 else ""
            notes.append(f"lines: not every call of {recording.side} was seen: {recording.orphans[0]}{more}")
        if recording.unread:
            notes.append(f"lines: {recording.unread} calls of {recording.side} hold no values (vmap)")
        if recording.unwritten:
            notes.append(
                f"lines: {recording.unwritten} values of {recording.side} were too much to write, and are matched by "
                "their moments alone"
            )
    return notes


def _by_place(found: Sequence[Candidate]) -> list[Candidate]:
    """Order candidates by their cost, and more of it for every one that exchanges the same before."""
    seen: Counter[object] = Counter()
    ranked = []
    for candidate in found:
        key = (candidate.given, *(call.index for call in candidate.targets))
        ranked.append((candidate.cost + _AGAIN * seen[key], candidate))
        seen[key] += 1
    return [candidate for _, candidate in sorted(ranked, key=lambda entry: entry[0])]


def _pairs(matched: Matched, found: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Return pairs of candidates that exchange something on different lines."""
    pairs = [
        (one, other)
        for one, other in itertools.combinations(found[: _PAIRS // 2], 2)
        if not matched.lines("paddle", one.targets) & matched.lines("paddle", other.targets)
    ]
    return sorted(pairs, key=lambda pair: pair[0].cost + pair[1].cost)[:_PAIRS]


def _is_one_line(matched: Matched, candidate: Candidate) -> bool:
    """Whether a candidate replaces at most one line on each side, by one function: then no other fault is behind it."""
    torch, paddle = candidate.torch, candidate.paddle
    if all(candidate.regions) and torch is not None and paddle is not None and base(torch.name) != base(paddle.name):
        return False
    sides = zip(("torch", "paddle"), candidate.regions, strict=True)
    return all(len(matched.lines(side, calls)) < 2 for side, calls in sides)
