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
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import PortproofError
from portproof.judge._report import Culprit, Line, LinePair
from portproof.lines._calls import Call, Place
from portproof.lines._find import BYTES, partners
from portproof.lines._match import LAYOUT, base
from portproof.lockstep._flows import Flows
from portproof.lockstep._partings import ALONE, CUSTOM, CUT, OTHERWISE, Parting, Partings, other_side
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
#: How near a multiple is one, and how far from one it must be to be worth a word.
_FACTOR, _NEAR_ONE = 1e-9, 1e-5


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
        modules = partners(sides)
        flows, folders = _recorded(sides, keys, weights, few, seed, room)
        found = _Named(Partings(flows, folders, modules), modules)
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
        sides.sessions.settle()
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


class _Named:
    """The lines of partings, and what differs at them."""

    def __init__(self, partings: Partings, modules: Mapping[str, str]) -> None:
        self.p, self.m, self._modules = partings, partings.m, modules

    def pairs(self, module: str | None) -> tuple[LinePair, ...]:
        """Return the lines of a module, by torch's path: of its own forward, else of one inside it; None: of any."""
        for inside in (False, True):
            found = [one for one in self.p.found if module is None or self._is_in(one, module, inside=inside)]
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
        if how == OTHERWISE:
            for wanted in (self.p.is_another, lambda one: not self.p.is_explained(one), _computes):
                best = [one for one in best if wanted(one)] or best
        best.sort(key=lambda one: (one.call.name not in _DETACHING, one.side, -one.call.index))
        lines: dict[tuple[str, str, int], list[Parting]] = defaultdict(list)
        for one in best:
            place = self._place(one)
            if place is not None:
                lines[one.side, place.file, place.line].append(one)
        groups = list(lines.values())
        if how == OTHERWISE:  # one of them, or some: a gradient is the sum of what all of them hand back
            side = groups[0][0].side if groups else ""
            groups = [[one for group in groups if group[0].side == side for one in group]] if groups else []
        shown: set[int] = set()  # one pair for two functions that are each other's
        pairs: list[LinePair] = []
        for group in groups:
            beside = self.p.beside(group[0])
            if id(group[0].call) not in shown and len(pairs) < _PAIRS:
                pairs.append(self._pair(group))
                shown |= {id(beside)}
        return tuple(pairs)

    def _pair(self, group: Sequence[Parting]) -> LinePair:
        first = group[0]
        other = other_side(first.side)
        mine = [place for one in group if (place := self._place(one)) is not None]
        beside = self.p.beside(first)
        twin = next((one for one in self.p.found if one.call is beside), None)
        theirs = self._place(twin) if twin is not None else self._innermost(other, beside)
        shown = {
            first.side: tuple(dict.fromkeys(Line(first.side, p.file, p.line, p.text) for p in mine))[:_LINES],
            other: () if theirs is None else (Line(other, theirs.file, theirs.line, theirs.text),),
        }
        times = len([one for one in group if self._place(one) == mine[0]])
        return LinePair(shown["paddle"], shown["torch"], False, self._said(first, beside), times)

    def _said(self, one: Parting, beside: Call | None) -> str:
        mine, other = _TITLES[one.side], _TITLES[other_side(one.side)]
        name = one.call.name.strip("_")
        if one.how in (CUT, ALONE):
            if one.call.name in _DETACHING:
                return f"{_DETACHING[one.call.name]} only in {mine}: no gradient goes through it"
            if any(flow.before for _, flow in self.p.made(one.side, one.call)):
                return f"what {name} makes here takes no gradient in {mine} (stop_gradient), it does in {other}"
            return f"{mine} computes {name} here without gradients, {other} with them"
        factor = self._factor(one)
        amount = f", {factor:.6g} times {other}'s" if factor else ""
        if one.how == CUSTOM:
            return f"a backward of its own hands back another gradient in {mine}{amount}"
        if beside is not None and self.p.is_another(one):
            return f"{name} in {mine} where {other} has {beside.name.strip('_')}: the gradient is another{amount}"
        return f"{name} hands back another gradient in {mine}{amount}"

    def _factor(self, one: Parting) -> float | None:
        """Return how many times the other side's gradient comes back, where it is a multiple of it."""
        value, flow = self.p.given(one.side, one.call)[one.bad]
        theirs = self.p.known[other_side(one.side)].get(self.m.kind(one.side, value), set())
        arrays = [self.m.array(other_side(one.side), number) for number in sorted(theirs) if number >= 0]
        mine = self.m.array(one.side, flow.gradient) if flow.gradient >= 0 else None
        if mine is None or len(arrays) != 1 or arrays[0] is None or arrays[0].shape != mine.shape:
            return None
        scale = float((arrays[0] * arrays[0]).sum())
        factor = float((arrays[0] * mine).sum()) / scale if scale else 0.0
        near = np.abs(mine - factor * arrays[0]).max(initial=0.0) <= _FACTOR * np.abs(mine).max(initial=0.0)
        return factor if factor and near and abs(factor - 1) > _NEAR_ONE else None

    def _place(self, one: Parting) -> Place | None:
        """Return a call's line; of a custom function, where the model calls it."""
        places = [self.m.of[one.side].places[number] for number in one.call.places]
        if one.how == CUSTOM and len(places) > 1:
            return places[1]
        return places[0] if places else None

    def _innermost(self, side: str, call: Call | None) -> Place | None:
        return self.m.of[side].places[call.places[0]] if call is not None and call.places else None


def _computes(one: Parting) -> bool:
    return base(one.call.name) not in LAYOUT
