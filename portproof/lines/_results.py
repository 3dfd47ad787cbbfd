"""Candidates in the place of results: calls that compute something else, and calls that only Paddle makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from portproof.lines._calls import Call
from portproof.lines._candidate import Candidate, Values
from portproof.lines._match import base
from portproof.lines._parting import LOOSE, NEXT, Parting, count_lines, overlap, results
from portproof.lines._steps import STEPS, STEPS_AS
from portproof.lines._values import likeness

#: Lines that a fused function counts for, and what Paddle computes in its place, at most.
_FUSED = 2.2
#: What speaks against a call too many where torch's next call is not known.
_NOBODY = 0.2
#: What speaks against two calls in modules that stand for others.
_APART = 0.2
#: What speaks against the result of a product whose operands are in each other's places: they may be what is wrong.
_TURNED = 0.3


class Results:
    """Candidates in the place of results: calls that compute something else, or that only Paddle makes.

    Args:
        parting: where it is looked for them.
    """

    def __init__(self, parting: Parting) -> None:
        self.p, self.m = parting, parting.m

    def all(self) -> Iterator[Candidate]:
        """Return all that there are."""
        yield from self.results()
        yield from self.extra()

    def results(self) -> Iterator[Candidate]:
        """Results that differ, each of torch's beside each of Paddle's."""
        for theirs, paddle in enumerate(self.p.near["paddle"]):
            count = results(paddle)
            for mine, torch in enumerate(self.p.near["torch"]):
                for source in self.p.with_steps(torch):
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
            region = self.p.reach("paddle", paddle)
            kinds = self.m.entering("paddle", region)
            for user in dict.fromkeys([*self.p.first["torch"], *self.p.near["torch"]]):
                later = user not in self.p.first["torch"]
                for given in user.given:
                    enters = self.m.kind("torch", given.value) in kinds
                    if self.p.fits(given.value, paddle.made[0], free=enters) and (enters or not later):
                        cost = (
                            0.3 * later
                            + 1.3
                            + count_lines(self.m, [], region)
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
                cost = 1.3 + count_lines(self.m, [], region) - 0.9 - 0.5 + _NOBODY
                yield Candidate(
                    source, paddle, (paddle,), False, ((value,),), self.p.strict, ((), tuple(region)), cost
                )  # fmt: skip

    def _result(self, source: Call, torch: Call, paddle: Call, values: Values, apart: int) -> Candidate:
        regions = self.p.reach("torch", torch), self.p.reach("paddle", paddle)
        if source.part:
            return self._step(source, paddle, values, (tuple(regions[0]), tuple(regions[1])))
        shared = overlap(self.m.entering("torch", regions[0]), self.m.entering("paddle", regions[1]))
        value, own = next((a, b) for a, b in zip(values, paddle.made, strict=False) if a is not None)
        alike = likeness(self.m.canonical("torch", value), self.m.canonical("paddle", own), turned=not self.p.strict)
        named = base(source.name) == base(paddle.name)
        lines = count_lines(self.m, *regions)
        if source.name in STEPS and shared == len(regions[0]) == 1 and not named:
            # The other side may compute it on many lines.
            lines = min(lines, _FUSED)
        cost = lines - 0.5 * alike - 0.4 * named - 0.7 * shared + self._apart(torch, paddle)
        cost += (
            0.02 * apart
            + _TURNED * self.m.is_crossed(torch, paddle)
            + self.p.out_of_order(torch, paddle)
            + LOOSE * (not self.p.strict)
        )
        regions_ = (tuple(regions[0]), tuple(regions[1]))
        return Candidate(source, paddle, (paddle,), False, (values,), self.p.strict, regions_, cost)

    def _apart(self, torch: Call, paddle: Call) -> float:
        """Return what speaks against two calls in modules that stand for others; less than nothing in a pair."""
        partner = self.m.partner(torch.module)
        if partner == paddle.module:
            return -0.1
        return _APART if partner is not None and self.m.partner_of(paddle.module) is not None else 0.0

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
        cost = 0.8 + count_lines(self.m, before, regions[1]) - 0.5 * named - 0.7 * enters
        cost += LOOSE * (not self.p.strict)
        return Candidate(source, paddle, (paddle,), False, (values,), self.p.strict, regions, cost)
