"""Candidates for the first faults, the likeliest first.

Four shapes of a fault: a call that computes another result; one that only torch makes; one that only Paddle makes; one
that is given another tensor. Each is a value of torch's and a place in Paddle's run; whether it is the fault is for a
run to show.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from portproof.lines._calls import RETURN, Call, Given
from portproof.lines._candidate import Candidate, Values
from portproof.lines._match import LAYOUT, Look, Matched, base, is_in_place, one_function
from portproof.lines._orders import Orders
from portproof.lines._parting import NEXT, Parting, only, results
from portproof.lines._steps import GIVEN_TO, STEPS, STEPS_AS
from portproof.lines._values import is_constant, likeness

#: Lines that a fused function counts for, and what Paddle computes in its place, at most.
_FUSED = 2.2
#: What speaks against a value in another order of axes: the one that is in order lies before it.
_LOOSE = 0.6
#: What speaks for the argument of the call that stands for Paddle's by its weights.
_STANDS = 1.1
#: What speaks against a value that a module that never runs makes on its way.
_INSIDE = 1.0
#: What speaks for what such a module makes in the end, where torch's call that stands for Paddle's is given it.
_FEEDS = 0.5
#: What speaks against a step of a fused function where the whole of it may be missing.
_STEP = 0.3
#: What speaks against a call too many where torch's next call is not known.
_NOBODY = 0.2
#: What speaks for the value that a tensor had before Paddle wrote into it.
_WRITTEN = 0.4
#: Lines that count where the value goes into a call that both sides make, given the same besides: ``x + mlp(x)``.
_BESIDE = 1.0
#: Candidates of one look that are looked at, and that are worth a run.
_MOST, _OF_ONE_LOOK = 80, 8


def candidates(matched: Matched) -> list[Candidate]:
    """Return the candidates of the first faults, the likeliest first."""
    found: dict[tuple[object, ...], Candidate] = {}
    for look in (Look(True), Look(True, True), Look(False)):
        own: dict[tuple[object, ...], Candidate] = {}
        places: set[object] = set()
        for candidate in sorted(_all(Parting(matched, look)), key=lambda candidate: candidate.cost)[:_MOST]:
            stands = candidate.owner is not None and matched.standing_for(candidate.targets[0]) is candidate.owner
            place = (candidate.given, stands, all(candidate.regions), *(call.index for call in candidate.targets))
            if len(own) < _OF_ONE_LOOK or place not in places:  # of several faults each is somewhere else
                own.setdefault(candidate.key(matched), candidate)
                places.add(place)
            if len(own) == 2 * _OF_ONE_LOOK:
                break
        for key, candidate in own.items():
            if key not in found or candidate.cost < found[key].cost:
                found[key] = candidate
    return sorted(found.values(), key=lambda candidate: candidate.cost)


def _all(parting: Parting) -> Iterable[Candidate]:
    return itertools.chain(_Looked(parting).all(), Orders(parting).all())


class _Looked:
    """Candidates of one look: calls that compute, or are given, something else."""

    def __init__(self, parting: Parting) -> None:
        self.p, self.m = parting, parting.m
        self._reached: dict[tuple[str, int], list[Call]] = {}

    def all(self) -> Iterator[Candidate]:
        """Return all that there are."""
        yield from self.results()
        yield from self.extra()
        yield from self.arguments()

    def results(self) -> Iterator[Candidate]:
        """Results that differ, each of torch's beside each of Paddle's."""
        for theirs, paddle in enumerate(self.p.near["paddle"]):
            count = results(paddle)
            for mine, torch in enumerate(self.p.near["torch"]):
                for source in (torch, *self.m.steps("torch", torch.index)):
                    if source.part and self.m.agrees("torch", source.made[0]):
                        continue
                    values = self.p.fitting(source, paddle, count)
                    if values is not None:
                        yield self._result(source, torch, paddle, values, abs(mine - theirs))

    def extra(self) -> Iterator[Candidate]:
        """Calls that only Paddle makes: what torch's first are given, in the place of their results."""
        for paddle in self.p.near["paddle"][:NEXT]:
            if results(paddle) != 1:
                continue
            region = self._reach("paddle", paddle)
            kinds = self.m.entering("paddle", region)
            for user in dict.fromkeys([*self.p.first["torch"], *self.p.near["torch"]]):
                later = user not in self.p.first["torch"]
                for given in user.given:
                    enters = self.m.kind("torch", given.value) in kinds
                    if self.p.fits(given.value, paddle.made[0], free=enters) and (enters or not later):
                        cost = (
                            0.3 * later
                            + 1.3
                            + _count_lines(self.m, [], region)
                            - 0.9 * enters
                            - 0.5 * (len(region) == 1)
                        )
                        yield Candidate(
                            self.m.call("torch", given.maker), paddle, (paddle,), False, ((given.value,),),
                            self.p.strict, ((), tuple(region)), cost, owner=user,
                        )  # fmt: skip
            yield from self._left_out(paddle, region)

    def _left_out(self, paddle: Call, region: Sequence[Call]) -> Iterator[Candidate]:
        """A call of Paddle's without which its value is what it is given, whoever is given that of torch's."""
        shape = self.m.of["paddle"].values[paddle.made[0]].shape
        for given in paddle.given if len(region) == 1 else ():
            value = self.m.in_shape(self.m.kind("paddle", given.value), shape)
            source = self.m.maker("torch", value) if value is not None else None
            if value is not None and source is not None and self.p.fits(value, paddle.made[0]):
                cost = 1.3 + _count_lines(self.m, [], region) - 0.9 - 0.5 + _NOBODY
                yield Candidate(
                    source, paddle, (paddle,), False, ((value,),), self.p.strict, ((), tuple(region)), cost
                )  # fmt: skip

    def arguments(self) -> Iterator[Candidate]:
        """Other values for what Paddle's first calls are given, which agrees with something of torch's."""
        both = {base(call.name) for call in self.p.near["paddle"]}  # what Paddle fuses, too, it does not step by step
        sources: list[tuple[Call | None, int, Call | None]] = [
            (one, made, None)
            for torch in self._beside_first()[:NEXT]
            for one in (torch, *([] if base(torch.name) in both else self.m.steps("torch", torch.index)))
            for made in one.made[: max(1, results(one))]
            if not (one.part or len(one.made) > 1) or not self.m.agrees("torch", made)
        ]
        sources += [
            (self.m.call("torch", given.maker), given.value, user)
            for user in self.p.first["torch"]
            for given in user.given
        ]
        makers: dict[tuple[int, int, int, str], list[tuple[Call, int]]] = {}
        for user in self.p.first["paddle"]:
            for place, given in enumerate(user.given):
                makers.setdefault((given.maker, given.slot, given.value, given.leaf), []).append((user, place))
        for (maker, slot, value, _), uses in makers.items():
            for torch, carried, owner in dict.fromkeys([*sources, *self._of_partners(uses)]):
                if not self.p.equal(carried, value):
                    yield from self._argument(torch, carried, owner, self.m.call("paddle", maker), slot, value, uses)

    def _beside_first(self) -> list[Call]:
        """Return torch's first calls and the next, those before others that are given what Paddle's first ones are."""
        kinds = self.m.entering("paddle", self.p.first["paddle"])
        return sorted(self.p.near["torch"], key=lambda call: not self.m.entering("torch", [call]) & kinds)

    def _of_partners(self, uses: Sequence[tuple[Call, int]]) -> list[tuple[Call | None, int, Call | None]]:
        """Return what is given, in the same places, to torch's calls that stand for Paddle's.

        Only what is made by a call with weights that Paddle has made by then, too: else it is missing, not elsewhere; or
        by a module that Paddle has and does not run, however much that computes.
        """
        found: list[tuple[Call | None, int, Call | None]] = []
        for user, place in uses:
            owner = self.m.standing_for(user)
            if owner is None or owner in self.p.first["torch"] or place >= len(owner.given):
                continue
            maker = self.m.call("torch", owner.given[place].maker)
            region = self._reach("torch", maker) if maker is not None else []
            if maker is not None and owner.name != RETURN and self.m.is_made_before(region, user):
                found.append((maker, owner.given[place].value, owner))
            elif _is_module(self.m, region):
                found.append((maker, owner.given[place].value, None))
        return found

    def _reach(self, side: str, call: Call) -> list[Call]:
        if (side, call.index) not in self._reached:
            self._reached[side, call.index] = self.m.reach(side, call, self.p.look)
        return self._reached[side, call.index]

    def _result(self, source: Call, torch: Call, paddle: Call, values: Values, apart: int) -> Candidate:
        regions = self._reach("torch", torch), self._reach("paddle", paddle)
        if source.part:
            return self._step(source, paddle, values, (tuple(regions[0]), tuple(regions[1])))
        shared = _overlap(self.m.entering("torch", regions[0]), self.m.entering("paddle", regions[1]))
        value, own = next((a, b) for a, b in zip(values, paddle.made, strict=False) if a is not None)
        alike = likeness(self.m.canonical("torch", value), self.m.canonical("paddle", own), turned=not self.p.strict)
        named = base(source.name) == base(paddle.name)
        lines = _count_lines(self.m, *regions)
        if source.name in STEPS and shared == len(regions[0]) == 1 and not named:
            # The other side may compute it on many lines.
            lines = min(lines, _FUSED)
        cost = lines - 0.5 * alike - 0.4 * named - 0.7 * shared - 0.1 * (torch.module == paddle.module)
        cost += 0.02 * apart + self.p.out_of_order(torch, paddle) + _LOOSE * (not self.p.strict)
        regions_ = (tuple(regions[0]), tuple(regions[1]))
        return Candidate(source, paddle, (paddle,), False, (values,), self.p.strict, regions_, cost)

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
        cost += _LOOSE * (not self.p.strict)
        return Candidate(source, paddle, (paddle,), False, (values,), self.p.strict, regions, cost)

    def _argument(
        self, torch: Call | None, carried: int, owner: Call | None, paddle: Call | None, slot: int, value: int,
        uses: Sequence[tuple[Call, int]],
    ) -> Iterator[Candidate]:  # fmt: skip
        """Another tensor for some calls' argument; and for all that are given the same."""
        region = self._reach("torch", torch) if torch is not None and owner is None else []
        enters = bool(region) and self.m.kind("paddle", value) in self.m.entering("torch", region)
        alike = owner is not None and base(owner.name) in {base(user.name) for user, _ in uses}
        if not self.p.fits(carried, value, free=enters or alike):
            return
        lines = _count_lines(self.m, region, [])
        beside = len(region) > 1 and torch is not None and not torch.part and self._is_beside(torch, uses)
        beside = beside or self._is_branch(region, value)
        if beside:
            lines = min(lines, _BESIDE)
        cost = (
            lines
            + 1.2
            - 0.2 * enters
            - 0.5 * (len(region) == 1 or self.p.ends_line(torch, region) or _is_module(self.m, region))
            - self._speaks(torch, paddle, owner, uses, enters)
        )
        cost += 0.6 * is_constant(self.m.of["torch"].values[carried].features) + 0.4 * (owner is not None)
        cost += 0.1 * len({user.index for user, _ in uses}) - 0.1 * self.p.in_place_of(torch, carried, uses)
        if torch is not None and torch.part:  # given to what takes it, it is what Paddle has not computed yet
            takes = GIVEN_TO.get(torch.name.partition(": ")[2], ())
            given_to = len(region) == 1 and any(base(user.name) in takes for user, _ in uses)
            cost += -1.3 if given_to else _STEP
        if torch is not None and _is_module(self.m, region):  # nobody else is given what is made inside of it
            inside, users = self.m.skipped(torch.module), self.m.users("torch", torch.index)
            twins = [twin for user, _ in uses if (twin := self.m.standing_for(user)) is not None]
            cost += _INSIDE * all(self.m.skipped(user.module) == inside for user in users)
            cost -= _FEEDS * any(given.value == carried for twin in twins for given in twin.given)
        elif len(region) == 1 and torch is not None:  # Paddle has such a call there: it is that
            nexts = [user for user, _ in uses] + [one for user, _ in uses for one in self.m.users("paddle", user.index)]
            cost += 0.5 * any(base(user.name) == base(torch.name) for user in nexts)
        elif {base(call.name) for call in region[:-1]} & {base(user.name) for user, _ in uses}:
            cost += 0.5
        cost += (self.p.out_of_order(torch, paddle) if owner is None else 0.0) + _LOOSE * (not self.p.strict)
        if paddle is not None and is_in_place(paddle):  # it was written over
            cost -= _WRITTEN * any(self.m.same(Given(carried), given) for given in paddle.given)
        regions: tuple[tuple[Call, ...], tuple[Call, ...]] = (tuple(region), ())
        users = list(dict.fromkeys(user for user, _ in uses))
        if paddle is not None and slot < results(paddle):
            more = {user.index for user in self.m.users("paddle", paddle.index)} - {user.index for user in users}
            if more or len(self.m.alike("paddle", paddle)) > 1 or any(user.name == RETURN for user in users):
                cut = torch if owner is None and torch is not None and one_function(torch.name, paddle.name) else None
                if cut is not None and len(cut.made) == len(paddle.made) > 1:  # all parts of another value
                    parts = (tuple(cut.made),)
                    yield Candidate(cut, paddle, (paddle,), False, parts, self.p.strict, regions, cost + 0.04)
                slots = (only(paddle, slot, carried),)
                runs = [len(self.m.alike("paddle", call)) for call in (paddle, users[0])]
                wider = owner is None and runs[0] > runs[1]  # what is missing is so after every run of the line
                yield Candidate(
                    torch, paddle, (paddle,), False, slots, self.p.strict, regions,
                    cost + (-0.05 if wider else 0.05), owner=owner,
                )  # fmt: skip
        if any(user.name == RETURN for user in users):
            return
        if owner is not None and paddle is not None and self._stands(owner, users[0]):
            yield from self._handed_together(torch, carried, owner, paddle, slot, users, cost - 0.05)
        once = list({(user.name, user.places[:1]): user for user in reversed(users)}.values())[::-1]
        for some in [users] if len(once) == len(users) else [users, once]:
            values = []
            for user in some:
                places = {place for one, place in uses if one is user}
                values.append(tuple(carried if place in places else None for place in range(len(user.given))))
            yield Candidate(torch, paddle, tuple(some), True, tuple(values), self.p.strict, regions, cost, owner=owner)
        twice = next((user for user in users if [one for one, _ in uses].count(user) > 1), None)
        if len(users) == 1 and twice is not None and (alike or beside):  # ``x + x``, torch's one that is x
            slots = (tuple(carried if place == uses[-1][1] else None for place in range(len(twice.given))),)
            yield Candidate(torch, paddle, (twice,), True, slots, self.p.strict, regions, cost - 0.1, owner=owner)

    def _is_beside(self, torch: Call, uses: Sequence[tuple[Call, int]]) -> bool:
        """Whether torch's value goes into a call as one of Paddle's that is given the same besides."""
        for one in self.m.users("torch", torch.index):
            for user, place in uses:
                if base(one.name) != base(user.name) or len(one.given) != len(user.given):
                    continue
                others = [pair for i, pair in enumerate(zip(one.given, user.given, strict=True)) if i != place]
                computed = [mine for mine, _ in others if mine.maker >= 0 and not self.m.is_lone("torch", mine.value)]
                here = one.given[place].maker == torch.index
                if here and computed and all(self.m.same(mine, theirs) for mine, theirs in others):
                    return True
        return False

    def _is_branch(self, region: Sequence[Call], value: int) -> bool:
        """Whether torch's calls are a module that Paddle has and does not run, and one that joins its result to this."""
        joined = len(region) > 1 and _is_module(self.m, region[:-1]) and len(region[-1].given) > 1
        return joined and self.m.kind("paddle", value) in {self.m.kind("torch", g.value) for g in region[-1].given}

    def _handed_together(
        self, torch: Call | None, carried: int, owner: Call, paddle: Call, slot: int, users: Sequence[Call], cost: float
    ) -> Iterator[Candidate]:
        """Another tensor for all that is given a value inside a module around some calls, which is handed it."""
        known, everyone = len(users), self.m.users("paddle", paddle.index)
        path = users[0].module
        while path:
            path = path.rpartition(".")[0]
            inside = [one for one in everyone if one.name != RETURN and f"{one.module}.".startswith(f"{path}.")]
            if known < len(inside) < len(everyone) and path:
                known = len(inside)
                values = tuple(
                    tuple(carried if (g.maker, g.slot) == (paddle.index, slot) else None for g in one.given)
                    for one in inside
                )
                yield Candidate(torch, paddle, tuple(inside), True, values, self.p.strict, ((), ()), cost, owner=owner)

    def _stands(self, owner: Call, user: Call) -> bool:
        return owner not in self.p.first["torch"] and self.m.standing_for(user) is owner

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
        if owner is not None and self._stands(owner, uses[0][0]):
            found = max(found, _STANDS)
        elif owner is not None:  # the value agrees: where it is given to a call alike, that is the other tensor
            found = max(found, 0.5 * (base(owner.name) in {base(user.name) for user, _ in uses}))
        return found


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


def _overlap(one: set[tuple[str, int]], other: set[tuple[str, int]]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0
