"""Where a value of torch's may be carried into Paddle's run, the likeliest first.

Four shapes of a fault: a call that computes another result; one that only torch makes; one that only Paddle makes; one
that is given another tensor. Each is a value of torch's and a place in Paddle's run; whether it is the fault is for a
run to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from portproof.lines._calls import RETURN, Call, Given
from portproof.lines._match import LAYOUT, Look, Matched, base, is_one_shape, one_function
from portproof.lines._recorder import Carried
from portproof.lines._steps import GIVEN_TO, STEPS, STEPS_AS
from portproof.lines._values import is_constant, likeness

#: Lines that a fused function counts for, and what Paddle computes in its place, at most.
_FUSED = 2.2
#: What speaks against a value in another order of axes: the one that is in order lies before it.
_LOOSE = 0.6
#: What speaks against a value that is arranged where what follows agrees.
_UNARRANGED = 1.7
#: Calls after the first that differ which are looked at; candidates of one look that are, and that are worth a run.
_NEXT, _MOST, _OF_ONE_LOOK = 10, 80, 8

Values = tuple[int | None, ...]


@dataclass(frozen=True)
class Candidate:
    """A value to carry over.

    Attributes:
        torch: the call that makes it, None for an input, a parameter or a table.
        paddle: the call that makes what it replaces; None where that is no call.
        targets: Paddle's calls whose results are exchanged, or what they are given.
        given: it is what they are given.
        values: of torch's, for every result of each target, or for each tensor that it is given; None keeps one.
        strict: layouts were compared, too.
        regions: torch's calls and Paddle's between what agrees and the value.
        cost: lines that it takes to explain the fault, less what speaks for it.
        owner: torch's call that is given the value, where that is how it was come upon.
    """

    torch: Call | None
    paddle: Call | None
    targets: tuple[Call, ...]
    given: bool
    values: tuple[Values, ...]
    strict: bool
    regions: tuple[tuple[Call, ...], tuple[Call, ...]]
    cost: float
    owner: Call | None = None

    def carried(self, matched: Matched) -> list[Carried]:
        """Return what a run is told to exchange: here, and wherever the same lines run again.

        A line of a block is in all blocks of its class; where they are right, nothing changes.
        """
        found: dict[int, Carried] = {}
        for source, targets in self.family(matched):
            for call, values in zip(targets, self.values, strict=True):
                own = values if source is None else self._of(source, values)
                if any(value is not None and not matched.of["torch"].values[value].file for value in own):
                    continue  # too large to be carried
                files = tuple(None if value is None else matched.file("torch", value) for value in own)
                found[call.index] = Carried(call.index, files, self.strict, self.given)
        return list(found.values())

    def family(self, matched: Matched) -> list[tuple[Call | None, tuple[Call, ...]]]:
        """Return the calls of the same lines, torch's with Paddle's; this candidate's own alone where they do not pair.

        torch's is None for this candidate's own.
        """
        alone: list[tuple[Call | None, tuple[Call, ...]]] = [(None, self.targets)]
        if self.torch is None or len({value for values in self.values for value in values} - {None}) > 1:
            return alone
        torch = matched.alike("torch", self.torch)
        paddle = [matched.alike("paddle", call) for call in self.targets]
        if len(paddle) == 1 and len(paddle[0]) != len(torch):
            apart = self._after_partners(matched, paddle[0]) or self._of_the_same(matched, paddle[0])
            if apart:
                return apart
            torch, paddle[0] = _in_partners(matched, torch, paddle[0])
            if self.torch not in torch:
                return alone
        elif len(paddle) == 1:  # two sides need not run their modules in one order
            ones, others = _in_partners(matched, torch, paddle[0])
            torch, paddle[0] = (ones, others) if len(ones) == len(torch) else (torch, paddle[0])
        mine = torch.index(self.torch)
        if any(len(calls) != len(torch) for calls in paddle) or len(torch) < 2:
            return alone
        if any(
            call not in calls or calls.index(call) != mine for calls, call in zip(paddle, self.targets, strict=True)
        ):
            return alone
        rows = [
            row for row in zip(torch, *paddle, strict=True) if self.regions[0] or self._is_made_alike(matched, row[1:])
        ]
        return [(None if row[0] is self.torch else row[0], tuple(row[1:])) for row in rows]

    def _is_made_alike(self, matched: Matched, targets: Sequence[Call]) -> bool:
        """Whether some calls are given what functions of the same names make as for this candidate's own."""
        own, other = (
            [base(maker.name) if (maker := matched.call("paddle", call.given[0].maker)) is not None else ""
             for call in calls if call.given]
            for calls in (self.targets, targets)
        )  # fmt: skip
        return own == other

    def _after_partners(self, matched: Matched, alike: Sequence[Call]) -> list[tuple[Call | None, tuple[Call, ...]]]:
        """Return torch's calls that Paddle makes nowhere, each after the module that stands for the one before it.

        Paddle's line is in a helper that many modules share, torch's are written out. Empty where that is not so.
        """
        missing, regions = self.torch, self.regions
        if missing is None or not missing.given or [len(region) for region in regions] != [1, 0]:
            return []
        source = matched.call("torch", missing.given[0].maker)
        if source is None or matched.partner(source.module) is None:
            return []
        rows: list[tuple[Call | None, tuple[Call, ...]]] = []
        for call in alike:
            before = self._replaced(matched, call)
            if before is None:
                continue
            for one in matched.made_in(before.module, source.name):
                users = [user for user in matched.users("torch", one.index) if base(user.name) == base(missing.name)]
                if len(users) == 1:
                    rows.append((None if users[0] is missing else users[0], (call,)))
        return rows if (None, self.targets) in rows and len(rows) > 1 else []

    def _of_the_same(self, matched: Matched, alike: Sequence[Call]) -> list[tuple[Call | None, tuple[Call, ...]]]:
        """Return torch's calls that make of the same, with the same arguments, what this candidate's own makes of its.

        Paddle's line is in a helper, torch has it written out for each value. Empty where that is not so.
        """
        own, rows = self.torch, list[tuple[Call | None, tuple[Call, ...]]]()
        if own is None or self.given or not own.given:
            return []
        calls = [one for one in matched.of["torch"].calls if (one.name, one.arguments) == (own.name, own.arguments)]
        for call in alike:
            sources = [c for c in calls if call.given and c.given and matched.same(c.given[0], call.given[0])]
            if sources:
                rows.append((None if own in sources else sources[0], (call,)))
        return rows if (None, self.targets) in rows and len(rows) > 1 else []

    def _replaced(self, matched: Matched, call: Call) -> Call | None:
        """Return the call whose result is exchanged: a target, or what makes its argument."""
        if not self.given:
            return call
        place = next((place for place, value in enumerate(self.values[0]) if value is not None), None)
        fits = place is not None and place < len(call.given)
        return matched.call("paddle", call.given[place].maker) if fits and place is not None else None

    def _of(self, source: Call, values: Values) -> Values:
        """Return another call's values in the places of this one's."""
        assert self.torch is not None
        others = dict(zip(self.torch.made, source.made, strict=False))
        return tuple(None if value is None else others.get(value) for value in values)

    def key(self, matched: Matched) -> tuple[object, ...]:
        """Return what is the same for candidates that a run cannot tell apart."""
        at = tuple((one.call, one.files) for one in self.carried(matched))
        return (at, self.given, self.strict and not self._in_shape(matched))

    def _in_shape(self, matched: Matched) -> bool:
        """Whether every value has the shape of what it replaces."""
        for call, values in zip(self.targets, self.values, strict=True):
            own = [given.value for given in call.given] if self.given else list(call.made)
            for one, other in zip(values, own, strict=False):
                if one is not None:
                    shapes = matched.of["torch"].values[one].shape, matched.of["paddle"].values[other].shape
                    if shapes[0] != shapes[1]:
                        return False
        return True


