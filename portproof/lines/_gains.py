"""What a candidate makes agree, counted in calls."""

from __future__ import annotations

from collections.abc import Sequence

from portproof.lines._calls import Call
from portproof.lines._candidate import Candidate
from portproof.lines._match import Look, Matched, base, computed_alike
from portproof.lines._recorder import Carried
from portproof.lines._repairs import now

#: Calls that a candidate counts for where nothing agrees with it but for another fault's result beside its own.
_MEETS = 0.5


class Gains:
    """How many more calls agree than in some forwards.

    Args:
        matched: the two, before anything else is carried over.
    """

    def __init__(self, matched: Matched) -> None:
        self._matched, self._before = matched, computed_alike(matched, "torch")
        self._parting = matched.frontier("paddle", Look(True))
        self.parting = {call.index for call in self._parting}

    def of(self, candidate: Candidate, after: Matched, left: Sequence[Call]) -> float:
        """Return how many more calls agree with a candidate, 0 or less where none do.

        Calls count that it does not exchange; and lines of Paddle's that part from torch's no more, where none do anew:
        of two faults whose results meet, neither makes another call agree.

        Args:
            candidate: that was carried over.
            after: the forwards with it, looked behind the same values.
            left: where Paddle's parts from torch's in these.
        """
        matched = self._matched
        known = _makers(matched, candidate.carried(matched)) | _replaced(matched, candidate)
        found: float = len(computed_alike(after, "torch") - known) - len(self._before - known)
        found += _covered(candidate, matched, after)
        if {call.index for call in left} < self.parting:
            found = max(found, len(after.lines("paddle", self._parting) - after.lines("paddle", left)))
        elif found <= 0 and any(_meets_another(after, call) for call in left if call.index not in self.parting):
            found = _MEETS
        if len(matched.lines("paddle", candidate.regions[1])) > 1:  # in every block it hides as much
            found = found / len(candidate.family(matched))
        return found


def _meets_another(matched: Matched, paddle: Call) -> bool:
    """Whether torch gives a call of the same function one of these values in the same place, and one Paddle has not."""
    for call in matched.of["torch"].calls:
        if call.part or base(call.name) != base(paddle.name) or len(call.given) != len(paddle.given):
            continue
        pairs = list(zip(call.given, paddle.given, strict=True))
        alike = [mine for mine, theirs in pairs if not mine.leaf and matched.same(mine, theirs)]
        if alike and any(not mine.leaf and not matched.agrees("torch", mine.value) for mine, _ in pairs):
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
    right = sum(_is_given_right(after, now(after, call)) for call in calls)
    return right - sum(all(matched.agrees("paddle", value) for value in call.made) for call in calls)


def _is_given_right(matched: Matched, call: Call) -> bool:
    """Whether what goes into the line of one of Paddle's calls is what torch has."""
    for given in call.given:
        maker = matched.call("paddle", given.maker)
        if matched.is_fine("paddle", given, Look(False)):
            continue
        if maker is None or matched.lines("paddle", [maker]) != matched.lines("paddle", [call]):
            return False
        if not _is_given_right(matched, maker):
            return False
    return True
