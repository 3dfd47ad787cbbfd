"""The search: what parts is carried over from torch into Paddle, until the outputs agree or nothing is left to try."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from safetensors.numpy import load_file

from portproof._errors import ModelRaised
from portproof._numbers import Arrays
from portproof.lines._calls import Call, Given, Recording
from portproof.lines._candidate import Candidate
from portproof.lines._candidates import candidates
from portproof.lines._match import Look, Matched, base, computed_alike
from portproof.lines._recorder import Carried
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
#: What it speaks for a candidate that nothing is left behind it.
_ENDS = 0.2
#: Calls that a candidate counts for where nothing agrees with it but for another fault's result beside its own.
_MEETS = 0.5


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
        behind: it was found behind values that were carried over: outputs agree without it, what those are made of
            does not.
    """

    candidate: Candidate
    matched: Matched
    confirmed: bool = False
    behind: bool = False


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
            self.repairs += [Repair(candidate, matched) for candidate in some]
            carried += [one for candidate in some for one in candidate.carried(matched)]
            if agree:
                self._confirm(self._look_behind(carried))
                return self.repairs
            assert after is not None
            matched = after
            _set_behind(matched, self.repairs, ended=False)
        self.unexplained = matched
        return self.repairs

    def _named(self) -> int:
        """Return on how many lines of Paddle's something was exchanged."""
        return len({(repair.candidate.given, *_lines(repair.candidate, repair.matched)) for repair in self.repairs})

    def _elsewhere(
        self, matched: Matched, carried: Sequence[Carried], likely: Sequence[Candidate]
    ) -> tuple[list[Candidate], bool, Matched | None] | None:
        """Return the first candidate that exchanges on a line what was exchanged there before: in another block."""
        known = {_kind(repair.candidate, repair.matched) for repair in self.repairs}
        done = {one.call for one in carried}
        some = [one for one in likely if _kind(one, matched) in known and not done >= _calls(one, matched)][:1]
        found = self._gaining(matched, carried, some)
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
        found = self._gaining(matched, carried, tried[:_RECORDINGS])
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
        self, matched: Matched, carried: Sequence[Carried], tried: Sequence[Candidate], *, behind: bool = False
    ) -> tuple[Candidate, Matched] | None:
        """Return the likeliest candidate with which more agrees than before, and the forwards then.

        Calls count that it does not exchange; and lines of Paddle's that part from torch's no more, where none do anew:
        of two faults whose results meet, neither makes another call agree. How much agrees speaks for it, but not
        alone: a value further on hides whatever is wrong before it.

        Args:
            behind: the outputs must go on agreeing.
        """
        best: tuple[float, Candidate, Matched] | None = None
        before = computed_alike(matched, "torch")
        parting = matched.frontier("paddle", Look(True))
        old = {call.index for call in parting}
        for candidate in tried:
            if self._is_late():
                break
            own = candidate.carried(matched)
            after = self._again([*carried, *own])
            if after is None or (behind and after.differing()):
                continue
            known = _makers(matched, own) | _replaced(matched, candidate)
            gain: float = len(computed_alike(after, "torch") - known) - len(before - known)
            gain += _covered(candidate, matched, after)
            _set_behind(after, [*self.repairs, *([Repair(candidate, matched)] if behind else [])], ended=behind)
            left = after.frontier("paddle", Look(True))
            if {call.index for call in left} < {call.index for call in parting}:
                gain = max(gain, len(after.lines("paddle", parting) - after.lines("paddle", left)))
            elif gain <= 0 and any(_meets_another(after, call) for call in left if call.index not in old):
                gain = _MEETS
            if len(matched.lines("paddle", candidate.regions[1])) > 1:  # in every block it hides as much
                gain = gain / len(candidate.family(matched))
            rank = _GAINS * math.log2(1 + gain) - candidate.cost + _ENDS * (behind and not left) if gain > 0 else 0.0
            if gain > 0 and (best is None or rank > best[0]):
                best = (rank, candidate, after)
        return None if best is None else best[1:]

    def _look_behind(self, carried: list[Carried]) -> bool:
        """Find the faults that carried values hide: a line that runs in every block has torch's value in the last, too.

        What those are made of must agree but for the lines that are known.

        Returns:
            Whether it does in the end.
        """
        if not any(_may_hide(repair) for repair in self.repairs):
            return True
        matched = self._again(carried)
        while matched is not None and len(self.repairs) < _FAULTS and not self._is_late():
            _set_behind(matched, self.repairs)
            if not matched.frontier("paddle", Look(True)):
                return True
            some = _by_place(candidates(matched))[:_RECORDINGS]
            found = self._gaining(matched, carried, some, behind=True)
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

    def _confirm(self, behind: bool) -> None:
        """With all repairs the outputs agree: leave those out without which they do, too; the rest is confirmed.

        Those that were hidden are where ``behind`` them all agrees.

        One whose result is on the way to another's stays, since torch's value there hides whatever is wrong before it;
        where the others do without it and it is what Paddle alone computes, which may be another way to the same, it is
        likely and no more.
        """
        likely = []
        for repair in list(self.repairs):
            others = [other for other in self.repairs if other is not repair]
            if not others or self._is_late():
                break
            torch, paddle = repair.candidate.regions
            before, alone = any(_is_before(repair, other) for other in others), bool(paddle and not torch)
            if repair.behind or (before and not alone):
                continue
            done, agree = self._try([c for other in others for c in other.candidate.carried(other.matched)])
            if done and agree and before:
                likely.append(repair)
            elif done and agree:
                self.repairs.remove(repair)
        self.repairs = [
            replace(repair, confirmed=repair not in likely and (not repair.behind or (behind and _is_sure(repair))))
            for repair in self.repairs
        ]

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


