"""Where calls stand: whose code calls whose, and where in it a tensor is handed on."""

from __future__ import annotations

import linecache
from collections.abc import Sequence

from portproof.lines._calls import Call, Place
from portproof.lines._match import Matched


class Stacks:
    """The places of two recordings' calls, innermost first.

    Args:
        matched: both.
    """

    def __init__(self, matched: Matched) -> None:
        self.m = matched

    def handed(self, side: str, call: Call) -> list[Place]:
        """Return where what a call made went through a dropout, innermost code alone."""
        recording = self.m.of[side]
        return [recording.places[places[0]] for index, places in recording.handed if index == call.index and places]

    def places(self, side: str, calls: Sequence[Call]) -> tuple[Place, ...]:
        """Return the innermost places of calls, each line once."""
        found: dict[tuple[str, int], Place] = {}
        for call in calls:
            if call.places:
                place = self.m.of[side].places[call.places[0]]
                found.setdefault((place.file, place.line), place)
        return tuple(found.values())

    def level(self, mine: Sequence[Place], others: Sequence[Place]) -> tuple[int, int]:
        """Return how far up from where something is made its maker is called by the code that has a line.

        Returns:
            Modules up, and calls up in that module.
        """
        modules = list(dict.fromkeys(place.module for place in others))
        if not mine or mine[0].module not in modules:
            return 0, 0
        inside = [place for place in others if place.module == mine[0].module]
        calls = next((number for number, place in enumerate(inside) if on_line(place, mine[0])), 0)
        return modules.index(mine[0].module), calls

    def at_level(self, side: str, call: Call, level: tuple[int, int]) -> Place | None:
        places = self.all(side, call)
        modules = list(dict.fromkeys(place.module for place in places))
        if not modules:
            return None
        inside = [place for place in places if place.module == modules[min(level[0], len(modules) - 1)]]
        return inside[min(level[1], len(inside) - 1)]

    def handing(self, maker: Call | None, users: Sequence[Call]) -> Place | None:
        """Return where what a call made is handed on to others: in the code that is around them all."""
        common = self.common("paddle", users)
        if maker is None or common is None:
            return common
        stack = next(user.places for user in users if user.places)
        inside = list(stack[: len(stack) - shared(maker.places, stack)])
        number = next((n for n in stack if self.m.of["paddle"].places[n] is common), None)
        if not inside or number not in inside:
            return common
        return self.m.of["paddle"].places[inside[-1]]

    def silent(self, before: Place, after: Place) -> Place | None:
        """Return the one line of code between two that makes no call: where a call is missing, it may be that."""
        if before.file != after.file:
            return None
        calling = {
            number
            for place in self.m.of["paddle"].places if place.file == before.file
            for number in range(place.line, place.end + 1)
        }  # fmt: skip
        found = []
        for number in range(before.end + 1, after.line):
            text = linecache.getline(before.file, number).strip()
            if text and not text.startswith("#") and number not in calling:
                found.append(Place(before.file, number, number, text, before.module))
        return found[0] if len(found) == 1 else None

    def makers(self, side: str, call: Call) -> list[Call]:
        return [maker for given in call.given if (maker := self.m.call(side, given.maker)) is not None]

    def all(self, side: str, call: Call) -> list[Place]:
        return [self.m.of[side].places[place] for place in call.places]

    def common(self, side: str, calls: Sequence[Call]) -> Place | None:
        """Return the innermost place that all of some calls are made from; the first's where they share none."""
        stacks = [call.places for call in calls if call.places]
        if not stacks:
            return None
        shared = [place for place in stacks[0] if all(place in stack for stack in stacks[1:])]
        return self.m.of[side].places[(shared or list(stacks[0]))[0]]


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the places that two stacks have in common, the outermost first."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


def on_line(one: Place, other: Place) -> bool:
    """Whether two expressions share a line."""
    return one.file == other.file and one.line <= other.end and other.line <= one.end
