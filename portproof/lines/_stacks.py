"""Where calls stand: whose code calls whose, and where in it a tensor is handed on."""

from __future__ import annotations

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

    def beside(self, torch: Call, paddle: Call | None) -> Place | None:
        """Return where Paddle's value is had, in the module whose forward has torch's line."""
        if paddle is None or not paddle.places:
            return None
        mine = self.all("torch", torch)[:1]
        makers = [maker for given in torch.given if (maker := self.m.call("torch", given.maker)) is not None]
        kinds = {self.m.kind("paddle", value) for value in paddle.made}
        makers.sort(key=lambda maker: not any(self.m.kind("torch", value) in kinds for value in maker.made))
        return self.at_level("paddle", paddle, self.level(mine, self.all("torch", makers[0])) if makers else (0, 0))

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

    def maker(self, kind: tuple[str, int]) -> Call | None:
        """Return Paddle's first call that makes a value of a kind."""
        return next(
            (
                call
                for call in self.m.of["paddle"].calls
                if not call.part and any(self.m.kind("paddle", made) == kind for made in call.made)
            ),
            None,
        )

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