def _calls(candidate: Candidate, matched: Matched) -> set[int]:
    return {one.call for one in candidate.carried(matched)}


def _lines(candidate: Candidate, matched: Matched) -> list[tuple[str, int]]:
    return sorted(matched.lines("paddle", candidate.targets))


def _kind(candidate: Candidate, matched: Matched) -> tuple[object, ...]:
    """Return what is the same for candidates that exchange the same on one line, in two blocks."""
    names = tuple(tuple(base(call.name) for call in region) for region in candidate.regions)
    targets = tuple(base(call.name) for call in candidate.targets)
    return (candidate.given, names, targets, *_lines(candidate, matched))


def _is_before(repair: Repair, other: Repair) -> bool:
    """Whether what one repair exchanges is on the way to what another does, block by block where both are in as many."""
    mine, theirs = ([targets for _, targets in one.candidate.family(one.matched)] for one in (repair, other))
    if len(mine) != len(theirs):  # the way to one of these may end at another
        mine, theirs = [tuple(itertools.chain(*mine))], [tuple(itertools.chain(*theirs))]
    return any(_leads(other.matched, *pair) for pair in zip(mine, theirs, strict=True))


def _leads(matched: Matched, some: Sequence[Call], others: Sequence[Call]) -> bool:
    """Whether some of Paddle's calls are on the way to others."""
    wanted, seen = {call.index for call in some}, set[int]()
    waiting = [given.maker for call in others for given in call.given]
    while waiting:
        index = waiting.pop()
        call = matched.call("paddle", index)
        if index in seen or call is None:
            continue
        seen.add(index)
        waiting += [given.maker for given in call.given]
    return bool(wanted & seen)


def _meets_another(matched: Matched, paddle: Call) -> bool:
    """Whether torch gives a call of the same function one of these values in the same place, and one Paddle has not."""
    for call in matched.of["torch"].calls:
        if call.part or base(call.name) != base(paddle.name) or len(call.given) != len(paddle.given):
            continue
        pairs = list(zip(call.given, paddle.given, strict=True))
        alike = [mine for mine, theirs in pairs if not mine.leaf and matched.same(mine, theirs)]
        if alike and any(not matched.agrees("torch", mine.value) for mine, _ in pairs):
            return True
    return False


def _makers(matched: Matched, carried: Sequence[Carried]) -> set[int]:
    """Return torch's calls that make what is carried over: that Paddle has it then says nothing."""
    torch, files = matched.of["torch"], {path.name for one in carried for path in one.files if path is not None}
    return {call.index for call in torch.calls if any(torch.values[value].file in files for value in call.made)}


