"""Lines of the forward whose backward differs: where gradients that agree become gradients that do not.

Both forwards are recorded in training mode, call by call, and their outputs pulled back from the same cotangents.
Values of the two sides are matched as in the search for a forward's lines; tensors that hold one value should have one
gradient. A call whose result's gradient agrees, and whose input's does not, hands it back otherwise; or it lets none
through, where the other side does. Nothing is exchanged, so a line is likely and never confirmed.
"""

from __future__ import annotations

import shutil
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import PortproofError
from portproof.judge._report import Culprit, Line, LinePair
from portproof.lines._calls import RETURN, Call, Given, Place
from portproof.lines._find import BYTES, partners
from portproof.lines._match import LAYOUT, Matched, base
from portproof.lockstep._flows import NOTHING, UNKNOWN, Flow, Flows
from portproof.lockstep._tasks import GradientTasks
from portproof.ports._inputs import take_rows
from portproof.sides._sides import Sides

#: Rows that are run, of large ones, and numbers from which on a row is large.
_ROWS, _FEW, _LARGE = 4, 2, 2**15
#: Pairs that are named for one module, and lines of one side of a pair.
_PAIRS, _LINES = 3, 3
#: Calls whose name alone says that no gradient goes through.
_DETACHING = {"detach": "detach()", "detach_": "detach_()", "data": ".data", "stop_gradient": "stop_gradient"}
_TITLES = {"torch": "torch", "paddle": "Paddle"}
#: How a call can be where the gradients part, the most telling first.
_CUT, _CUSTOM, _OTHERWISE, _ALONE = range(4)
#: Calls after one that only hands on a value that are looked at for one that the other side makes, too.
_NEXT = 6
_FACTOR = 1e-9


@dataclass(frozen=True)
class Parting:
    """A call where gradients part.

    Attributes:
        side: whose.
        call: the call.
        how: it lets none through, has a backward of its own, hands them back otherwise, or lets none through to a value
            that the other side does not have.
        bad: an argument of it whose gradient is another.
    """

    side: str
    call: Call
    how: int
    bad: int


def with_backward_lines(
    sides: Sides, keys: Mapping[str, dict[str, str]], weights: Mapping[str, Path], few: Path, seed: int,
    culprits: Sequence[Culprit],
) -> tuple[list[Culprit], list[str]]:  # fmt: skip
    """Add to culprits of the backward pass the lines of the forward where the gradients part.

    What goes wrong in the looking decides nothing: it is a note.

    Args:
        sides: both live, matched.
        keys: side to module path to the key that both share.
        weights: side to file.
        few: file of rows.
        seed: of cotangents and masks.
        culprits: of the backward pass; without any, the whole model is meant.
    """
    room = sides.sessions.room("backward-lines", 2 * BYTES)
    try:
        found = _Partings(*_recorded(sides, keys, weights, few, seed, room), partners(sides))
        if not culprits:
            pairs = found.pairs(None)
            text = "its forward hands gradients back otherwise"
            return [Culprit("unknown", "", "computes", "backward", text, lines=pairs)] if pairs else [], []
        return [
            replace(culprit, lines=found.pairs(culprit.module)) if culprit.kind == "computes" else culprit
            for culprit in culprits
        ], []
    except PortproofError as error:
        return list(culprits), [f"no lines of the backward pass: {error}"]
    except Exception as error:
        said = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
        return list(culprits), [f"no lines of the backward pass: the search failed, which is worth a report: {said}"]
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _recorded(
    sides: Sides, keys: Mapping[str, dict[str, str]], weights: Mapping[str, Path], few: Path, seed: int, room: Path
) -> tuple[dict[str, Flows], dict[str, Path]]:
    room.mkdir(parents=True, exist_ok=True)
    arrays, port = load_file(few), sides.sessions.located.port
    rows = [arrays[name] for name, declared in port.inputs.items() if declared.has_rows]
    most = _FEW if any(array[0].size > _LARGE for array in rows) else _ROWS
    kept = range(min([most, *map(len, rows)]))
    save_arrays(room / "rows.safetensors", take_rows(port, arrays, list(kept)) if rows else arrays)
    folders: dict[str, Path] = {side: room / side for side in sides.live}
    waiting: dict[str, Future[Flows]] = {
        side: sides.do(
            side, "recording gradients", GradientTasks.record_flows, keys=keys[side], inputs=room / "rows.safetensors",
            folder=folders[side], weights=weights[side], seed=seed, limit=BYTES,
        )
        for side in sides.live
    }  # fmt: skip
    found = {side: future.result() for side, future in waiting.items()}
    for side in sides.live:
        sides.do(side, "recording gradients", GradientTasks.forget).result()
    return found, folders


