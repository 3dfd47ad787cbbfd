"""From what was carried over to the two lines that are to be looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from portproof._numbers import Array
from portproof.lines._calls import RETURN, Call, Given, Place
from portproof.lines._candidate import Candidate
from portproof.lines._match import LAYOUT, PRODUCTS, Matched, base, is_in_place, is_one_shape, one_function
from portproof.lines._missing import missing
from portproof.lines._other import OtherTensor, other_tensor
from portproof.lines._stacks import Stacks, on_line
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


def blame(candidate: Candidate, matched: Matched) -> Blamed:
    """Return the lines of a repair."""
    blamed = _Blame(candidate, matched, Ways(matched)).blamed()
    negated = _is_negated(candidate, matched)
    if negated:
        blamed = replace(blamed, paddle=_each((*blamed.paddle[:1], *_readers(candidate, matched), *blamed.paddle[1:])))
    unsure = negated or any(found(candidate, matched) for found in (_rests_on_a_number, _is_mirrored))
    if unsure or (not candidate.strict and _is_turned(candidate, matched)):
        blamed = replace(blamed, certain=False)
    family = candidate.family(matched)
    if len(family) < 2:
        return blamed
    modules = [(targets[0].module, source.module) for source, targets in family if source is not None]
    return replace(blamed, modules=tuple(dict.fromkeys([*blamed.modules, *modules])), times=len(family))


class _Gap:
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
            if base(paddle.name) == base(torch.name) and len(paddle.given) == 2:
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
            places = _each((found.place, *self._past_arranging(torch, users), *found.others))
            return Blamed(places, _each((found.torch, *torches)), (torch, None), modules, certain=found.certain)
        users = [user for user in users if user.name != RETURN]
        around = self.at.beside(torch, paddle), self.at.handing(paddle, users) if users else None
        places = _each([place for place in around if place is not None])
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
        return Blamed(_each(places), self.at.places("torch", [torch]), (torch, paddle), modules, certain=False)

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


class _Elsewhere(_Gap):
    """A call that is given something else than torch's, and where that comes from."""

    def _read_elsewhere(self, *, named: bool = False) -> Blamed | None:
        """What Paddle's call makes is right, and given to one that should be given something else.

        Args:
            named: only where a name tells.
        """
        owner, paddle, source = self.c.owner, self.c.paddle, self.c.torch
        if owner is None or paddle is None or source is None:
            return None
        kinds = {self.m.kind("torch", value) for value in self.c.values[0] if value is not None}
        right = next((given for given in owner.given if given.value in self.c.values[0]), None)
        right = right or next(
            (g for g in owner.given if self.m.kind("torch", self.m.unarranged("torch", g).value) in kinds), None
        )
        for user in self.m.users("paddle", paddle.index) if right is not None else []:
            links = self._to_its_taker(paddle, user)
            last = links[-1][1]
            lone = not any(self.m.agrees("paddle", value, strict=len(links) > 1) for value in last.made)
            crossed = len(self.c.targets) > 1 and base(owner.name) in PRODUCTS
            if right is None or not (crossed or (lone and _is_one_product(last, owner))):
                continue
            for wrong, taker in links:
                found = other_tensor(self.ways, right, owner, wrong, taker, named=named or len(links) > 1)
                if found is not None:
                    return self._other(found, owner, user)
        return None

    def _turned_round(self) -> Blamed | None:
        """The products that two values reach in each other's places, where no name tells that it is theirs."""
        owner, paddle = self.c.owner, self.c.paddle
        if owner is None or paddle is None or len(self.c.targets) < 2 or base(owner.name) not in PRODUCTS:
            return None
        takers = (self._to_its_taker(paddle, user)[-1][1] for user in self.m.users("paddle", paddle.index))
        product = next((call for call in takers if base(call.name) in PRODUCTS), None)
        return None if product is None else replace(self._pair(owner, product), certain=False)

    def _to_its_taker(self, maker: Call, user: Call) -> list[tuple[Given, Call]]:
        """Return who is given a call's result, and what is made of it by calls that arrange it or scale it."""
        links = [(next(given for given in user.given if given.maker == maker.index), user)]
        while base(user.name) in LAYOUT or base(user.name) in ("mul", "div"):
            nexts = [one for one in self.m.users("paddle", user.index) if one.name != RETURN]
            if len(nexts) != 1:
                break
            links.append((next(given for given in nexts[0].given if given.maker == user.index), nexts[0]))
            user = nexts[0]
        return links

    def _other_tensor(self, torch: Call | None, paddle: Call) -> OtherTensor | None:
        """Return where Paddle's call comes to another tensor than torch's."""
        for values, user in zip(self.c.values, self.c.targets, strict=True):
            for value, given in zip(values, user.given, strict=True):
                if value is not None and torch is not None:
                    mine = next((one for one in torch.given if one.value == value), None)
                    if mine is not None:
                        return other_tensor(self.ways, mine, torch, given, user)
        return None

    def _other(self, found: OtherTensor, torch: Call | None, paddle: Call) -> Blamed:
        places = self.at.places("torch", [torch] if torch else [])
        beside = (found.torch,) if found.torch is not None else ()
        modules = (paddle.module, torch.module if torch else "")
        return Blamed(
            _each((found.place, *found.others)), _each((*beside, *places)), (torch, paddle), (modules,),
            certain=found.certain,
        )  # fmt: skip

    def _makers(self, right: Given, wrong: Given) -> Blamed | None:
        """Return the calls that make two tensors, but for their layout, where these make something else of the same."""
        mine, theirs = self._computed("torch", right), self._computed("paddle", wrong)
        if mine is None or theirs is None or not theirs.made or self._is_right(theirs):
            return None
        entering = self.m.entering("torch", [mine]), self.m.entering("paddle", [theirs])
        if entering[0] != entering[1] or not (entering[0] or base(mine.name) == base(theirs.name)):
            return None
        return replace(self._pair(mine, theirs), certain=_is_given_alike(self.m, mine, theirs))

    def _arrangers(self, right: Given, wrong: Given) -> Blamed | None:
        """Return the calls that arrange one value, if Paddle does it otherwise and makes torch's result nowhere."""
        mine, theirs = self.m.call("torch", right.maker), self.m.call("paddle", wrong.maker)
        if mine is None or theirs is None or base(theirs.name) not in LAYOUT or not mine.given or not theirs.given:
            return None
        here = one_function(mine.name, theirs.name) and self.m.same(mine.given[0], theirs.given[0])
        if not here or self.at.maker(self.m.kind("torch", right.value)) is not None:
            return None
        return self._pair(mine, theirs)

    def _computed(self, side: str, given: Given) -> Call | None:
        """Return the call that computes a value, whatever arranges it after that."""
        call = self.m.call(side, given.maker)
        while call is not None and base(call.name) in LAYOUT and call.given:
            call = self.m.call(side, call.given[0].maker)
        return call

    def _is_right(self, paddle: Call) -> bool:
        """Whether torch makes what a call makes; of a number alone, by the same function."""
        value = paddle.made[0]
        agrees = self.m.agrees("paddle", value)
        if not agrees or not is_constant(self.m.of["paddle"].values[value].features):
            return agrees
        others = (call for call in self.m.of["torch"].calls if base(call.name) == base(paddle.name) and call.made)
        return any(self.m.same(Given(other.made[0]), Given(value)) for other in others)

    def _passed(self, torch: Call | None, paddle: Call) -> Blamed | None:
        """Return where two calls of one function come to be given two tensors, all else being alike."""
        if torch is None or base(torch.name) != base(paddle.name):
            return None
        kinds = {self.m.kind("paddle", given.value) for given in paddle.given}
        right = [g for g in torch.given if self.m.kind("torch", g.value) not in kinds and not g.leaf]
        own = {self.m.kind("torch", given.value) for given in torch.given}
        wrong = [g for g in paddle.given if self.m.kind("paddle", g.value) not in own and not g.leaf]
        if not right and len(torch.given) == len(paddle.given):  # the same twice, say: place by place
            right = [g for g, h in zip(torch.given, paddle.given, strict=True) if h in wrong]
        if len(right) != 1 or len(wrong) != 1:
            return None
        makers = self._arrangers(right[0], wrong[0]) or self._makers(right[0], wrong[0])
        makers = makers or self._constant(wrong[0], torch)
        if makers is not None:
            return makers
        found = other_tensor(self.ways, right[0], torch, wrong[0], paddle)
        return None if found is None else self._other(found, torch, paddle)

    def _spread(self, torch: Call | None, paddle: Call) -> Blamed | None:
        """Return the calls that arrange a value with its axis of one element elsewhere: it is broadcast otherwise."""
        if torch is None or base(torch.name) != base(paddle.name) or len(torch.given) != len(paddle.given):
            return None
        shapes = [self.m.of[side].values[call.made[0]].shape for side, call in (("torch", torch), ("paddle", paddle))]
        if np.prod(shapes[0]) == np.prod(shapes[1]):
            return None
        apart = []
        for mine, theirs in zip(torch.given, paddle.given, strict=True):
            one, other = self.m.of["torch"].values[mine.value], self.m.of["paddle"].values[theirs.value]
            if not self.m.same(mine, theirs):
                return None
            if not is_one_shape(one.shape, other.shape):
                apart.append((self.m.call("torch", mine.maker), self.m.call("paddle", theirs.maker)))
        if len(apart) != 1 or None in apart[0]:
            return None
        makers = apart[0]
        return self._pair(*makers) if makers[1] is not None and base(makers[1].name) in LAYOUT else None

    def _right_maker(self) -> Call | None:
        """Return Paddle's call that makes what should have been given."""
        value = next((v for values in self.c.values for v in values if v is not None), None)
        return None if value is None else self.at.maker(self.m.kind("torch", value))

    def _writer(self, torch: Call | None, paddle: Call) -> tuple[Call, Call] | None:
        """Return the call that wrote over what Paddle's is given, and torch's equal of it, which did not write."""
        kinds = {self.m.kind("torch", given.value) for given in torch.given} if torch is not None else set()
        for given in paddle.given:
            maker = self.m.call("paddle", given.maker)
            if maker is None or self.m.kind("paddle", given.value) in kinds or not _writes(maker, given):
                continue
            kind = self.m.kind("paddle", given.value)
            equal = next(
                (c for c in self.m.of["torch"].calls if any(self.m.kind("torch", v) == kind for v in c.made)), None
            )
            if equal is not None and not equal.part and not _writes(equal, Given(equal.made[0], equal.index)):
                return maker, equal
        return None


