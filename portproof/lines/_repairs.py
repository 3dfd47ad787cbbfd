"""Values that were carried over and made a difference, and what lies behind them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from portproof.lines._calls import Call, Given
from portproof.lines._candidate import Candidate
from portproof.lines._match import Look, Matched, base


@dataclass(frozen=True)
class Repair:
    """A value that was carried over and made a difference.

    Attributes:
        candidate: what was carried.
        matched: the two forwards as they were before.
        confirmed: with it, and with those found beside it, every output agrees.
        behind: it was found behind values that were carried over: outputs agree without it, what those are made of
            does not.
        guessed: nothing more agreed with it, and it was the likeliest: to go on.
    """

    candidate: Candidate
    matched: Matched
    confirmed: bool = False
    behind: bool = False
    guessed: bool = False


def calls_of(candidate: Candidate, matched: Matched) -> set[int]:
    """Return the calls of Paddle's on which a candidate exchanges something."""
    return {one.call for one in candidate.carried(matched)}


def lines_of(candidate: Candidate, matched: Matched) -> list[tuple[str, int]]:
    """Return the lines of Paddle's on which a candidate exchanges something."""
    return sorted(matched.lines("paddle", candidate.targets))


def kind_of(candidate: Candidate, matched: Matched) -> tuple[object, ...]:
    """Return what is the same for candidates that exchange the same on one line, in two blocks."""
    names = tuple(tuple(base(call.name) for call in region) for region in candidate.regions)
    targets = tuple(base(call.name) for call in candidate.targets)
    return (candidate.given, names, targets, *lines_of(candidate, matched))


def confirmed(
    repairs: Sequence[Repair], agree: Callable[[Sequence[Repair]], bool], is_late: Callable[[], bool], *, behind: bool
) -> list[Repair]:
    """Return those of some repairs without which the outputs do not agree, confirmed; and those that may hide others.

    One whose result is on the way to another's stays, since torch's value there hides whatever is wrong before it;
    where the others do without it and it is what Paddle alone computes, which may be another way to the same, or was
    guessed, it is likely and no more.

    Args:
        repairs: with all of which the outputs agree.
        agree: whether they do with some of them.
        is_late: whether nothing more is to be run.
        behind: what is behind them all agrees, too: those that were hidden are confirmed.
    """
    kept, likely = list(repairs), list[Repair]()
    for repair in repairs:
        others = [other for other in kept if other is not repair]
        if not others or is_late():
            break
        torch, paddle = repair.candidate.regions
        before, alone = any(_is_before(repair, other) for other in others), bool(paddle and not torch)
        if repair.behind or (before and not alone and not repair.guessed):
            continue
        if not agree(others):
            continue
        if before:
            likely.append(repair)
        else:
            kept.remove(repair)
    return [
        replace(repair, confirmed=repair not in likely and (not repair.behind or (behind and _is_sure(repair))))
        for repair in kept
    ]


def _is_before(repair: Repair, other: Repair) -> bool:
    """Whether what one repair exchanges is on the way to what another does, block by block where they are as many.

    Else the last of it is: where that is behind the other, nothing hides whether it is needed.
    """
    mine, theirs = ([targets for _, targets in one.candidate.family(one.matched)] for one in (repair, other))
    if len(mine) == len(theirs):
        return any(_ways_to(other.matched, ends) & _indices(starts) for starts, ends in zip(mine, theirs, strict=True))
    last = max(mine, key=lambda calls: max(_indices(calls)))
    return bool(_ways_to(other.matched, [*itertools.chain(*theirs)]) & _indices(last))


def _indices(calls: Sequence[Call]) -> set[int]:
    return {call.index for call in calls}


def _ways_to(matched: Matched, calls: Sequence[Call]) -> set[int]:
    """Return Paddle's calls that are on the way to some."""
    seen = set[int]()
    waiting = [given.maker for call in calls for given in call.given]
    while waiting:
        index = waiting.pop()
        call = matched.call("paddle", index)
        if index not in seen and call is not None:
            seen.add(index)
            waiting += [given.maker for given in call.given]
    return seen


def may_hide(repair: Repair) -> bool:
    """Whether something else may lie behind what was carried over."""
    return len(repair.candidate.family(repair.matched)) > 1 or _twins(repair) is not None


def _is_sure(repair: Repair) -> bool:
    """Whether what was found behind others computes something else.

    Another argument may come of what they hide, and the same numbers in another shape are nothing else.
    """
    candidate, m = repair.candidate, repair.matched
    exchanged = candidate.pairs(candidate.targets, candidate.values)
    other = all(m.kind("torch", mine) != m.kind("paddle", own) for mine, own in exchanged)
    return other and candidate.owner is None


def _twins(repair: Repair) -> tuple[Call, Call] | None:
    """Return the calls that make what should have been given on both sides, where Paddle's makes something else."""
    candidate, m = repair.candidate, repair.matched
    if not candidate.given or candidate.owner is None or candidate.torch is None:
        return None
    paddle = m.counterpart(candidate.torch)
    return None if paddle is None or all(m.agrees("paddle", v) for v in paddle.made) else (candidate.torch, paddle)


def set_behind(matched: Matched, repairs: Sequence[Repair], *, ended: bool = True) -> None:
    """Have what was carried over looked behind.

    Args:
        ended: the outputs agree, and no line is looked at again that something was exchanged on.
    """
    for repair in repairs:
        candidate, m = repair.candidate, repair.matched
        twins = _twins(repair)
        if twins is not None:
            matched.behind["torch"] += twins[0].given
            matched.behind["paddle"] += now(matched, twins[1]).given
            continue  # it is right where it was exchanged, and no line of its own is wrong
        matched.repaired["paddle"] |= m.lines("paddle", _made_otherwise(repair))
        for source, targets in candidate.family(m):
            torch = source or candidate.torch
            if torch is not None:
                matched.behind["torch"] += torch.given
            for call, values in zip(targets, candidate.values, strict=True):
                matched.behind["paddle"] += _own(matched, call, values) if candidate.given else now(matched, call).given
        if not ended:
            continue
        for side, calls in zip(("torch", "paddle"), candidate.regions, strict=True):
            matched.repaired[side] |= m.lines(side, calls)
        matched.repaired["torch"] |= m.lines("torch", [candidate.torch] if candidate.torch is not None else [])
        matched.repaired["paddle"] |= m.lines("paddle", candidate.targets)


def _made_otherwise(repair: Repair) -> list[Call]:
    """Return the calls that make what was right before it was exchanged of other values than torch's: no line is wrong.

    Another order of a sum, or a bias that is added by a call of its own.
    """
    candidate, m = repair.candidate, repair.matched
    right = [call for call in candidate.targets if all(m.agrees("paddle", value) for value in call.made)]
    found: dict[int, Call] = {}
    waiting = [] if candidate.given else right
    while waiting:
        for given in waiting.pop().given:
            maker = m.call("paddle", given.maker)
            if maker is not None and maker.index not in found and not m.is_fine("paddle", given, Look(False)):
                found[maker.index] = maker
                waiting.append(maker)
    return list(found.values())


def now(matched: Matched, call: Call) -> Call:
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
