"""The line of Paddle's on which a call comes to another tensor than torch's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portproof.lines._calls import RETURN, Call, Given
from portproof.lines._gap import Blamed, Gap, each
from portproof.lines._match import LAYOUT, PRODUCTS, Matched, base, is_in_place, is_one_shape, one_function
from portproof.lines._other import OtherTensor, other_tensor
from portproof.lines._values import is_constant


class Elsewhere(Gap):
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
            each((found.place, *found.others)), each((*beside, *places)), (torch, paddle), (modules,),
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
        return replace(self._pair(mine, theirs), certain=is_given_alike(self.m, mine, theirs))

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


def _is_one_product(one: Call, other: Call) -> bool:
    """Whether two calls are of one function, or both multiply matrices."""
    return base(one.name) == base(other.name) or {base(one.name), base(other.name)} <= PRODUCTS.keys()


def is_given_alike(m: Matched, torch: Call, paddle: Call) -> bool:
    """Whether two calls are of one function and given the same: then it is they that differ."""
    same = m.entering("torch", [torch]) == m.entering("paddle", [paddle])
    return same and base(torch.name) == base(paddle.name)


def _writes(call: Call, given: Given) -> bool:
    """Whether a call wrote what is given in place."""
    return bool(
        is_in_place(call) or given.slot >= len(call.made) - call.written or call.arguments.get("inplace") == "True"
    )