class _Blame(_Elsewhere):
    def blamed(self) -> Blamed:
        if self.c.regions[0] and self.c.regions[1]:
            return self._results()
        if self.c.regions[1]:
            return self._extra()
        elsewhere = self._handed_elsewhere() if not (self.c.given or self.c.regions[0]) else None
        if elsewhere is not None:
            return elsewhere
        if self._is_other_maker():
            assert self.c.torch is not None
            assert self.c.paddle is not None
            found = self._passed(self.c.torch, self.c.paddle)
            same = _is_given_alike(self.m, self.c.torch, self.c.paddle)
            return found or replace(self._pair(self.c.torch, self.c.paddle), certain=same)
        if self.c.regions[0] and self.c.torch is not None:
            paddle = self.c.paddle
            users = self.c.targets if self.c.given else self.m.users("paddle", paddle.index) if paddle else []
            return self._missing(self.c.torch, paddle, users)
        if self.c.given:
            return self._given(self.c.owner, self.c.targets[0])
        return self._read_elsewhere() or replace(self._pair(self.c.torch, self.c.paddle), certain=False)

    def _handed_elsewhere(self) -> Blamed | None:
        """Another result that agrees with something: of a call that torch makes of it, or that has another name."""
        torch, paddle = self.c.torch, self.c.paddle
        if torch is not None and paddle is not None and self._is_left_out(torch, paddle):
            return self._missing(torch, paddle, self.m.users("paddle", paddle.index), [torch])
        return self._read_elsewhere(named=True) or self._turned_round()

    def _is_left_out(self, torch: Call, paddle: Call) -> bool:
        """Whether torch makes of Paddle's value what stands in its place, by another function."""
        kinds = {self.m.kind("paddle", value) for value in paddle.made}
        return (
            not torch.part and base(torch.name) != base(paddle.name) and bool(kinds & self.m.entering("torch", [torch]))
        )

    def _results(self) -> Blamed:
        """Two calls return something else: the first of each region, those of one name before others.

        Where one side's region is that call alone and the other has more before its own, those are it.
        """
        mine, theirs = map(list, self.c.regions)
        while len(mine) > 1 and len(theirs) > 1 and base(mine[-1].name) == base(theirs[-1].name):
            if base(mine[-2].name) != base(theirs[-2].name) and 1 in (len(mine), len(theirs)):
                break
            mine, theirs = mine[:-1], theirs[:-1]
        last = mine[-1], theirs[-1]
        if base(last[0].name) == base(last[1].name):
            if len(theirs) == 1 < len(mine):
                head = self._heads("torch", [call for call in mine if call.index != last[0].index])[0]
                read = [g for g in last[1].given if any(self.m.same(one, g) for one in head.given)]
                if read:
                    return self._missing(head, self.m.call("paddle", read[0].maker), (last[1],), mine[:-1])
            if len(mine) == 1 < len(theirs):
                head = self._heads("paddle", [call for call in theirs if call.index != last[1].index])[0]
                if self.m.entering("paddle", [head]) & self.m.entering("torch", [last[0]]):
                    found, beside = self._pair(last[0], head), self._same_line(head)
                    torches = _each((beside, *found.torch)) if beside is not None else found.torch
                    return replace(found, torch=torches, calls=(None, head), certain=self._is_one_line(theirs[:-1]))
        parts = self._parts(mine[-1], theirs)
        if parts is not None:
            return replace(self._pair(mine[-1], parts), certain=False)
        torch, paddle = (
            self._heads(side, calls) for side, calls in zip(("torch", "paddle"), (mine, theirs), strict=True)
        )
        first = [_firsts(calls) for calls in (torch, paddle)]
        if first[0] and first[1] and self.m.entering("torch", first[0]) & self.m.entering("paddle", first[1]):
            torch, paddle = first
        best = min(
            ((base(a.name) != base(b.name), i + j, a, b) for i, a in enumerate(torch) for j, b in enumerate(paddle)),
            key=lambda entry: entry[:2],
        )
        found = self._given(best[2], best[3])
        one = self._is_one_line(self.c.regions[1])
        here = self.at.places("paddle", theirs[-1:])[:1] == found.paddle[:1]
        if one and here and found.torch and self.c.torch is not None and not self.c.torch.part:
            found = replace(found, torch=_each((*self.at.places("torch", [self.c.torch]), *found.torch)))
        kinds = [self.m.entering(side, calls) for side, calls in zip(("torch", "paddle"), self.c.regions, strict=True)]
        alike = (one and kinds[0] == kinds[1] != set()) or _is_given_alike(self.m, best[2], best[3])
        return replace(found, certain=found.certain and alike)

    def _parts(self, torch: Call, region: Sequence[Call]) -> Call | None:
        """Return the call that is wrong where Paddle joins parts: the first that makes what torch's value has not.

        Else the one that joins them; None where Paddle joins nothing, or parts that are matched anyway.
        """
        joins = [call for call in region if base(call.name) in ("cat", "stack")]
        joined = joins[-1] if joins and torch.made else None
        if joined is None or any(base(call.name) not in LAYOUT for call in region if call.index > joined.index):
            return None
        right = self.m.array("torch", torch.made[0])
        if right is None or any(self.m.agrees("paddle", given.value) for given in joined.given):
            return None
        left = Counter(_rounded(right))
        for given in joined.given:
            part, maker = self.m.array("paddle", given.value), self.m.call("paddle", given.maker)
            if part is None or maker is None or part.dtype.kind != "f":
                return None
            own = Counter(_rounded(part))
            if own - left:
                return maker
            left -= own
        return joined

    def _is_one_line(self, calls: Sequence[Call]) -> bool:
        """Whether Paddle's calls are all on one line of one run of a function."""
        places = [(call.frames[:1], self.m.of["paddle"].places[call.places[0]]) for call in calls if call.places]
        return all(frame == places[0][0] and on_line(place, places[0][1]) for frame, place in places)

    def _heads(self, side: str, calls: Sequence[Call]) -> list[Call]:
        """Return the calls of a region whose inputs agree, then the others."""
        inside = {call.index for call in calls}
        return sorted(calls, key=lambda call: any(given.maker in inside for given in call.given))

    def _is_other_maker(self) -> bool:
        """Whether what is handed on is wrong: made by a call of one name, from the same, for these calls alone."""
        torch, paddle = self.c.torch, self.c.paddle
        if torch is None or paddle is None or not one_function(torch.name, paddle.name):
            return False
        if self.c.given:
            users = {user.index for user in self.m.users("paddle", paddle.index)}
            if not users <= {user.index for user in self.c.targets}:
                return False
        return bool(self.m.entering("torch", [torch]) & self.m.entering("paddle", [paddle]))

    def _given(self, torch: Call | None, paddle: Call) -> Blamed:
        """Two calls, the first that differ: or what wrote over what one of them is given."""
        writer = self._writer(torch, paddle)
        if writer is not None:
            own, other = writer
            found = self._pair(other, own)
            return replace(found, paddle=(*found.paddle, *self.at.places("paddle", [paddle])), calls=(torch, paddle))
        if not self.c.given:
            return self._spread(torch, paddle) or self._passed(torch, paddle) or self._pair(torch, paddle)
        elsewhere = self._other_tensor(torch, paddle)
        if elsewhere is not None:
            return self._other(elsewhere, torch, paddle)
        here = self.at.handing(self._right_maker(), self.c.targets)
        return Blamed(
            (here,) if here else (), self.at.places("torch", [torch] if torch else []), (torch, paddle),
            ((paddle.module, torch.module if torch else ""),), certain=False,
        )  # fmt: skip

    def _extra(self) -> Blamed:
        """A call that only Paddle makes: beside what torch's next call is given."""
        parts = self._parts(self.c.torch, self.c.regions[1]) if self.c.torch is not None else None
        if parts is not None:
            return replace(self._pair(self.c.torch, parts), certain=False)
        head = self._heads("paddle", self.c.regions[1])[0]
        twin = self._twin(head) if len(self.c.regions[1]) > 1 else None
        if twin is not None:
            return self._passed(twin, head) or replace(self._pair(twin, head), certain=False)
        owner = self.c.owner
        torch = self.at.common("torch", [owner]) if owner is not None and owner.places else None
        if torch is None:
            torch = (self.at.places("torch", [self.c.torch] if self.c.torch else []) or (None,))[0]
        mine, inputs = self.at.places("paddle", [head]), self.at.makers("paddle", head)
        above = [place for call in inputs for place in self.at.all("paddle", call)]
        beside = self._same_line(head)
        if beside is not None:
            torch = beside
        elif mine and self.c.torch is not None and any(on_line(mine[0], place) for place in above):
            level = self.at.level(mine, self.at.all("paddle", inputs[0]))
            torch = self.at.at_level("torch", self.c.torch, level) or torch
        paddle = self.at.places("paddle", [head, *self.c.regions[1]])
        one = self._is_one_line(self.c.regions[1]) and self._twin(head) is None
        return Blamed(paddle, (torch,) if torch else (), (None, head), ((head.module, None),), certain=one)

    def _twin(self, head: Call) -> Call | None:
        """Return torch's call that stands for one of Paddle's, where both sides make as many of its function."""
        of = self.m.ordinal("paddle", head)
        calls = [c for c in self.m.of["torch"].calls if not c.part and base(c.name) == base(head.name)]
        twin = calls[of[0]] if len(calls) == of[1] and base(head.name) not in LAYOUT else None
        return (
            twin if twin is None or not self.m.entering("torch", [twin]) & self.m.entering("paddle", [head]) else None
        )

    def _same_line(self, head: Call) -> Place | None:
        """Return torch's line for what the line of a call of Paddle's makes before it."""
        if not head.places:
            return None
        here, frame = self.m.of["paddle"].places[head.places[0]], head.frames[:1]
        for given in head.given:
            maker = self.m.call("paddle", given.maker)
            at = list(zip(maker.places, maker.frames, strict=False)) if maker is not None else []
            if not any((other,) == frame and on_line(self.m.of["paddle"].places[place], here) for place, other in at):
                continue
            kind = self.m.kind("paddle", given.value)
            for call in self.m.of["torch"].calls:
                if any(self.m.kind("torch", value) == kind for value in call.made) and not call.part:
                    found = self.ways.level(call, here.module, frame[0] if frame else -1)
                    if found is not None:
                        return found
        return None


