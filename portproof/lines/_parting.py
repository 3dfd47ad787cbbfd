"""Where two forwards part: the calls, and which value of one side fits into the other there."""

from __future__ import annotations

from collections.abc import Sequence

from portproof.lines._calls import RETURN, Call, Given
from portproof.lines._candidate import Values
from portproof.lines._match import LAYOUT, Look, Matched, base, is_one_shape

#: What speaks against a value in another order of axes: the one that is in order lies before it.
LOOSE = 0.6
#: Calls after the first that differ which are looked at.
NEXT = 10


class Parting:
    """Where two forwards part, and which of torch's values may stand there in the place of which of Paddle's.

    Args:
        matched: the two.
        look: how closely they are compared.

    Attributes:
        first: side to the calls whose inputs agree and whose results do not.
        near: side to those and the next on their way.
    """

    def __init__(self, matched: Matched, look: Look) -> None:
        self.m, self.look, self.strict = matched, look, look.strict
        self.first = {side: matched.frontier(side, look) for side in ("torch", "paddle")}
        self.near = {
            side: [
                call for call in matched.after(side, calls, matched.slice(side, look), len(calls) + NEXT)
                if call.name != RETURN
            ]
            for side, calls in self.first.items()
        }  # fmt: skip
        self._fused = {base(call.name) for call in self.near["paddle"]}
        self._reached: dict[tuple[str, int], list[Call]] = {}

    def with_steps(self, torch: Call) -> list[Call]:
        """Return a call of torch's and its steps; what Paddle fuses, too, it does not compute step by step."""
        return [torch, *([] if base(torch.name) in self._fused else self.m.steps("torch", torch.index))]

    def reach(self, side: str, call: Call) -> list[Call]:
        """Return the calls between values that agree and a call's result; see :meth:`Matched.reach`."""
        if (side, call.index) not in self._reached:
            self._reached[side, call.index] = self.m.reach(side, call, self.look)
        return self._reached[side, call.index]

    def fitting(self, torch: Call, paddle: Call, count: int) -> Values | None:
        """Return torch's value for every result of a call of Paddle's; None where they do not fit."""
        own = torch.made if torch.part else torch.made[: results(torch)]
        free = base(torch.name) == base(paddle.name)
        if count == len(own) > 0:
            shapes = (self.m.of[side].values[v].shape for side, v in (("torch", own[0]), ("paddle", paddle.made[0])))
            fits = self.fits(own[0], paddle.made[0], free=free or is_one_shape(*shapes))
            return tuple(own) if fits else None
        if count == 0 or not own:
            return None
        slot = next((slot for slot in range(count) if self.fits(own[0], paddle.made[slot])), None)
        return None if slot is None else tuple(own[0] if place == slot else None for place in range(count))

    def fits(self, torch: int, paddle: int, *, free: bool = False) -> bool:
        """Whether a value may stand in another's place, ``free``: whatever its shape."""
        one, other = self.m.of["torch"].values[torch], self.m.of["paddle"].values[paddle]
        if one.file == "":
            return False
        return (self.strict and free) or _size(one.shape) == _size(other.shape) > 0

    def equal(self, torch: int, paddle: int) -> bool:
        """Whether nothing would change by carrying a value over."""
        if not self.m.same(Given(torch), Given(paddle)):
            return False
        return not self.strict or self.m.how["torch"].get(torch) == self.m.how["paddle"].get(paddle) == "same"

    def out_of_order(self, torch: Call | None, paddle: Call | None) -> float:
        """Return what speaks against two calls that are not the same ones of a function that both run as often."""
        if torch is None or paddle is None or torch.part or base(torch.name) != base(paddle.name):
            return 0.0
        (mine, all_mine), (theirs, all_theirs) = self.m.ordinal("torch", torch), self.m.ordinal("paddle", paddle)
        return 0.2 * min(2, abs(mine - theirs)) if all_mine == all_theirs else 0.0

    def ends_line(self, torch: Call | None, region: Sequence[Call]) -> bool:
        """Whether torch's calls are all on one line, compute something, and the last of them is the line's result."""
        if (
            torch is None
            or all(base(call.name) in LAYOUT for call in region)
            or len(self.m.lines("torch", region)) != 1
        ):
            return False
        return not any(
            self.m.lines("torch", [user]) == self.m.lines("torch", region) and user.frames[:1] == torch.frames[:1]
            for user in self.m.users("torch", torch.index)
        )

    def in_place_of(self, torch: Call | None, carried: int, uses: Sequence[tuple[Call, int]]) -> bool:
        """Whether torch's calls are given the value in the same place as Paddle's are."""
        if torch is None:
            return False
        mine = {
            (base(user.name), place)
            for user in self.m.users("torch", torch.index)
            for place, given in enumerate(user.given) if given.value == carried
        }  # fmt: skip
        return bool(mine & {(base(user.name), place) for user, place in uses})


def results(call: Call) -> int:
    """Return how many results a call has, without what it wrote."""
    return len(call.made) - call.written


def only(call: Call, slot: int, value: int) -> Values:
    """Return values to carry over where one result of a call is exchanged."""
    return tuple(value if place == slot else None for place in range(results(call)))


def _size(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def count_lines(matched: Matched, torch: Sequence[Call], paddle: Sequence[Call]) -> float:
    """Count the lines of two regions; calls that arrange values count as half."""
    total = 0.0
    for side, calls in (("torch", torch), ("paddle", paddle)):
        weights: dict[tuple[str, int], float] = {}
        for call in calls:
            if side == "torch" and (module := matched.idle(call.module)) is not None:
                weights["", hash(module)] = 1.0  # one line calls it
            elif call.places:
                place = matched.of[side].places[call.places[0]]
                weight = 0.6 if base(call.name) in LAYOUT else 1.0
                weights[place.file, place.line] = max(weight, weights.get((place.file, place.line), 0.0))
        total += sum(weights.values()) + 0.05 * len(calls)
    return total


def is_module(matched: Matched, region: Sequence[Call]) -> bool:
    """Whether some calls of torch's are all in one module that Paddle has and does not run."""
    modules = {matched.idle(call.module) for call in region}
    return len(modules) == 1 and None not in modules


def overlap(one: set[tuple[str, int]], other: set[tuple[str, int]]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0
