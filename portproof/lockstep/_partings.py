"""Where gradients of two recorded forwards part: calls whose result's gradient agrees, and whose input's does not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from portproof.lines._calls import RETURN, Call, Given
from portproof.lines._match import LAYOUT, Matched, base
from portproof.lockstep._flows import NOTHING, UNKNOWN, Flow, Flows

#: How a call can be where the gradients part, the most telling first.
CUT, CUSTOM, OTHERWISE, ALONE = range(4)
#: Calls after one that only hands on a value that are looked at for one that the other side makes, too.
_NEXT = 6


@dataclass(frozen=True)
class Parting:
    """A call where gradients part.

    Attributes:
        side: whose.
        call: the call.
        how: it lets none through, has a backward of its own, hands them back otherwise, or lets none through to a value
            that the other side does not have.
        bad: an argument of it whose gradient is another.
    """

    side: str
    call: Call
    how: int
    bad: int


class Partings:
    """Where the gradients of two recorded forwards part.

    Args:
        flows: by side.
        folders: by side, of values.
        modules: paths of torch's modules to those of Paddle's that stand for them.

    Attributes:
        found: the partings of both sides.
        m: the values of the two forwards, matched.
    """

    def __init__(self, flows: dict[str, Flows], folders: dict[str, Path], modules: Mapping[str, str]) -> None:
        self.flows = flows
        self.m = Matched({side: one.recording for side, one in flows.items()}, folders, partners=modules)
        self.known: dict[str, dict[tuple[str, int], set[int]]] = {side: defaultdict(set) for side in flows}
        self._cuts: dict[str, set[tuple[str, int]]] = {side: set() for side in flows}
        for side in flows:
            for call in self._calls(side):
                for value, flow in (*self.given(side, call), *self.made(side, call)):
                    if flow.after and flow.gradient != UNKNOWN:
                        self.known[side][self.m.kind(side, value)].add(flow.gradient)
                if self._closes(side, call):
                    self._cuts[side] |= {self.m.kind(side, value) for value in call.made}
        self._every = {side: {call.index for call in self._calls(side)} for side in flows}
        self.found = [parting for side in flows for parting in self._parting(side)]

    def _parting(self, side: str) -> Iterator[Parting]:
        for call in self._calls(side):
            bad = [number for number in range(len(self.given(side, call))) if self._is_bad(side, call, number)]
            if not bad:
                continue
            if self._closes(side, call):
                end = self._opened(side, call)
                if end is not None:
                    if self.results_agree(side, end):
                        yield Parting(side, end, CUSTOM, 0)
                elif not {self.m.kind(side, value) for value in call.made} & self._cuts[other_side(side)]:
                    known = any(self.m.kind(side, value) in self.known[other_side(side)] for value in call.made)
                    yield Parting(side, call, CUT if known else ALONE, bad[0])
            elif self.results_agree(side, call):
                opened = not any(flow.before for _, flow in self.made(side, call))
                yield Parting(side, call, CUSTOM if opened else OTHERWISE, bad[0])

    def _is_bad(self, side: str, call: Call, number: int) -> bool:
        """Whether an argument's gradient is another; of a value that one side alone has, that of what it is made of."""
        waiting, seen = [(call, number)], set[tuple[int, int]]()
        while waiting:
            one, place = waiting.pop()
            given = self.given(side, one)
            if place >= len(given) or (one.index, place) in seen or not given[place][1].before:
                continue
            seen.add((one.index, place))
            fine, maker = self._fine(side, *given[place]), self.m.call(side, one.given[place].maker)
            if fine is False:
                return True
            if fine is None and maker is not None:
                waiting += [(maker, before) for before in range(len(maker.given))]
        return False

    def results_agree(self, side: str, call: Call) -> bool:
        """Whether the gradient of some result of a call is the other side's."""
        made = [(value, flow) for value, flow in self.made(side, call) if flow.after]
        made += [
            (given.value, flow)
            for user in self.m.users(side, call.index)
            for given, (_, flow) in zip(user.given, self.given(side, user), strict=False)
            if given.maker == call.index and flow.before and not made
        ]
        return any(self._fine(side, value, flow) is True for value, flow in made)

    def _opened(self, side: str, call: Call) -> Call | None:
        """Return the call whose closed result is open in the end, on the way from one that closes: a custom function's.

        Its body runs without gradients; what it returns has them.
        """
        waiting, seen = [call], set[int]()
        while waiting:
            one = waiting.pop()
            if one.index in seen or not self._closes(side, one, ends=False):
                continue
            seen.add(one.index)
            users = self.m.users(side, one.index)
            again = any(
                given.maker == one.index and flow.before
                for user in users
                for given, (_, flow) in zip(user.given, self.given(side, user), strict=False)
            )
            if again or any(flow.after for _, flow in self.made(side, one)):
                return one
            waiting += [user for user in users if user.name != RETURN]
        return None

    def _closes(self, side: str, call: Call, *, ends: bool = True) -> bool:
        """Whether a call makes numbers that no gradient goes through; ``ends``: of such as it would go through."""
        made = [
            flow for value, flow in self.made(side, call) if self.m.of[side].values[value].dtype.startswith("float")
        ]
        if not made:
            return False
        closed = all(not (flow.before and flow.after) for flow in made)
        return closed and (not ends or any(flow.before for _, flow in self.given(side, call)))

    def _fine(self, side: str, value: int, flow: Flow) -> bool | None:
        """Whether a tensor's gradient is that of one of the other side that holds the same; None where none does."""
        known = self.known[other_side(side)].get(self.m.kind(side, value))
        if flow.gradient == UNKNOWN or not known:
            return None if not known or flow.gradient == UNKNOWN else False
        return any(self._same(side, flow.gradient, number) for number in known)

    def _same(self, side: str, mine: int, theirs: int) -> bool:
        if NOTHING in (mine, theirs):
            return all(self._is_zero(one, number) for one, number in ((side, mine), (other_side(side), theirs)))
        pair = Given(mine), Given(theirs)
        return self.m.same(*(pair if side == "torch" else pair[::-1]))

    def _is_zero(self, side: str, number: int) -> bool:
        return number == NOTHING or self.m.of[side].values[number].features[2] == 0

    def _calls(self, side: str) -> Iterator[Call]:
        return (call for call in self.m.of[side].calls if not call.part and call.name != RETURN)

    def given(self, side: str, call: Call) -> list[tuple[int, Flow]]:
        """Return a call's arguments: the value that each held, and what comes back to it."""
        flows = self.flows[side].given.get(call.index, ())
        return [(given.value, flow) for given, flow in zip(call.given, flows, strict=False)]

    def made(self, side: str, call: Call) -> list[tuple[int, Flow]]:
        """Return a call's results alike."""
        return list(zip(call.made, self.flows[side].made.get(call.index, ()), strict=False))

    def makers(self, side: str, call: Call) -> list[Call]:
        """Return the other side's calls that make what a call makes, those first whose gradient agrees."""
        other = other_side(side)
        kinds = {self.m.kind(side, value) for value in call.made}
        found = [
            one for one in self._calls(other)
            if one.places and any(self.m.kind(other, value) in kinds for value in one.made)
        ]  # fmt: skip
        return sorted(found, key=lambda one: not self.results_agree(other, one))

    def is_another(self, one: Parting) -> bool:
        """Whether the other side makes what a call makes by another function, or has it from elsewhere."""
        makers = self.makers(one.side, one.call)
        makers = [call for call in makers if self.results_agree(other_side(one.side), call)] or makers
        return base(one.call.name) not in LAYOUT and base(one.call.name) not in {base(call.name) for call in makers}

    def is_explained(self, one: Parting) -> bool:
        """Whether another call that is given the same gets another gradient itself, and so hands another one back."""
        given = one.call.given[one.bad] if one.bad < len(one.call.given) else None
        if given is None:
            return False
        for user in self._calls(one.side):
            same = any((g.maker, g.slot, g.leaf) == (given.maker, given.slot, given.leaf) for g in user.given)
            made = self.made(one.side, user)
            if (
                same
                and user is not one.call
                and any(flow.after and self._fine(one.side, value, flow) is False for value, flow in made)
            ):
                return True
        return False

    def _hands_on(self, one: Parting) -> bool:
        """Whether what a call makes was there before, made on another line."""
        kinds = {self.m.kind(one.side, value) for value in one.call.made}
        makers = [
            call for call in self._calls(one.side)
            if call.index < one.call.index and any(self.m.kind(one.side, value) in kinds for value in call.made)
        ]  # fmt: skip
        leaf = any(given.leaf and self.m.kind(one.side, given.value) in kinds for given in one.call.given)
        own = self._lines(one.side, one.call)[:1]
        return leaf or bool(makers and own and own[0] not in self._lines(one.side, makers[-1]))

    def _lines(self, side: str, call: Call) -> list[tuple[str, int]]:
        places = [self.m.of[side].places[number] for number in call.places]
        return [(place.file, place.line) for place in places]

    def beside(self, one: Parting) -> Call | None:
        """Return the other side's call that makes what this one makes, or what is made of what it closes."""
        wanted = [one.call]
        if self._hands_on(one):
            wanted = [*self.m.after(one.side, [one.call], self._every[one.side], _NEXT)[1:], one.call]
        found = (self.makers(one.side, call) for call in wanted)
        return next((makers[0] for makers in found if makers), None)


def other_side(side: str) -> str:
    """Return the other side."""
    return "paddle" if side == "torch" else "torch"