def _is_one_product(one: Call, other: Call) -> bool:
    """Whether two calls are of one function, or both multiply matrices."""
    return base(one.name) == base(other.name) or {base(one.name), base(other.name)} <= PRODUCTS.keys()


def _rounded(array: Array) -> list[float]:
    """Return numbers that are the same on both sides where they are one."""
    return [float(text) for text in np.char.mod("%.8g", array.ravel().astype(np.float64))]


def _is_turned(candidate: Candidate, matched: Matched) -> bool:
    """Whether Paddle's calls are given a value in another order of axes than torch has: it may be wrong before them."""
    calls = candidate.regions[1] or candidate.targets
    return any(
        matched.how["paddle"].get(given.value) == "arranged" and not given.leaf
        for call in calls
        for given in call.given
    )


def _rests_on_a_number(candidate: Candidate, matched: Matched) -> bool:
    """Whether Paddle's calls are given a number that was computed: it may be wrong before them."""
    calls = candidate.regions[1] or candidate.targets
    return any(given.maker >= 0 and matched.is_lone("paddle", given.value) for call in calls for given in call.given)


def _is_mirrored(candidate: Candidate, matched: Matched) -> bool:
    """Whether Paddle's calls are given what torch's are in another order of axes, which its shape does not tell."""
    alone = [len(region) for region in candidate.regions] == [1, 1]
    return any(
        matched.is_mirrored(*pair)
        for torch in candidate.regions[0] for paddle in candidate.regions[1]
        if (base(torch.name) == base(paddle.name) or alone) and len(torch.given) == len(paddle.given)
        for pair in zip(torch.given, paddle.given, strict=True)
    )  # fmt: skip