def candidates(matched: Matched) -> list[Candidate]:
    """Return the candidates of the first faults, the likeliest first."""
    found: dict[tuple[object, ...], Candidate] = {}
    for look in (Look(True), Look(True, True), Look(False)):
        own: dict[tuple[object, ...], Candidate] = {}
        places: set[object] = set()
        for candidate in sorted(_Looked(matched, look).all(), key=lambda candidate: candidate.cost)[:_MOST]:
            place = (candidate.given, *(call.index for call in candidate.targets))
            if len(own) < _OF_ONE_LOOK or place not in places:  # of several faults each is somewhere else
                own.setdefault(candidate.key(matched), candidate)
                places.add(place)
            if len(own) == 2 * _OF_ONE_LOOK:
                break
        for key, candidate in own.items():
            if key not in found or candidate.cost < found[key].cost:
                found[key] = candidate
    return sorted(found.values(), key=lambda candidate: candidate.cost)


class _Fits:
    """Which of torch's values may stand in the place of which of Paddle's."""

    def __init__(self, matched: Matched, look: Look) -> None:
        self.m, self.look, self.strict = matched, look, look.strict

    def _fitting(self, torch: Call, paddle: Call, count: int) -> Values | None:
        """Return torch's value for every result of a call of Paddle's; None where they do not fit."""
        own = torch.made if torch.part else torch.made[: _results(torch)]
        free = base(torch.name) == base(paddle.name)
        if count == len(own) > 0:
            shapes = (self.m.of[side].values[v].shape for side, v in (("torch", own[0]), ("paddle", paddle.made[0])))
            fits = self._fits(own[0], paddle.made[0], free=free or is_one_shape(*shapes))
            return tuple(own) if fits else None
        if count == 0 or not own:
            return None
        slot = next((slot for slot in range(count) if self._fits(own[0], paddle.made[slot])), None)
        return None if slot is None else tuple(own[0] if place == slot else None for place in range(count))

    def _fits(self, torch: int, paddle: int, *, free: bool = False) -> bool:
        """Whether a value may stand in another's place, ``free``: whatever its shape."""
        one, other = self.m.of["torch"].values[torch], self.m.of["paddle"].values[paddle]
        if one.file == "":
            return False
        return (self.strict and free) or _size(one.shape) == _size(other.shape) > 0

    def _equal(self, torch: int, paddle: int) -> bool:
        """Whether nothing would change by carrying a value over."""
        if not self.m.same(Given(torch), Given(paddle)):
            return False
        return not self.strict or self.m.how["torch"].get(torch) == self.m.how["paddle"].get(paddle) == "same"

    def _out_of_order(self, torch: Call | None, paddle: Call | None) -> float:
        """Return what speaks against two calls that are not the same ones of a function that both run as often."""
        if torch is None or paddle is None or torch.part or base(torch.name) != base(paddle.name):
            return 0.0
        (mine, all_mine), (theirs, all_theirs) = self.m.ordinal("torch", torch), self.m.ordinal("paddle", paddle)
        return 0.2 * min(2, abs(mine - theirs)) if all_mine == all_theirs else 0.0

    def _ends_line(self, torch: Call | None, region: Sequence[Call]) -> bool:
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

    def _in_place_of(self, torch: Call | None, carried: int, uses: Sequence[tuple[Call, int]]) -> bool:
        """Whether torch's calls are given the value in the same place as Paddle's are."""
        if torch is None:
            return False
        mine = {
            (base(user.name), place)
            for user in self.m.users("torch", torch.index)
            for place, given in enumerate(user.given) if given.value == carried
        }  # fmt: skip
        return bool(mine & {(base(user.name), place) for user, place in uses})