class _Partings:
    """Where the gradients of two recorded forwards part."""

    def __init__(self, flows: dict[str, Flows], folders: dict[str, Path], modules: Mapping[str, str]) -> None:
        self.flows = flows
        self.m = Matched({side: one.recording for side, one in flows.items()}, folders, partners=modules)
        self._modules = modules
        self._known: dict[str, dict[tuple[str, int], set[int]]] = {side: defaultdict(set) for side in flows}
        self._cuts: dict[str, set[tuple[str, int]]] = {side: set() for side in flows}
        for side in flows:
            for call in self._calls(side):
                for value, flow in (*self._given(side, call), *self._made(side, call)):
                    if flow.after and flow.gradient != UNKNOWN:
                        self._known[side][self.m.kind(side, value)].add(flow.gradient)
                if self._closes(side, call):
                    self._cuts[side] |= {self.m.kind(side, value) for value in call.made}
        self._every = {side: {call.index for call in self._calls(side)} for side in flows}
        self.partings = [parting for side in flows for parting in self._parting(side)]

    def pairs(self, module: str | None) -> tuple[LinePair, ...]:
        """Return the lines of a module, by torch's path: of its own forward, else of one inside it; None: of any."""
        for inside in (False, True):
            found = [one for one in self.partings if module is None or self._is_in(one, module, inside=inside)]
            if found:
                return self._pairs(found)
        return ()

    def _is_in(self, one: Parting, module: str, *, inside: bool) -> bool:
        path = module if one.side == "torch" else self._modules.get(module, module)
        running = {one.call.module, *(place.module for place in [self._place(one)] if place is not None)}
        if not inside:
            return path in running
        return not path or any(inner.startswith(f"{path}.") for inner in running)

    def _pairs(self, found: Sequence[Parting]) -> tuple[LinePair, ...]:
        how = min(one.how for one in found)
        best = [one for one in found if one.how == how]
        if how == _OTHERWISE:
            for wanted in (self._is_another, lambda one: not self._is_explained(one), _computes):
                best = [one for one in best if wanted(one)] or best
        best.sort(key=lambda one: (one.call.name not in _DETACHING, one.side, -one.call.index))
        lines: dict[tuple[str, str, int], list[Parting]] = defaultdict(list)
        for one in best:
            place = self._place(one)
            if place is not None:
                lines[one.side, place.file, place.line].append(one)
        groups = list(lines.values())
        if how == _OTHERWISE:  # one of them, or some: a gradient is the sum of what all of them hand back
            side = groups[0][0].side if groups else ""
            groups = [[one for group in groups if group[0].side == side for one in group]] if groups else []
        shown: set[int] = set()  # one pair for two functions that are each other's
        pairs: list[LinePair] = []
        for group in groups:
            beside = self._beside(group[0])
            if id(group[0].call) not in shown and len(pairs) < _PAIRS:
                pairs.append(self._pair(group))
                shown |= {id(beside)}
        return tuple(pairs)

    def _pair(self, group: Sequence[Parting]) -> LinePair:
        first = group[0]
        other = _other(first.side)
        mine = [place for one in group if (place := self._place(one)) is not None]
        beside = self._beside(first)
        twin = next((one for one in self.partings if one.call is beside), None)
        theirs = self._place(twin) if twin is not None else self._innermost(other, beside)
        shown = {
            first.side: tuple(dict.fromkeys(Line(first.side, p.file, p.line, p.text) for p in mine))[:_LINES],
            other: () if theirs is None else (Line(other, theirs.file, theirs.line, theirs.text),),
        }
        times = len([one for one in group if self._place(one) == mine[0]])
        return LinePair(shown["paddle"], shown["torch"], False, self._said(first, beside), times)

    def _said(self, one: Parting, beside: Call | None) -> str:
        mine, other = _TITLES[one.side], _TITLES[_other(one.side)]
        name = one.call.name.strip("_")
        if one.how in (_CUT, _ALONE):
            if one.call.name in _DETACHING:
                return f"{_DETACHING[one.call.name]} only in {mine}: no gradient goes through it"
            if any(flow.before for _, flow in self._made(one.side, one.call)):
                return f"what {name} makes here takes no gradient in {mine} (stop_gradient), it does in {other}"
            return f"{mine} computes {name} here without gradients, {other} with them"
        factor = self._factor(one)
        amount = f", {factor:.6g} times {other}'s" if factor else ""
        if one.how == _CUSTOM:
            return f"a backward of its own hands back another gradient in {mine}{amount}"
        if beside is not None and self._is_another(one):
            return f"{name} in {mine} where {other} has {beside.name.strip('_')}: the gradient is another{amount}"
        return f"{name} hands back another gradient in {mine}{amount}"

    def _is_another(self, one: Parting) -> bool:
        """Whether the other side makes what a call makes by another function, or has it from elsewhere."""
        makers = self._makers(one.side, one.call)
        makers = [call for call in makers if self._results_agree(_other(one.side), call)] or makers
        return base(one.call.name) not in LAYOUT and base(one.call.name) not in {base(call.name) for call in makers}

    def _is_explained(self, one: Parting) -> bool:
        """Whether another call that is given the same gets another gradient itself, and so hands another one back."""
        given = one.call.given[one.bad] if one.bad < len(one.call.given) else None
        if given is None:
            return False
        for user in self._calls(one.side):
            same = any((g.maker, g.slot, g.leaf) == (given.maker, given.slot, given.leaf) for g in user.given)
            made = self._made(one.side, user)
            if (
                same
                and user is not one.call
                and any(flow.after and self._fine(one.side, value, flow) is False for value, flow in made)
            ):
                return True
        return False

    def _factor(self, one: Parting) -> float | None:
        """Return how many times the other side's gradient comes back, where it is a multiple of it."""
        value, flow = self._given(one.side, one.call)[one.bad]
        theirs = self._known[_other(one.side)].get(self.m.kind(one.side, value), set())
        arrays = [self.m.array(_other(one.side), number) for number in sorted(theirs) if number >= 0]
        mine = self.m.array(one.side, flow.gradient) if flow.gradient >= 0 else None
        if mine is None or len(arrays) != 1 or arrays[0] is None or arrays[0].shape != mine.shape:
            return None
        scale = float((arrays[0] * arrays[0]).sum())
        factor = float((arrays[0] * mine).sum()) / scale if scale else 0.0
        near = np.abs(mine - factor * arrays[0]).max(initial=0.0) <= _FACTOR * np.abs(mine).max(initial=0.0)
        return factor if factor and near else None

    def _place(self, one: Parting) -> Place | None:
        """Return a call's line; of a custom function, where the model calls it."""
        places = [self.m.of[one.side].places[number] for number in one.call.places]
        if one.how == _CUSTOM and len(places) > 1:
            return places[1]
        return places[0] if places else None

    def _innermost(self, side: str, call: Call | None) -> Place | None:
        return self.m.of[side].places[call.places[0]] if call is not None and call.places else None

    def _beside(self, one: Parting) -> Call | None:
        """Return the other side's call that makes what this one makes, or what is made of what it closes."""
        wanted = [one.call]
        if self._hands_on(one):
            wanted = [*self.m.after(one.side, [one.call], self._every[one.side], _NEXT)[1:], one.call]
        found = (self._makers(one.side, call) for call in wanted)
        return next((makers[0] for makers in found if makers), None)

    def _makers(self, side: str, call: Call) -> list[Call]:
        """Return the other side's calls that make what a call makes, those first whose gradient agrees."""
        other = _other(side)
        kinds = {self.m.kind(side, value) for value in call.made}
        found = [
            one for one in self._calls(other)
            if one.places and any(self.m.kind(other, value) in kinds for value in one.made)
        ]  # fmt: skip
        return sorted(found, key=lambda one: not self._results_agree(other, one))

    def _hands_on(self, one: Parting) -> bool:
        """Whether what a call makes was there before, made on another line."""
        kinds = {self.m.kind(one.side, value) for value in one.call.made}
        makers = [
            call for call in self._calls(one.side)
            if call.index < one.call.index and any(self.m.kind(one.side, value) in kinds for value in call.made)
        ]  # fmt: skip
        leaf = any(given.leaf and self.m.kind(one.side, given.value) in kinds for given in one.call.given)
        own = self._lines(one.side, one.call)[:1]
        return leaf or bool(makers and own and own[0] not in self._lines(one.side, makers[-1]))

    def _lines(self, side: str, call: Call) -> list[tuple[str, int]]:
        places = [self.m.of[side].places[number] for number in call.places]
        return [(place.file, place.line) for place in places]

    def _parting(self, side: str) -> Iterator[Parting]:
        for call in self._calls(side):
            bad = [number for number in range(len(self._given(side, call))) if self._is_bad(side, call, number, set())]
            if not bad:
                continue
            if self._closes(side, call):
                end = self._opened(side, call)
                if end is not None:
                    if self._results_agree(side, end):
                        yield Parting(side, end, _CUSTOM, 0)
                elif not {self.m.kind(side, value) for value in call.made} & self._cuts[_other(side)]:
                    known = any(self.m.kind(side, value) in self._known[_other(side)] for value in call.made)
                    yield Parting(side, call, _CUT if known else _ALONE, bad[0])
            elif self._results_agree(side, call):
                opened = not any(flow.before for _, flow in self._made(side, call))
                yield Parting(side, call, _CUSTOM if opened else _OTHERWISE, bad[0])

    def _is_bad(self, side: str, call: Call, number: int, seen: set[tuple[int, int]]) -> bool:
        """Whether an argument's gradient is another; of a value that one side alone has, that of what it is made of."""
        given = self._given(side, call)
        if number >= len(given) or (call.index, number) in seen:
            return False
        seen.add((call.index, number))
        (value, flow), maker = given[number], self.m.call(side, call.given[number].maker)
        fine = self._fine(side, value, flow)
        if fine is not None or maker is None:
            return flow.before and fine is False
        return flow.before and any(self._is_bad(side, maker, place, seen) for place in range(len(maker.given)))

    def _results_agree(self, side: str, call: Call) -> bool:
        made = [(value, flow) for value, flow in self._made(side, call) if flow.after]
        made += [
            (given.value, flow)
            for user in self.m.users(side, call.index)
            for given, (_, flow) in zip(user.given, self._given(side, user), strict=False)
            if given.maker == call.index and flow.before and not made
        ]
        return any(self._fine(side, value, flow) is True for value, flow in made)

    def _opened(self, side: str, call: Call) -> Call | None:
        """Return the call whose closed result is open in the end, on the way from one that closes: a custom function's.

        Its body runs without gradients; what it returns has them.
        """
        waiting, seen = [call], set[int]()
        while waiting:
            one = waiting.pop()
            if one.index in seen or not self._closes(side, one, ends=False):
                continue
            seen.add(one.index)
            users = self.m.users(side, one.index)
            again = any(
                given.maker == one.index and flow.before
                for user in users
                for given, (_, flow) in zip(user.given, self._given(side, user), strict=False)
            )
            if again or any(flow.after for _, flow in self._made(side, one)):
                return one
            waiting += [user for user in users if user.name != RETURN]
        return None

    def _closes(self, side: str, call: Call, *, ends: bool = True) -> bool:
        """Whether a call makes numbers that no gradient goes through; ``ends``: of such as it would go through."""
        made = [
            flow for value, flow in self._made(side, call) if self.m.of[side].values[value].dtype.startswith("float")
        ]
        if not made:
            return False
        closed = all(not (flow.before and flow.after) for flow in made)
        return closed and (not ends or any(flow.before for _, flow in self._given(side, call)))

    def _fine(self, side: str, value: int, flow: Flow) -> bool | None:
        """Whether a tensor's gradient is that of one of the other side that holds the same; None where none does."""
        known = self._known[_other(side)].get(self.m.kind(side, value))
        if flow.gradient == UNKNOWN or not known:
            return None if not known or flow.gradient == UNKNOWN else False
        return any(self._same(side, flow.gradient, number) for number in known)

    def _same(self, side: str, mine: int, theirs: int) -> bool:
        if NOTHING in (mine, theirs):
            return all(self._is_zero(one, number) for one, number in ((side, mine), (_other(side), theirs)))
        pair = Given(mine), Given(theirs)
        return self.m.same(*(pair if side == "torch" else pair[::-1]))

    def _is_zero(self, side: str, number: int) -> bool:
        return number == NOTHING or self.m.of[side].values[number].features[2] == 0

    def _calls(self, side: str) -> Iterator[Call]:
        return (call for call in self.m.of[side].calls if not call.part and call.name != RETURN)

    def _given(self, side: str, call: Call) -> list[tuple[int, Flow]]:
        flows = self.flows[side].given.get(call.index, ())
        return [(given.value, flow) for given, flow in zip(call.given, flows, strict=False)]

    def _made(self, side: str, call: Call) -> list[tuple[int, Flow]]:
        return list(zip(call.made, self.flows[side].made.get(call.index, ()), strict=False))


def _computes(one: Parting) -> bool:
    return base(one.call.name) not in LAYOUT


def _other(side: str) -> str:
    return "paddle" if side == "torch" else "torch"