def _is_negated(candidate: Candidate, matched: Matched) -> bool:
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


def _readers(candidate: Candidate, matched: Matched) -> tuple[Place, ...]:
    """Return the lines that compute something of a candidate's results, whoever hands them on as they are."""
    found, waiting = list[Call](), list(candidate.targets)
    while waiting:
        call = waiting.pop()
        for user in matched.users("paddle", call.index):
            same = bool(user.made) and matched.kind("paddle", user.made[0]) == matched.kind("paddle", call.made[0])
            (waiting if same or base(user.name) in LAYOUT else found).append(user)
    return Stacks(matched).places("paddle", [user for user in found if user.name != RETURN])


def _arrange(torch: Call, paddle: Call) -> bool:
    """Whether two calls arrange a value alike, and join it to no other."""
    one = base(torch.name) in LAYOUT - {"cat", "stack"}
    return one and one_function(torch.name, paddle.name) and bool(paddle.given)


def _is_given_alike(m: Matched, torch: Call, paddle: Call) -> bool:
    """Whether two calls are of one function and given the same: then it is they that differ."""
    same = m.entering("torch", [torch]) == m.entering("paddle", [paddle])
    return same and base(torch.name) == base(paddle.name)


def _firsts(calls: Sequence[Call]) -> list[Call]:
    """Return those of some calls that are given nothing that another of them makes."""
    inside = {call.index for call in calls}
    return [call for call in calls if not any(given.maker in inside for given in call.given)]


def _each(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return every line once."""
    found: dict[tuple[str, int], Place] = {}
    for place in places:
        found.setdefault((place.file, place.line), place)
    return tuple(found.values())


def _writes(call: Call, given: Given) -> bool:
    """Whether a call wrote what is given in place."""
    return bool(
        is_in_place(call) or given.slot >= len(call.made) - call.written or call.arguments.get("inplace") == "True"
    )