class _Looked(_Fits):
    """One look at where two forwards part."""

    def __init__(self, matched: Matched, look: Look) -> None:
        super().__init__(matched, look)
        self.first = {side: matched.frontier(side, look) for side in ("torch", "paddle")}
        self.way = {side: matched.slice(side, look) for side in ("torch", "paddle")}
        self.near = {
            side: [
                call for call in matched.after(side, calls, self.way[side], len(calls) + _NEXT) if call.name != RETURN
            ]
            for side, calls in self.first.items()
        }
        self._reached: dict[tuple[str, int], list[Call]] = {}

    def all(self) -> Iterator[Candidate]:
        """Return all that there are."""
        yield from self.results()
        yield from self.extra()
        yield from self.arguments()
        yield from self.reordered()
        yield from self.unarranged()

    def results(self) -> Iterator[Candidate]:
        """Results that differ, each of torch's beside each of Paddle's."""
        for theirs, paddle in enumerate(self.near["paddle"]):
            count = _results(paddle)
            for mine, torch in enumerate(self.near["torch"]):
                for source in (torch, *self.m.steps("torch", torch.index)):
                    if source.part and self.m.agrees("torch", source.made[0]):
                        continue
                    values = self._fitting(source, paddle, count)
                    if values is not None:
                        yield self._result(source, torch, paddle, values, abs(mine - theirs))

    def extra(self) -> Iterator[Candidate]:
        """Calls that only Paddle makes: what torch's first are given, in the place of their results."""
        for paddle in self.near["paddle"][:_NEXT]:
            if _results(paddle) != 1:
                continue
            region = self._reach("paddle", paddle)
            kinds = self.m.entering("paddle", region)
            for user in dict.fromkeys([*self.first["torch"], *self.near["torch"]]):
                later = user not in self.first["torch"]
                for given in user.given:
                    enters = self.m.kind("torch", given.value) in kinds
                    if self._fits(given.value, paddle.made[0], free=enters) and (enters or not later):
                        cost = (
                            0.3 * later
                            + 1.3
                            + _count_lines(self.m, [], region)
                            - 0.9 * enters
                            - 0.5 * (len(region) == 1)
                        )
                        yield Candidate(
                            self.m.call("torch", given.maker), paddle, (paddle,), False, ((given.value,),), self.strict,
                            ((), tuple(region)), cost, owner=user,
                        )  # fmt: skip

    def arguments(self) -> Iterator[Candidate]:
        """Other values for what Paddle's first calls are given, which agrees with something of torch's."""
        both = {base(call.name) for call in self.near["paddle"]}  # what Paddle fuses, too, it does not step by step
        sources: list[tuple[Call | None, int, Call | None]] = [
            (one, made, None)
            for torch in self.near["torch"][:_NEXT]
            for one in (torch, *([] if base(torch.name) in both else self.m.steps("torch", torch.index)))
            for made in one.made[: max(1, _results(one))]
            if not (one.part or len(one.made) > 1) or not self.m.agrees("torch", made)
        ]
        sources += [
            (self.m.call("torch", given.maker), given.value, user)
            for user in self.first["torch"]
            for given in user.given
        ]
        makers: dict[tuple[int, int, int, str], list[tuple[Call, int]]] = {}
        for user in self.first["paddle"]:
            for place, given in enumerate(user.given):
                makers.setdefault((given.maker, given.slot, given.value, given.leaf), []).append((user, place))
        for (maker, slot, value, _), uses in makers.items():
            for torch, carried, owner in dict.fromkeys(sources):
                if not self._equal(carried, value):
                    yield from self._argument(torch, carried, owner, self.m.call("paddle", maker), slot, value, uses)

    def reordered(self) -> Iterator[Candidate]:
        """Results that calls are given in each other's places: of one call, or of two."""
        wrong: dict[tuple[int, int], tuple[Given, Call]] = {}
        users: dict[tuple[int, int], set[int]] = {}
        for paddle in self.first["paddle"]:
            for torch in self.first["torch"]:
                if base(torch.name) != base(paddle.name) or len(torch.given) != len(paddle.given):
                    continue
                pairs = list(zip(torch.given, paddle.given, strict=True))
                differ = [(mine, theirs) for mine, theirs in pairs if not self._equal(mine.value, theirs.value)]
                if len(differ) < len(pairs) or len(pairs) <= 2:
                    for mine, theirs in differ:
                        if theirs.maker >= 0 and self._fits(mine.value, theirs.value):
                            wrong.setdefault((theirs.maker, theirs.slot), (mine, torch))
                            users.setdefault((theirs.maker, theirs.slot), set()).add(paddle.index)
        for (index, slot), (mine, owner) in wrong.items():
            maker, source = self.m.call("paddle", index), self.m.call("torch", mine.maker)
            if maker is None or source is None:
                continue
            if base(source.name) == base(maker.name) and len(source.made) == len(maker.made) > 1:
                yield from self._slots(source, maker, slot, mine, owner)
            for (other, there), (theirs, _) in wrong.items():
                twin = self.m.call("paddle", other)
                if other <= index or twin is None:
                    continue
                crossed = self._equal(mine.value, twin.made[there]) and self._equal(theirs.value, maker.made[slot])
                if crossed and there < _results(twin) and slot < _results(maker):
                    values = _only(maker, slot, mine.value), _only(twin, there, theirs.value)
                    alone = users[index, slot] == users[other, there]  # then its own operands may be turned round
                    cost = 0.9 + 0.9 * alone
                    yield Candidate(
                        source, maker, (maker, twin), False, values, self.strict, ((), ()), cost, owner=owner
                    )  # fmt: skip

    def unarranged(self) -> Iterator[Candidate]:
        """What torch's first calls only arrange, in the place of what they are given, wherever Paddle makes that.

        Without it what follows may agree by chance: a cut undoes a concatenation that should have been shuffled.
        """
        for torch in self.first["torch"]:
            if base(torch.name) not in LAYOUT or len(torch.given) != 1 or len(torch.made) != 1 or not self.strict:
                continue
            kind, arranged = self.m.kind("torch", torch.given[0].value), self.m.of["torch"].values[torch.given[0].value]
            for paddle in self.m.of["paddle"].calls:
                made = self.m.of["paddle"].values[paddle.made[0]] if _results(paddle) == 1 and not paddle.part else None
                if made is None or self.m.kind("paddle", paddle.made[0]) != kind or made.shape != arranged.shape:
                    continue
                nexts = {base(user.name) for user in self.m.users("paddle", paddle.index)}
                alike = bool(nexts & {base(user.name) for user in self.m.users("torch", torch.index)})
                cost = _UNARRANGED - 0.3 * alike - 0.3 * (self.m.partner(torch.module) == paddle.module)
                yield Candidate(
                    torch, paddle, (paddle,), False, ((torch.made[0],),), self.strict, ((torch,), ()), cost
                )  # fmt: skip

    def _slots(self, source: Call, maker: Call, slot: int, mine: Given, owner: Call) -> Iterator[Candidate]:
        """All results of torch's call in its order; and Paddle's with two of them exchanged."""
        if not all(self._equal(one, other) for one, other in zip(source.made, maker.made, strict=True)):
            yield Candidate(
                source, maker, (maker,), False, (tuple(source.made),), self.strict, ((), ()), 0.3, owner=owner
            )  # fmt: skip
            return
        if mine.slot != slot and max(mine.slot, slot) < len(source.made):
            values = [*source.made]
            values[slot], values[mine.slot] = values[mine.slot], values[slot]
            yield Candidate(source, maker, (maker,), False, (tuple(values),), self.strict, ((), ()), 0.4, owner=owner)

    def _reach(self, side: str, call: Call) -> list[Call]:
        if (side, call.index) not in self._reached:
            self._reached[side, call.index] = self.m.reach(side, call, self.look)
        return self._reached[side, call.index]

    def _result(self, source: Call, torch: Call, paddle: Call, values: Values, apart: int) -> Candidate:
        regions = self._reach("torch", torch), self._reach("paddle", paddle)
        if source.part:
            return self._step(source, paddle, values, (tuple(regions[0]), tuple(regions[1])))
        shared = _overlap(self.m.entering("torch", regions[0]), self.m.entering("paddle", regions[1]))
        value, own = next((a, b) for a, b in zip(values, paddle.made, strict=False) if a is not None)
        alike = likeness(self.m.canonical("torch", value), self.m.canonical("paddle", own), turned=not self.strict)
        named = base(source.name) == base(paddle.name)
        lines = _count_lines(self.m, *regions)
        if source.name in STEPS and shared == 1.0:  # the other side may compute it on many lines
            lines = min(lines, _FUSED)
        cost = lines - 0.5 * alike - 0.4 * named - 0.7 * shared - 0.1 * (torch.module == paddle.module)
        cost += 0.02 * apart + self._out_of_order(torch, paddle) + _LOOSE * (not self.strict)
        regions_ = (tuple(regions[0]), tuple(regions[1]))
        return Candidate(source, paddle, (paddle,), False, (values,), self.strict, regions_, cost)

    def _step(
        self, source: Call, paddle: Call, values: Values, regions: tuple[tuple[Call, ...], tuple[Call, ...]]
    ) -> Candidate:
        """A step of one of torch's fused calls."""
        within = {self.m.kind("torch", step.made[0]) for step in self.m.steps("torch", source.index)}
        within |= self.m.entering("torch", [source])
        entering = self.m.entering("paddle", regions[1])
        enters = bool(entering) and entering <= within
        named = base(paddle.name) in STEPS_AS.get(source.name.partition(": ")[2], ())
        before = [call for call in regions[0] if call.index != source.index]
        cost = 0.8 + _count_lines(self.m, before, regions[1]) - 0.5 * named - 0.7 * enters
        cost += _LOOSE * (not self.strict)
        return Candidate(source, paddle, (paddle,), False, (values,), self.strict, regions, cost)

    def _argument(
        self, torch: Call | None, carried: int, owner: Call | None, paddle: Call | None, slot: int, value: int,
        uses: Sequence[tuple[Call, int]],
    ) -> Iterator[Candidate]:  # fmt: skip
        """Another tensor for some calls' argument; and for all that are given the same."""
        region = self._reach("torch", torch) if torch is not None and owner is None else []
        enters = bool(region) and self.m.kind("paddle", value) in self.m.entering("torch", region)
        alike = owner is not None and base(owner.name) in {base(user.name) for user, _ in uses}
        if not self._fits(carried, value, free=enters or alike):
            return
        cost = (
            _count_lines(self.m, region, [])
            + 1.2
            - 0.2 * enters
            - 0.5 * (len(region) == 1 or self._ends_line(torch, region) or _is_module(self.m, region))
            - self._speaks(torch, paddle, owner, uses, enters)
        )
        cost += 0.6 * is_constant(self.m.of["torch"].values[carried].features) + 0.4 * (owner is not None)
        cost += 0.1 * len({user.index for user, _ in uses}) - 0.1 * self._in_place_of(torch, carried, uses)
        if torch is not None and torch.part:  # given to what takes it, it is what Paddle has not computed yet
            takes = GIVEN_TO.get(torch.name.partition(": ")[2], ())
            cost -= 1.3 * (len(region) == 1 and any(base(user.name) in takes for user, _ in uses))
        if len(region) == 1 and torch is not None:  # Paddle has such a call there: it is that
            nexts = [user for user, _ in uses] + [one for user, _ in uses for one in self.m.users("paddle", user.index)]
            cost += 0.5 * any(base(user.name) == base(torch.name) for user in nexts)
        cost += (self._out_of_order(torch, paddle) if owner is None else 0.0) + _LOOSE * (not self.strict)
        regions: tuple[tuple[Call, ...], tuple[Call, ...]] = (tuple(region), ())
        users = list(dict.fromkeys(user for user, _ in uses))
        if paddle is not None and slot < _results(paddle):
            more = {user.index for user in self.m.users("paddle", paddle.index)} - {user.index for user in users}
            if more or len(self.m.alike("paddle", paddle)) > 1 or any(user.name == RETURN for user in users):
                cut = torch if owner is None and torch is not None and one_function(torch.name, paddle.name) else None
                if cut is not None and len(cut.made) == len(paddle.made) > 1:  # all parts of another value
                    parts = (tuple(cut.made),)
                    yield Candidate(cut, paddle, (paddle,), False, parts, self.strict, regions, cost + 0.04)
                slots = (_only(paddle, slot, carried),)
                yield Candidate(torch, paddle, (paddle,), False, slots, self.strict, regions, cost + 0.05, owner=owner)
        if any(user.name == RETURN for user in users):
            return
        once = list({(user.name, user.places[:1]): user for user in reversed(users)}.values())[::-1]
        for some in [users] if len(once) == len(users) else [users, once]:
            values = []
            for user in some:
                places = {place for one, place in uses if one is user}
                values.append(tuple(carried if place in places else None for place in range(len(user.given))))
            yield Candidate(torch, paddle, tuple(some), True, tuple(values), self.strict, regions, cost, owner=owner)
        twice = next((user for user in users if [one for one, _ in uses].count(user) > 1), None)
        if len(users) == 1 and twice is not None and alike:  # ``x + x``, where torch's call is given one that is x
            slots = (tuple(carried if place == uses[-1][1] else None for place in range(len(twice.given))),)
            yield Candidate(torch, paddle, (twice,), True, slots, self.strict, regions, cost - 0.1, owner=owner)

    def _speaks(
        self, torch: Call | None, paddle: Call | None, owner: Call | None, uses: Sequence[tuple[Call, int]],
        enters: bool,
    ) -> float:  # fmt: skip
        """Return what speaks for another argument."""
        found = 0.9 * enters
        if torch is not None and paddle is not None and one_function(torch.name, paddle.name):  # a slice of the same
            shared = _overlap(self.m.entering("torch", [torch]), self.m.entering("paddle", [paddle]))
            found = max(found, 0.9 * shared)
        elif torch is None and paddle is None:
            found = max(found, 0.5)
        if owner is not None:  # the value agrees: where it is given to a call alike, that is the other tensor
            found = max(found, 0.5 * (base(owner.name) in {base(user.name) for user, _ in uses}))
        return found