def _replaced(matched: Matched, candidate: Candidate) -> set[int]:
    """Return torch's calls that make what is replaced: that Paddle has it no more says nothing."""
    if candidate.given:
        return set()
    calls = [call for _, targets in candidate.family(matched) for call in targets]
    kinds = {matched.kind("paddle", value) for call in calls for value in call.made}
    return {c.index for c in matched.of["torch"].calls if any(matched.kind("torch", v) in kinds for v in c.made)}


def _covered(candidate: Candidate, matched: Matched, after: Matched) -> int:
    """Return how many more of Paddle's calls are right than before, of those for whose results something else stands.

    They cannot be seen, but what they are given can.
    """
    if candidate.given or candidate.regions[1]:
        return 0
    calls = [call for _, targets in candidate.family(matched) for call in targets]
    right = (all(after.is_fine("paddle", given, Look(False)) for given in _now(after, call).given) for call in calls)
    return sum(right) - sum(all(matched.agrees("paddle", value) for value in call.made) for call in calls)


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
    if candidate.torch is not None and candidate.paddle is not None and all(candidate.regions):
        if base(candidate.torch.name) != base(candidate.paddle.name):
            return False
    sides = zip(("torch", "paddle"), candidate.regions, strict=True)
    return all(len(matched.lines(side, calls)) < 2 for side, calls in sides)


def _may_hide(repair: Repair) -> bool:
    """Whether something else may lie behind what was carried over."""
    return len(repair.candidate.family(repair.matched)) > 1 or _twins(repair) is not None


def _is_sure(repair: Repair) -> bool:
    """Whether what was found behind others computes something else: another argument may come of what they hide."""
    return repair.candidate.owner is None


def _twins(repair: Repair) -> tuple[Call, Call] | None:
    """Return the calls that make what should have been given on both sides, where Paddle's makes something else."""
    candidate, m = repair.candidate, repair.matched
    if not candidate.given or candidate.owner is None or candidate.torch is None:
        return None
    paddle = m.counterpart(candidate.torch)
    return None if paddle is None or all(m.agrees("paddle", v) for v in paddle.made) else (candidate.torch, paddle)


def _set_behind(matched: Matched, repairs: Sequence[Repair], *, ended: bool = True) -> None:
    """Have what was carried over looked behind.

    Args:
        ended: the outputs agree, and no line is looked at again that something was exchanged on.
    """
    for repair in repairs:
        candidate, m = repair.candidate, repair.matched
        twins = _twins(repair)
        if twins is not None:
            matched.behind["torch"] += twins[0].given
            matched.behind["paddle"] += _now(matched, twins[1]).given
            continue  # it is right where it was exchanged, and no line of its own is wrong
        for source, targets in candidate.family(m) if not _is_made_otherwise(repair) else []:
            torch = source or candidate.torch
            if torch is not None:
                matched.behind["torch"] += torch.given
            for call, values in zip(targets, candidate.values, strict=True):
                matched.behind["paddle"] += (
                    _own(matched, call, values) if candidate.given else _now(matched, call).given
                )
        if not ended:
            continue
        for side, calls in zip(("torch", "paddle"), candidate.regions, strict=True):
            matched.repaired[side] |= m.lines(side, calls)
        matched.repaired["torch"] |= m.lines("torch", [candidate.torch] if candidate.torch is not None else [])
        matched.repaired["paddle"] |= m.lines("paddle", candidate.targets)


def _is_made_otherwise(repair: Repair) -> bool:
    """Whether what was exchanged was right before, and is made of other values than torch's: another order of a sum."""
    candidate, m = repair.candidate, repair.matched
    return not candidate.given and any(
        all(m.agrees("paddle", value) for value in call.made)
        and not all(m.is_fine("paddle", given, Look(False)) for given in call.given)
        for call in candidate.targets
    )


def _now(matched: Matched, call: Call) -> Call:
    """Return a call of an earlier run as it is in this one."""
    return matched.call("paddle", call.index) or call


def _own(matched: Matched, call: Call, values: Sequence[int | None]) -> list[Given]:
    """Return what a call would be given, were it not exchanged."""
    found = []
    for given, value in zip(call.given, values, strict=True):
        maker = matched.call("paddle", given.maker)
        if value is not None and maker is not None:
            found.append(Given(maker.made[given.slot], maker.index, given.slot))
    return found
