"""Candidates in the place of arguments: another tensor for what Paddle's first calls are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from portproof.lines._calls import RETURN, Call, Given
from portproof.lines._candidate import Candidate
from portproof.lines._match import base, is_in_place, one_function
from portproof.lines._parting import LOOSE, NEXT, Parting, count_lines, is_module, only, overlap, results
from portproof.lines._steps import GIVEN_TO
from portproof.lines._values import is_constant

#: What speaks for the argument of the call that stands for Paddle's by its weights.
_STANDS = 1.1
#: What speaks against a value that a module that never runs makes on its way.
_INSIDE = 1.0
#: What speaks for what such a module makes in the end, where torch's call that stands for Paddle's is given it.
_FEEDS = 0.5
#: What speaks against a step of a fused function where the whole of it may be missing.
_STEP = 0.3
#: What speaks for the value that a tensor had before Paddle wrote into it.
_WRITTEN = 0.4
#: Lines that count where the value goes into a call that both sides make, given the same besides: ``x + mlp(x)``.
_BESIDE = 1.0


class Arguments:
    """Candidates in the place of arguments.

    Args:
        parting: where it is looked for them.
    """

    def __init__(self, parting: Parting) -> None:
        self.p, self.m = parting, parting.m

    def all(self) -> Iterator[Candidate]:
        """Other values for what Paddle's first calls are given, which agrees with something of torch's."""
        sources: list[tuple[Call | None, int, Call | None]] = [
            (one, made, None)
            for torch in self._beside_first()[:NEXT]
            for one in self.p.with_steps(torch)
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

        Only what is made by a call with weights that Paddle has made by then, too (else it is missing, not elsewhere),
        or by a module that Paddle has and does not run, however much that computes.
        """
        found: list[tuple[Call | None, int, Call | None]] = []
        for user, place in uses:
            owner = self.m.standing_for(user)
            if owner is None or owner in self.p.first["torch"] or place >= len(owner.given):
                continue
            maker = self.m.call("torch", owner.given[place].maker)
            region = self.p.reach("torch", maker) if maker is not None else []
            if maker is not None and owner.name != RETURN and self.m.is_made_before(region, user):
                found.append((maker, owner.given[place].value, owner))
            elif is_module(self.m, region):
                found.append((maker, owner.given[place].value, None))
        return found

    def _argument(
        self, torch: Call | None, carried: int, owner: Call | None, paddle: Call | None, slot: int, value: int,
        uses: Sequence[tuple[Call, int]],
    ) -> Iterator[Candidate]:  # fmt: skip
        """Another tensor for some calls' argument; and for all that are given the same."""
        region = self.p.reach("torch", torch) if torch is not None and owner is None else []
        enters = bool(region) and self.m.kind("paddle", value) in self.m.entering("torch", region)
        alike = owner is not None and base(owner.name) in {base(user.name) for user, _ in uses}
        if not self.p.fits(carried, value, free=enters or alike):
            return
        lines, module = count_lines(self.m, region, []), is_module(self.m, region)
        beside = len(region) > 1 and torch is not None and not torch.part and self._is_beside(torch, uses)
        beside = beside or self._is_branch(region, value)
        if beside:
            lines = min(lines, _BESIDE)
        cost = (
            lines
            + 1.2
            - 0.2 * enters
            - 0.5 * (len(region) == 1 or self.p.ends_line(torch, region) or module)
            - self._speaks(torch, paddle, owner, uses, enters)
        )
        cost += 0.6 * is_constant(self.m.of["torch"].values[carried].features) + 0.4 * (owner is not None)
        cost += 0.1 * len({user.index for user, _ in uses}) - 0.1 * self.p.in_place_of(torch, carried, uses)
        if torch is not None and torch.part:  # given to what takes it, it is what Paddle has not computed yet
            takes = GIVEN_TO.get(torch.name.partition(": ")[2], ())
            given_to = len(region) == 1 and any(base(user.name) in takes for user, _ in uses)
            cost += -1.3 if given_to else _STEP
        if torch is not None and module:  # nobody else is given what is made inside of it
            inside, users = self.m.idle(torch.module), self.m.users("torch", torch.index)
            twins = [twin for user, _ in uses if (twin := self.m.standing_for(user)) is not None]
            cost += _INSIDE * all(self.m.idle(user.module) == inside for user in users)
            cost -= _FEEDS * any(given.value == carried for twin in twins for given in twin.given)
        elif len(region) == 1 and torch is not None:  # Paddle has such a call there: it is that
            nexts = [user for user, _ in uses] + [one for user, _ in uses for one in self.m.users("paddle", user.index)]
            cost += 0.5 * any(self._may_be(torch, value, user) for user in nexts)
        elif {base(call.name) for call in region[:-1]} & {base(user.name) for user, _ in uses}:
            cost += 0.5
        cost += (self.p.out_of_order(torch, paddle) if owner is None else 0.0) + LOOSE * (not self.p.strict)
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
        if owner is not None and paddle is not None and self.m.standing_for(users[0]) is owner:
            yield from self._handed_together(torch, carried, owner, paddle, slot, users, cost - 0.05)
        firsts = {(user.name, *self.m.lines("paddle", [user])): user for user in reversed(users)}
        once = list(firsts.values())[::-1]  # a line in every block, each of which torch may give another
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

    def _may_be(self, torch: Call, value: int, paddle: Call) -> bool:
        """Whether a call of Paddle's may be torch's: of its function, and given what that is given beside a value."""
        if base(torch.name) != base(paddle.name):
            return False
        kinds = self.m.entering("torch", [torch]) - {self.m.kind("paddle", value)}
        return not kinds or bool(kinds & self.m.entering("paddle", [paddle]))

    def _is_branch(self, region: Sequence[Call], value: int) -> bool:
        """Whether torch's calls are a module that Paddle has and does not run, and one that joins its result to it."""
        joined = len(region) > 1 and is_module(self.m, region[:-1]) and len(region[-1].given) > 1
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
            theirs = self.m.users("torch", torch.index) if torch is not None else []
            if owner in self.p.first["torch"] and len(theirs) < len(inside):
                continue  # torch's is given to fewer
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
            shared = overlap(self.m.entering("torch", [torch]), self.m.entering("paddle", [paddle]))
            found = max(found, 0.9 * shared)
        elif torch is None and paddle is None:
            found = max(found, 0.5)
        if owner is not None and self._stands(owner, uses[0][0]):
            found = max(found, _STANDS)
        elif owner is not None:  # the value agrees: where it is given to a call alike, that is the other tensor
            found = max(found, 0.5 * (base(owner.name) in {base(user.name) for user, _ in uses}))
        return found