def _in_partners(matched: Matched, torch: Sequence[Call], paddle: Sequence[Call]) -> tuple[list[Call], list[Call]]:
    """Pair calls, one a module, by the modules in which they run, or those around Paddle's; the others are left out."""
    theirs, pairs = {call.module: call for call in paddle}, []
    for call in torch:
        path = matched.partner(call.module)
        while path and path not in theirs:
            path = path.rpartition(".")[0]
        if path is not None and path in theirs:
            pairs.append((call, theirs[path]))
    ones, others = ({call.index for call in calls} for calls in zip(*pairs, strict=True)) if pairs else (set(), set())
    modules = {call.module for call, _ in pairs}
    if not len(modules) == len(ones) == len(others) == len(pairs) or len(theirs) < len(paddle):
        return [], []
    return [call for call, _ in pairs], [call for _, call in pairs]


def _count_lines(matched: Matched, torch: Sequence[Call], paddle: Sequence[Call]) -> float:
    """Count the lines of two regions; calls that arrange values count as half."""
    total = 0.0
    for side, calls in (("torch", torch), ("paddle", paddle)):
        weights: dict[tuple[str, int], float] = {}
        for call in calls:
            if side == "torch" and (module := matched.skipped(call.module)) is not None:
                weights["", hash(module)] = 1.0  # one line calls it
            elif call.places:
                place = matched.of[side].places[call.places[0]]
                weight = 0.6 if base(call.name) in LAYOUT else 1.0
                weights[place.file, place.line] = max(weight, weights.get((place.file, place.line), 0.0))
        total += sum(weights.values()) + 0.05 * len(calls)
    return total


def _is_module(matched: Matched, region: Sequence[Call]) -> bool:
    """Whether some calls of torch's are all in one module that Paddle has and does not run."""
    modules = {matched.skipped(call.module) for call in region}
    return len(modules) == 1 and None not in modules


def _results(call: Call) -> int:
    return len(call.made) - call.written


def _only(call: Call, slot: int, value: int) -> Values:
    return tuple(value if place == slot else None for place in range(_results(call)))


def _overlap(one: set[tuple[str, int]], other: set[tuple[str, int]]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def _size(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
