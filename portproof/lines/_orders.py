"""Where values may be in each other's places, or in another order: of arguments, of parts, of elements."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from portproof.lines._calls import RETURN, Call, Given
from portproof.lines._candidate import Candidate
from portproof.lines._match import LAYOUT, PRODUCTS, base
from portproof.lines._parting import Parting, only, results

#: What speaks against a value that is arranged where what follows agrees.
_UNARRANGED = 1.7
#: What two values in each other's places cost.
_CROSSED = 0.9
#: Calls from the product of attention to that of its weights, at most: scale, mask, softmax and what arranges them.
_TO_WEIGHTS = 8


class Orders:
    """Candidates that put values in another order.

    Args:
        parting: where it is looked for them.
    """

    def __init__(self, parting: Parting) -> None:
        self.p, self.m = parting, parting.m

    def all(self) -> Iterator[Candidate]:
        """Return all that there are."""
        yield from self.reordered()
        yield from self.crossed()
        yield from self.unarranged()

    def crossed(self) -> Iterator[Candidate]:
        """Two values that reach the operands of products in each other's places, through layouts and factors."""
        if not self.p.strict:
            return
        operands = {
            side: [(call, found) for call in calls if (found := self._operands(side, call))]
            for side, calls in self.p.near.items()
        }
        for (torch, mine), (_, theirs) in itertools.product(operands["torch"], operands["paddle"]):
            kinds = {
                role: (self.m.kind("torch", mine[role].value), self.m.kind("paddle", theirs[role].value))
                for role in mine.keys() & theirs.keys()
            }
            for one, other in itertools.combinations(sorted(kinds), 2):
                if kinds[one] == kinds[other][::-1] and kinds[one][0] != kinds[one][1]:
                    yield from self._exchanged(torch, [(kinds[role][0], theirs[role]) for role in (one, other)])

    def _exchanged(self, torch: Call, places: Sequence[tuple[tuple[str, int], Given]]) -> Iterator[Candidate]:
        """The values of two kinds, each in the place of what Paddle's calls are given for it."""
        first, second = (self.m.call("paddle", given.maker) for _, given in places)
        values = [self.m.in_shape(kind, self.m.of["paddle"].values[given.value].shape) for kind, given in places]
        source = self.m.maker("torch", values[0]) if values[0] is not None else None
        if first is None or second is None or source is None or None in values:
            return
        slots = {(given.maker, given.slot): value for (_, given), value in zip(places, values, strict=True)}
        targets = tuple(dict.fromkeys([first, second]))
        exchanged = tuple(
            tuple(slots.get((target.index, slot)) for slot in range(results(target))) for target in targets
        )
        yield Candidate(source, first, targets, False, exchanged, True, ((), ()), _CROSSED, owner=torch)

    def _operands(self, side: str, call: Call) -> dict[str, Given]:
        """Return what a product multiplies, and what the weights made of it, before it is arranged and scaled."""
        first = PRODUCTS.get(base(call.name))
        if first is None or len(call.given) < first + 2:
            return {}
        found = {"query": call.given[first], "key": call.given[first + 1]}
        if base(call.name) == "scaled_dot_product_attention":
            return {role: self.m.unarranged(side, given) for role, given in (found | {"value": call.given[2]}).items()}
        for _ in range(_TO_WEIGHTS):
            nexts = [user for user in self.m.users(side, call.index) if user.name != RETURN]
            if not nexts:
                break
            if base(nexts[0].name) == "matmul" and nexts[0].given[0].maker == call.index:
                found["value"] = nexts[0].given[1]
                break
            call = nexts[0]
        return {role: self.m.unarranged(side, given) for role, given in found.items()}

    def reordered(self) -> Iterator[Candidate]:
        """Results that calls are given in each other's places: of one call, or of two."""
        wrong: dict[tuple[int, int], tuple[Given, Call]] = {}
        users: dict[tuple[int, int], set[int]] = {}
        for paddle in self.p.first["paddle"]:
            for torch in self.p.first["torch"]:
                if base(torch.name) != base(paddle.name) or len(torch.given) != len(paddle.given):
                    continue
                pairs = list(zip(torch.given, paddle.given, strict=True))
                differ = [(mine, theirs) for mine, theirs in pairs if not self.p.equal(mine.value, theirs.value)]
                if len(differ) < len(pairs) or len(pairs) <= 2:
                    for mine, theirs in differ:
                        if theirs.maker >= 0 and self.p.fits(mine.value, theirs.value):
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
                crossed = self.p.equal(mine.value, twin.made[there]) and self.p.equal(theirs.value, maker.made[slot])
                if crossed and there < results(twin) and slot < results(maker):
                    values = only(maker, slot, mine.value), only(twin, there, theirs.value)
                    alone = users[index, slot] == users[other, there]  # then its own operands may be turned round
                    cost = _CROSSED * (1 + alone)
                    yield Candidate(
                        source, maker, (maker, twin), False, values, self.p.strict, ((), ()), cost, owner=owner
                    )  # fmt: skip

    def unarranged(self) -> Iterator[Candidate]:
        """What torch's first calls only arrange, in the place of what they are given, wherever Paddle makes that.

        Without it what follows may agree by chance: a cut undoes a concatenation that should have been shuffled.
        """
        for torch in self.p.first["torch"]:
            if base(torch.name) not in LAYOUT or len(torch.given) != 1 or len(torch.made) != 1 or not self.p.strict:
                continue
            kind, arranged = self.m.kind("torch", torch.given[0].value), self.m.of["torch"].values[torch.given[0].value]
            for paddle in self.m.of["paddle"].calls:
                made = self.m.of["paddle"].values[paddle.made[0]] if results(paddle) == 1 and not paddle.part else None
                if made is None or self.m.kind("paddle", paddle.made[0]) != kind or made.shape != arranged.shape:
                    continue
                nexts = {base(user.name) for user in self.m.users("paddle", paddle.index)}
                alike = bool(nexts & {base(user.name) for user in self.m.users("torch", torch.index)})
                cost = _UNARRANGED - 0.3 * alike - 0.3 * (self.m.partner(torch.module) == paddle.module)
                yield Candidate(
                    torch, paddle, (paddle,), False, ((torch.made[0],),), self.p.strict, ((torch,), ()), cost
                )  # fmt: skip

    def _slots(self, source: Call, maker: Call, slot: int, mine: Given, owner: Call) -> Iterator[Candidate]:
        """All results of torch's call in its order; and Paddle's with two of them exchanged."""
        if not all(self.p.equal(one, other) for one, other in zip(source.made, maker.made, strict=True)):
            yield Candidate(
                source, maker, (maker,), False, (tuple(source.made),), self.p.strict, ((), ()), 0.3, owner=owner
            )  # fmt: skip
            return
        if mine.slot != slot and max(mine.slot, slot) < len(source.made):
            values = [*source.made]
            values[slot], values[mine.slot] = values[mine.slot], values[slot]
            yield Candidate(source, maker, (maker,), False, (tuple(values),), self.p.strict, ((), ()), 0.4, owner=owner)
