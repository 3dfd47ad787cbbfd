"""Where a value of torch's may be carried into Paddle's run, and in which other calls the same lines run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portproof.lines._calls import Call
from portproof.lines._match import Matched, base
from portproof.lines._recorder import Carried

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

        A line of a block is in all blocks of its class; where they are right, nothing changes. Where another fault
        has made a block's values larger or smaller than torch's, nothing is exchanged.
        """
        found: dict[int, Carried] = {}
        fits = self._in_shape(matched, self.targets, self.values)
        for source, targets in self.family(matched):
            for call, values in zip(targets, self.values, strict=True):
                own = values if source is None else self._of(matched, source, values)
                if fits and not self._in_shape(matched, (call,), (own,)):
                    continue
                if any(value is not None and not matched.of["torch"].values[value].file for value in own):
                    continue  # too large to be carried
                files = tuple(None if value is None else matched.file("torch", value) for value in own)
                found[call.index] = Carried(call.index, files, self.strict, self.given)
        return list(found.values())

    def family(self, matched: Matched) -> list[tuple[Call | None, tuple[Call, ...]]]:
        """Return the calls of the same lines, torch's with Paddle's; this candidate's own alone where they do not pair.

        torch's is None for this candidate's own.
        """
        found = self._of_one_line(matched)
        return found if len(found) > 1 else self._of_owners(matched) or self._of_skipped(matched) or found

    def _of_owners(self, matched: Matched) -> list[tuple[Call | None, tuple[Call, ...]]]:
        """Return what torch's calls on the owner's line are given, each with Paddle's call that should be given it.

        The first block of a model has its input from elsewhere. Empty where the calls do not pair.
        """
        own, owner = self.torch, self.owner
        if own is None or owner is None or not self.given or len(self.targets) > 1:
            return []
        owners, targets = matched.alike("torch", owner), matched.alike("paddle", self.targets[0])
        place = next((i for i, given in enumerate(owner.given) if given.value in own.made), None)
        if place is None or len(owners) != len(targets) or owners.index(owner) != targets.index(self.targets[0]):
            return []
        rows: list[tuple[Call | None, tuple[Call, ...]]] = []
        for one, target in zip(owners, targets, strict=True):
            given = one.given[place] if place < len(one.given) else None
            maker = matched.call("torch", given.maker) if given is not None else None
            if given is None or maker is None or own.made.index(owner.given[place].value) != given.slot:
                return []
            rows.append((None if one is owner else maker, (target,)))
        return rows if len(rows) > 1 else []

    def _of_skipped(self, matched: Matched) -> list[tuple[Call | None, tuple[Call, ...]]]:
        """Return what modules make in the end that Paddle has, too, and does not run: each after a run of one line.

        What such a module computes need not be the same everywhere: an activation is in one of them and not in others.
        """
        own, target = self.torch, self.targets[0]
        skipped = matched.skipped(own.module) if own is not None else None
        before = matched.partner_of(target.module)
        if own is None or skipped is None or before is None or self.given or len(self.targets) > 1:
            return []
        around, _, name = skipped.rpartition(".")
        if before.rpartition(".")[0] != around:
            return []
        rows: list[tuple[Call | None, tuple[Call, ...]]] = []
        for call in matched.alike("paddle", target):
            twin = matched.partner_of(call.module)
            last = matched.last_in(f"{twin.rpartition('.')[0]}.{name}".strip(".")) if twin is not None else None
            if last is not None and matched.skipped(last.module) is not None:
                rows.append((None if last.index == own.index else last, (call,)))
        one_each = len({source for source, _ in rows}) == len(rows)  # else they are all beside one such module
        return rows if (None, self.targets) in rows and len(rows) > 1 and one_each else []

    def _of_one_line(self, matched: Matched) -> list[tuple[Call | None, tuple[Call, ...]]]:
        """Return the calls on the lines of this candidate's own."""
        alone: list[tuple[Call | None, tuple[Call, ...]]] = [(None, self.targets)]
        if self.torch is None:
            return alone
        torch = matched.alike("torch", self.torch)
        if any(value is not None and not self._alike(matched, value) for values in self.values for value in values):
            return alone
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
        elif self.owner is not None:
            blocks = len(matched.alike("torch", self.owner))
            torch = _once_each(torch, self.torch, blocks)
            paddle = [_once_each(calls, call, blocks) for calls, call in zip(paddle, self.targets, strict=True)]
        mine = torch.index(self.torch)
        if any(len(calls) != len(torch) for calls in paddle) or len(torch) < 2:
            return alone
        if any(
            call not in calls or calls.index(call) != mine for calls, call in zip(paddle, self.targets, strict=True)
        ):
            return alone
        anyhow = bool(self.regions[0]) or len(self.targets) > 1
        rows = [row for row in zip(torch, *paddle, strict=True) if anyhow or self._is_made_alike(matched, row[1])]
        return [(None if row[0] is self.torch else row[0], tuple(row[1:])) for row in rows]

    def _is_made_alike(self, matched: Matched, target: Call) -> bool:
        """Whether a call is given what functions of the same names make as for this candidate's own."""
        makers = (
            [matched.call("paddle", given.maker) for given in call.given[:1]] for call in (self.targets[0], target)
        )
        own, other = ([base(maker.name) if maker is not None else "" for maker in some] for some in makers)
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
            if before is None or base(missing.name) in {
                base(user.name) for user in matched.users("paddle", before.index)
            }:
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

    def _of(self, matched: Matched, source: Call, values: Values) -> Values:
        """Return another call's values in the places of this one's."""
        assert self.torch is not None
        others = dict(zip(self.torch.made, source.made, strict=False))
        alike = matched.alike("torch", self.torch)
        for value in {one for one in values if one is not None and one not in others}:
            maker, calls = self._alike(matched, value) or (self.torch, alike)
            at = calls.index(maker) + alike.index(source) - alike.index(self.torch)
            others |= dict(zip(maker.made, calls[at % len(calls)].made, strict=False))
        return tuple(None if value is None else others.get(value) for value in values)

    def _alike(self, matched: Matched, value: int) -> tuple[Call, list[Call]] | None:
        """Return the call that makes a value, and the calls alike, if they are as many as those of torch's.

        None where they are not.
        """
        assert self.torch is not None
        own = matched.alike("torch", self.torch)
        if value in self.torch.made:
            return self.torch, own
        maker = matched.maker("torch", value)
        calls = matched.alike("torch", maker) if maker is not None else []
        return (maker, calls) if maker is not None and len(calls) == len(own) else None

    def key(self, matched: Matched) -> tuple[object, ...]:
        """Return what is the same for candidates that a run cannot tell apart."""
        at = tuple((one.call, one.files) for one in self.carried(matched))
        in_shape = self._in_shape(matched, self.targets, self.values)
        return (at, self.given, self.strict and not in_shape)

    def _in_shape(self, matched: Matched, targets: Sequence[Call], exchanged: Sequence[Values]) -> bool:
        """Whether every value has the shape of what it replaces."""
        torch, paddle = matched.of["torch"].values, matched.of["paddle"].values
        return all(torch[mine].shape == paddle[own].shape for mine, own in self.pairs(targets, exchanged))

    def pairs(self, targets: Sequence[Call], exchanged: Sequence[Values]) -> list[tuple[int, int]]:
        """Return values of torch's and those of Paddle's in whose place they stand."""
        return [
            (mine, own)
            for call, values in zip(targets, exchanged, strict=True)
            for mine, own in zip(values, (one.value for one in call.given) if self.given else call.made, strict=False)
            if mine is not None
        ]


def _once_each(calls: list[Call], call: Call, blocks: int) -> list[Call]:
    """Return every block's run of a line that runs as often in each (a helper for query, key and value)."""
    runs = len(calls) // blocks
    return calls[calls.index(call) % runs :: runs] if runs > 1 and runs * blocks == len(calls) else calls


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
