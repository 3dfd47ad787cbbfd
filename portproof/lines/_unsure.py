"""What leaves a repair's line unsure: that it is one before it, or one after it, that is wrong."""

from __future__ import annotations

import numpy as np

from portproof.lines._calls import RETURN, Call, Place
from portproof.lines._candidate import Candidate
from portproof.lines._match import LAYOUT, Matched, base
from portproof.lines._stacks import Stacks


def is_turned(candidate: Candidate, matched: Matched) -> bool:
    """Whether Paddle's calls are given a value in another order of axes than torch has: it may be wrong before them."""
    calls = candidate.regions[1] or candidate.targets
    return any(
        matched.how["paddle"].get(given.value) == "arranged" and not given.leaf
        for call in calls
        for given in call.given
    )


def rests_on_a_number(candidate: Candidate, matched: Matched) -> bool:
    """Whether Paddle's calls are given a number that was computed: it may be wrong before them."""
    calls = candidate.regions[1] or candidate.targets
    return any(given.maker >= 0 and matched.is_lone("paddle", given.value) for call in calls for given in call.given)


def is_mirrored(candidate: Candidate, matched: Matched) -> bool:
    """Whether Paddle's calls are given what torch's are in another order of axes, which its shape does not tell."""
    alone = [len(region) for region in candidate.regions] == [1, 1]
    return any(
        matched.is_mirrored(*pair)
        for torch in candidate.regions[0] for paddle in candidate.regions[1]
        if (base(torch.name) == base(paddle.name) or alone) and len(torch.given) == len(paddle.given)
        for pair in zip(torch.given, paddle.given, strict=True)
    )  # fmt: skip


def is_negated(candidate: Candidate, matched: Matched) -> bool:
    """Whether a mask of torch's stands in the place of its own negation: what reads it may be turned round instead."""
    if candidate.given or candidate.torch is None:
        return False
    for call, values in zip(candidate.targets, candidate.values, strict=True):
        for value, own in zip(values, call.made, strict=False):
            if value is None or matched.of["torch"].values[value].dtype != "bool":
                continue
            mine, theirs = matched.canonical("torch", value), matched.canonical("paddle", own)
            if mine.size == theirs.size > 1 and np.array_equal(mine.ravel() == 0, theirs.ravel() != 0):
                return True
    return False


def readers(candidate: Candidate, matched: Matched) -> tuple[Place, ...]:
    """Return the lines that compute something of a candidate's results, whoever hands them on as they are."""
    found, waiting, seen = list[Call](), list(candidate.targets), set[int]()
    while waiting:
        call = waiting.pop()
        if call.index in seen:
            continue
        seen.add(call.index)
        for user in matched.users("paddle", call.index):
            same = bool(user.made) and matched.kind("paddle", user.made[0]) == matched.kind("paddle", call.made[0])
            (waiting if same or base(user.name) in LAYOUT else found).append(user)
    return Stacks(matched).places("paddle", [user for user in found if user.name != RETURN])
