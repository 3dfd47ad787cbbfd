"""From what was carried over to the two lines that are to be looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from portproof._numbers import Array
from portproof.lines._calls import Call, Given, Place
from portproof.lines._candidate import Candidate
from portproof.lines._elsewhere import Elsewhere, is_given_alike
from portproof.lines._gap import Blamed, each
from portproof.lines._match import LAYOUT, Matched, base, one_function
from portproof.lines._other import other_tensor
from portproof.lines._stacks import on_line
from portproof.lines._unsure import is_mirrored, is_negated, is_turned, readers, rests_on_a_number
from portproof.lines._ways import Ways


def blame(candidate: Candidate, matched: Matched) -> Blamed:
    """Return the lines of a repair."""
    blamed = _Blame(candidate, matched, Ways(matched)).blamed()
    negated = is_negated(candidate, matched)
    if negated:
        blamed = replace(blamed, paddle=each((*blamed.paddle[:1], *readers(candidate, matched), *blamed.paddle[1:])))
    unsure = negated or any(found(candidate, matched) for found in (rests_on_a_number, is_mirrored))
    if unsure or (not candidate.strict and is_turned(candidate, matched)):
        blamed = replace(blamed, certain=False)
    family = candidate.family(matched)
    if len(family) < 2:
        return blamed
    modules = [(targets[0].module, source.module) for source, targets in family if source is not None]
    return replace(blamed, modules=tuple(dict.fromkeys([*blamed.modules, *modules])), times=len(family))


class _Blame(Elsewhere):
    def blamed(self) -> Blamed:
        if self.c.regions[1]:
            return self._arranges_another() or (self._results() if self.c.regions[0] else self._extra())
        elsewhere = self._handed_elsewhere() if not (self.c.given or self.c.regions[0]) else None
        if elsewhere is not None:
            return elsewhere
        if self._is_other_maker():
            assert self.c.torch is not None
            assert self.c.paddle is not None
            found = self._passed(self.c.torch, self.c.paddle)
            same = is_given_alike(self.m, self.c.torch, self.c.paddle)
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
                    torches = each((beside, *found.torch)) if beside is not None else found.torch
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
            found = replace(found, torch=each((*self.at.places("torch", [self.c.torch]), *found.torch)))
        kinds = [self.m.entering(side, calls) for side, calls in zip(("torch", "paddle"), self.c.regions, strict=True)]
        alike = (one and kinds[0] == kinds[1] != set()) or is_given_alike(self.m, best[2], best[3])
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

    def _arranges_another(self) -> Blamed | None:
        """Where both sides only arrange a tensor of one shape, and not the same one: where Paddle comes to its own."""
        if self.c.torch is None or self.c.torch.part or max(map(len, self.c.regions)) > 1:
            return None
        mine, theirs = self._arranged("torch", self.c.torch), self._arranged("paddle", self.c.regions[1][0])
        if mine is None or theirs is None:
            return None
        (owner, right), (user, wrong) = mine, theirs
        shapes = self.m.of["torch"].values[right.value].shape, self.m.of["paddle"].values[wrong.value].shape
        if shapes[0] != shapes[1] or self.m.same(right, wrong):
            return None
        found = other_tensor(self.ways, right, owner, wrong, user)
        return None if found is None else self._other(found, owner, user)

    def _arranged(self, side: str, call: Call) -> tuple[Call, Given] | None:
        """Return what a call and those before it only arrange, and the first of them; None where it computes."""
        first = None
        while base(call.name) in LAYOUT and len(call.given) == 1:
            first, maker = call, self.m.call(side, call.given[0].maker)
            if maker is None:
                break
            call = maker
        return None if first is None else (first, first.given[0])

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


def _rounded(array: Array) -> list[float]:
    """Return numbers that are the same on both sides where they are one."""
    return [float(text) for text in np.char.mod("%.8g", array.ravel().astype(np.float64))]


def _firsts(calls: Sequence[Call]) -> list[Call]:
    """Return those of some calls that are given nothing that another of them makes."""
    inside = {call.index for call in calls}
    return [call for call in calls if not any(given.maker in inside for given in call.given)]
