"""The line of Paddle's that goes without a call of torch's: missing, or there and without effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portproof.lines._calls import RETURN, Call, Given, Place
from portproof.lines._candidate import Candidate
from portproof.lines._match import LAYOUT, Matched, base, one_function
from portproof.lines._missing import missing
from portproof.lines._stacks import Stacks
from portproof.lines._values import is_constant
from portproof.lines._ways import Ways


@dataclass(frozen=True)
class Blamed:
    """Where a fault is.

    Attributes:
        paddle, torch: the places, the likeliest first; none where a side has no code of its own there.
        calls: that are to be compared, torch's and Paddle's; None where a side makes none.
        modules: paths of Paddle's module and of torch's, for every time that these lines run; None where that is only
            what uses the result.
        times: how often they do.
        certain: it is this line of Paddle's, not one before or after it on the way of the value.
    """

    paddle: tuple[Place, ...]
    torch: tuple[Place, ...]
    calls: tuple[Call | None, Call | None]
    modules: tuple[tuple[str | None, str | None], ...]
    times: int = 1
    certain: bool = True


class Gap:
    """A call that only torch makes, and where Paddle's code goes without it."""

    def __init__(self, candidate: Candidate, matched: Matched, ways: Ways) -> None:
        self.c, self.m, self.at, self.ways = candidate, matched, Stacks(matched), ways

    def _missing(
        self, torch: Call, paddle: Call | None, users: Sequence[Call], region: Sequence[Call] | None = None
    ) -> Blamed:
        """A call that only torch makes: on one of the lines that Paddle's value goes through without it."""
        region = self.c.regions[0] if region is None else region
        wrong = [one for one in users if not one.made or not all(self.m.agrees("paddle", made) for made in one.made)]
        users = wrong or users
        read, after = self._read(torch, paddle, users), []
        while paddle is not None and (kept := self._kept(paddle)):
            stands = self.m.partner(torch.module) in (None, paddle.module)
            if stands and base(paddle.name) == base(torch.name) and len(paddle.given) == 2:
                return self._idle(torch, paddle, kept)
            after.append(read)
            read, paddle = [(kept, paddle)], self.m.call("paddle", kept.maker)
        while True:  # both arrange the value alike after what is missing
            prior = self.m.call("torch", torch.given[0].maker) if torch.given else None
            if paddle is None or prior is None or not _arrange(torch, paddle) or prior not in region:
                break
            read, torch, paddle = [(paddle.given[0], paddle)], prior, self.m.call("paddle", paddle.given[0].maker)
        while paddle is not None and self._is_arranged_after(torch, paddle):
            after.append(read)
            read, paddle = [(paddle.given[0], paddle)], self.m.call("paddle", paddle.given[0].maker)
        region = [call for call in region if call.index <= torch.index]
        torches, modules = self.at.places("torch", [torch, *self.c.regions[0]]), ((None, torch.module),)
        found = missing(self.ways, torch, read, region, after)
        if found is not None:
            places = each((found.place, *self._past_arranging(torch, users), *found.others))
            return Blamed(places, each((found.torch, *torches)), (torch, None), modules, certain=found.certain)
        users = [user for user in users if user.name != RETURN]
        around = self.at.beside(torch, paddle), self.at.handing(paddle, users) if users else None
        places = each([place for place in around if place is not None])
        return Blamed(places, torches, (torch, None), modules, certain=False)

    def _past_arranging(self, torch: Call, users: Sequence[Call]) -> tuple[Place, ...]:
        """Return Paddle's next line that does not only arrange the value: to scale it may be left to that one, too."""
        computed = [given for given in torch.given if given.maker >= 0 and not self.m.is_lone("torch", given.value)]
        if base(torch.name) not in ("mul", "div") or len(computed) != 1:
            return ()
        nexts = [user for user in users if user.name != RETURN]
        first = nexts[:1]
        while len(nexts) == 1 and base(nexts[0].name) in LAYOUT:
            nexts = self.m.users("paddle", nexts[0].index)
        return self.at.places("paddle", nexts) if len(nexts) == 1 and nexts != first else ()

    def _is_arranged_after(self, torch: Call, paddle: Call) -> bool:
        """Whether torch's result is arranged as Paddle's call arranges what it is given without it."""
        users = self.m.users("torch", torch.index) if base(torch.name) not in LAYOUT else []
        return any(_arrange(user, paddle) for user in users)

    def _kept(self, paddle: Call) -> Given | None:
        """Return what a call hands on as it is (a mask that masks nothing, a sum with zeros); None if it does not."""
        if len(paddle.made) != 1 or base(paddle.name) not in ("add", "sub", "mul", "div", "where"):
            return None
        kind = self.m.kind("paddle", paddle.made[0])
        return next((given for given in paddle.given if self.m.kind("paddle", given.value) == kind), None)

    def _idle(self, torch: Call, paddle: Call, kept: Given) -> Blamed:
        """Paddle makes torch's call, and what it is given besides changes nothing: where that is taken for torch's."""
        wrong = next(given for given in paddle.given if given is not kept)
        constant = self._constant(wrong, torch)
        if constant is not None:
            return constant
        stations = self.ways.way("paddle", wrong, paddle)
        copies = [station for station in stations if station.copies and not station.returns]
        places = [station.place for station in (copies or stations)[::-1]]
        modules = ((paddle.module, torch.module),)
        return Blamed(each(places), self.at.places("torch", [torch]), (torch, paddle), modules, certain=False)

    def _constant(self, wrong: Given, torch: Call) -> Blamed | None:
        """Return where what Paddle's call is given in the place of torch's became one number."""
        first = self._first_constant(wrong)
        if first is None:
            return None
        kinds = {self.m.kind("paddle", given.value) for given in first.given}
        makers = [call for call in self.m.of["torch"].calls if kinds & {self.m.kind("torch", v) for v in call.made}]
        places, modules = self.at.places("paddle", [first]), ((first.module, None),)
        return Blamed(places, self.at.places("torch", [*makers[:1], torch]), (None, first), modules, certain=False)

    def _first_constant(self, given: Given) -> Call | None:
        """Return the call that makes one number of values that agree, where that is what another is made of."""
        values, call = self.m.of["paddle"].values, self.m.call("paddle", given.maker)
        while call is not None and is_constant(values[given.value].features):
            inputs = [one for one in call.given if one.maker >= 0]
            flat = [one for one in inputs if is_constant(values[one.value].features)]
            if not flat:
                first = bool(inputs) and all(self.m.agrees("paddle", one.value) for one in inputs)
                return call if first and not self.m.agrees("paddle", given.value) else None
            given, call = flat[0], self.m.call("paddle", flat[0].maker)
        return None

    def _read(self, torch: Call, paddle: Call | None, users: Sequence[Call]) -> list[tuple[Given, Call]]:
        """Return what Paddle's calls read in the place of torch's result."""
        kinds = self.m.entering("torch", [torch, *self.c.regions[0]])
        return [
            (given, user)
            for user in users
            for given in user.given
            if (paddle is not None and given.maker == paddle.index)
            or (paddle is None and self.m.kind("paddle", given.value) in kinds)
        ]

    def _pair(self, torch: Call | None, paddle: Call | None) -> Blamed:
        regions = {"torch": self.c.regions[0], "paddle": self.c.regions[1]}
        places = {
            side: self.at.places(side, [*([call] if call else []), *regions[side]])
            for side, call in (("torch", torch), ("paddle", paddle))
        }
        modules = (paddle.module if paddle else "", torch.module if torch else "")
        return Blamed(places["paddle"], places["torch"], (torch, paddle), (modules,))


def _arrange(torch: Call, paddle: Call) -> bool:
    """Whether two calls arrange a value alike, and join it to no other."""
    one = base(torch.name) in LAYOUT - {"cat", "stack"}
    return one and one_function(torch.name, paddle.name) and bool(paddle.given)


def each(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return every line once."""
    found: dict[tuple[str, int], Place] = {}
    for place in places:
        found.setdefault((place.file, place.line), place)
    return tuple(found.values())
