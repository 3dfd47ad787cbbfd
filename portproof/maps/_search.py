"""The search: all tensors of one size hold the same values on both sides, so equal gradients are equal roles.

One backward pass of a random projection of the outputs tells every tensor by its gradient. Partners that no other is
like are taken and get values of their own, and it is repeated, until nothing is left or nothing moves. What no gradient
reaches goes with its module. What is truly interchangeable is tried. Nothing here is a verdict: that is the proof's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from portproof.frameworks._layers import BY_NAME, same_layer
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.maps._names import likeness
from portproof.maps._probing import Probing
from portproof.maps._tasks import Look
from portproof.maps._ties import tied_pair
from portproof.maps._told import (
    Distances,
    Pair,
    Seen,
    assigned,
    by_sizes,
    components,
    distances,
    mutual,
    outputs_apart,
    rivals,
)
from portproof.maps._units import Unit, usual_order
from portproof.maps._values import Fill, fill_of
from portproof.ports._port import LEADING, Side

TORCH, PADDLE = LEADING


@dataclass
class Searching:
    """The state of a search.

    Attributes:
        units: of each side, in a fixed order.
        pairs: found so far.
        same: whether the outputs agree while all that is not told apart holds the same values.
        seen: in the last round; of units that had a partner before it, nothing.
        shown: the same, without what perturbations told.
    """

    probing: Probing
    units: dict[Side, list[Unit]]
    looks: dict[Side, Look]
    pairs: list[Pair] = field(default_factory=list)
    same: bool = False
    seen: dict[Side, Seen] = field(default_factory=dict)
    shown: dict[Side, Seen] = field(default_factory=dict)

    def free(self, side: Side) -> list[int]:
        """Return the units that have no partner yet."""
        taken = {unit for pair in self.pairs for unit, _ in pair.of(side)}
        return [unit for unit in range(len(self.units[side])) if unit not in taken]

    def fills(self, draw: int = 0, extra: Sequence[Pair] = ()) -> dict[Side, list[Fill]]:
        """Return what each side is filled with: pairs have values of their own, all others those of their sizes."""
        found = {}
        for side in LEADING:
            own = {
                unit: (f"pair {number} {draw}", order)
                for number, pair in enumerate([*self.pairs, *extra])
                for unit, order in pair.of(side)
            }
            found[side] = [
                fill_of(unit, *own[place]) if place in own
                else fill_of(unit, "" if unit.table else f"common {draw}", unit.orders[0], symmetric=True)
                for place, unit in enumerate(self.units[side])
            ]  # fmt: skip
        return found

    def take(self, torch: int, paddle: int, order: int, how: str, rival: float = np.inf) -> None:
        """Make two units partners; ``order``: which of Paddle's."""
        self.pairs.append(self._pair(torch, paddle, order, how, rival))

    def solve(self) -> dict[Side, Seen]:
        """Pair all that can be told apart, round by round; returns what was seen last."""
        looked, measured = False, True
        while True:
            # What rounding does to each is measured in the first round, and again before anything is given up.
            measured = measured or not self.seen or bool(self.probing.backward)
            like = None if measured else self.seen
            free = {side: self.free(side) for side in LEADING}
            seen = self.seen = self.shown = self.probing.run(self.fills(), again=int(measured), like=like, places=free)
            self.same = max(outputs_apart(seen[TORCH], seen[PADDLE]).values(), default=np.inf) <= FLOOR_MULTIPLE
            steps = (self.told_apart, self.nearest, self.tied, self.tried, self.left_over, self.forced)
            found = any(step(seen) for step in steps)
            if found and self.same and self._nothing_open():
                self.left_over(seen)
            if not (self.free(TORCH) and self.free(PADDLE)):
                return seen
            if found or not measured:
                measured = not found
            elif looked:
                return seen
            else:
                looked = True  # what no gradient reaches may act all the same: through a table, say, or a detour
                silent = {s: [u for u in self.free(s) if seen[s].is_silent(u)] for s in LEADING}
                seen = self.seen = self.probing.perturbed(self.fills(), seen, silent)
                if not (self.alike(seen) or self.tried(seen) or self.forced(seen)):
                    return seen

    def told_apart(self, seen: Mapping[Side, Seen]) -> int:
        """Take all that the gradients tell, and what goes with it."""
        return self.alike(seen) + self.by_module(seen)

    def groups(self, seen: Mapping[Side, Seen], *, silent: bool = False) -> list[dict[Side, list[int]]]:
        """Return the free units of both sides, grouped by sizes; those without a gradient only where asked for."""
        free = {
            side: [unit for unit in self.free(side) if silent or not seen[side].is_silent(unit)] for side in LEADING
        }
        return by_sizes(free, {side: [unit.sizes for unit in self.units[side]] for side in LEADING})

    def _told(self, seen: Mapping[Side, Seen]) -> list[tuple[list[int], list[int], Distances]]:
        return [
            (group[TORCH], group[PADDLE], distances(seen[TORCH], seen[PADDLE], group[TORCH], group[PADDLE]))
            for group in self.groups(seen)
        ]

    def alike(self, seen: Mapping[Side, Seen]) -> int:
        """Take the pairs whose gradients are one to rounding, where no third is like them."""
        only = [
            (ours[i], theirs[j], told, i, j)
            for ours, theirs, told in self._told(seen)
            for i, j in np.argwhere(told.alike & (told.alike.sum(1) == 1)[:, None] & (told.alike.sum(0) == 1)[None, :])
        ]
        # Where a gradient leaves the order open, the usual ones are tried all at once: they nearly always fit.
        usual = [
            self._pair(torch, paddle, self.usual(torch, paddle), "tried")
            for torch, paddle, told, i, j in only
            if len(told.fitting(i, j)) > 1
        ]
        fit = len(usual) > 1 and self.same and self.agree(usual, seen)
        for torch, paddle, told, i, j in only:
            rival = rivals(told.apart, i, j) / max(told.apart[i, j], np.finfo(float).eps)
            known = fit and len(told.fitting(i, j)) > 1
            order = self.usual(torch, paddle) if known else self.settled(torch, paddle, told, i, j)
            self.take(torch, paddle, order, "gradient", rival)
        return len(only)

    def settled(self, torch: int, paddle: int, told: Distances, i: int, j: int) -> int:
        """Return the order of Paddle's axes: the gradient's, else the one under which the outputs agree."""
        fitting, usual = told.fitting(i, j), self.usual(torch, paddle)
        ours, theirs = self.units[TORCH][torch], self.units[PADDLE][paddle]
        if len(fitting) < 2 or not self.same:
            known = not fitting and ours.entry.layer in BY_NAME and same_layer(ours.entry.layer, theirs.entry.layer)
            return usual if known or usual in fitting else int(told.order[i, j])
        for order in sorted(fitting, key=lambda order: order != usual):
            if self.agree([self._pair(torch, paddle, order, "tried")], self.seen):
                return order
        return usual

    def usual(self, torch: int, paddle: int) -> int:
        """Return which of Paddle's orders the layer's type would have."""
        return usual_order(self.units[TORCH][torch], self.units[PADDLE][paddle])

    def nearest(self, seen: Mapping[Side, Seen]) -> int:
        """Take pairs that are far nearer than any rival, though not one to rounding: a kernel may be less exact."""
        found = 0
        for ours, theirs, told in self._told(seen):
            for i, j in mutual(told.apart):
                rival = rivals(told.apart, i, j)
                if np.isfinite(rival) and told.apart[i, j] * FLOOR_MULTIPLE < rival:
                    order = self.settled(ours[i], theirs[j], told, i, j)
                    self.take(ours[i], theirs[j], order, "nearest", rival / max(told.apart[i, j], np.finfo(float).eps))
                    found += 1
        return found

    def homes(self) -> dict[tuple[str, int], set[tuple[str, int]]]:
        """Return where the tensors of each of torch's modules have their partners."""
        goes: dict[tuple[str, int], set[tuple[str, int]]] = {}
        for pair in self.pairs:
            for one in pair.torch:
                for other in pair.paddle:
                    goes.setdefault(_home(self.units[TORCH][one[0]]), set()).add(_home(self.units[PADDLE][other[0]]))
        return goes

    def by_module(self, seen: Mapping[Side, Seen] | None, how: str = "module") -> int:
        """Take what shows nothing by itself with the other tensors of its module; ``seen`` None: whatever it shows."""
        goes = self.homes()
        free = {
            side: [unit for unit in self.free(side) if seen is None or seen[side].is_silent(unit)] for side in LEADING
        }
        found = 0
        for unit in free[TORCH]:
            ours = self.units[TORCH][unit]
            homes = goes.get(_home(ours), set())
            fitting = [
                other for other in free[PADDLE]
                if len(homes) == 1 and _home(self.units[PADDLE][other]) in homes
                and self.units[PADDLE][other].sizes == ours.sizes
            ]  # fmt: skip
            if len(fitting) > 1:
                fitting = [other for other in fitting if self.units[PADDLE][other].leaf == ours.leaf]
            if len(fitting) == 1:
                self.take(unit, fitting[0], self.usual(unit, fitting[0]), how)
                free[PADDLE].remove(fitting[0])
                found += 1
        return found

    def tied(self, seen: Mapping[Side, Seen]) -> int:
        """Pair a tensor that only one side ties with those of the other that it is."""
        pair = tied_pair(self.units, {side: self.free(side) for side in LEADING}, seen) if self.same else None
        self.pairs += [pair] if pair else []
        return int(pair is not None)

    def tried(self, seen: Mapping[Side, Seen]) -> int:
        """Where several are alike, choose by module and name and see that the outputs agree.

        First all of them at once, then one of each kind, then one by one: what is chosen tells the next round more.
        """
        if not self.same:
            return 0
        goes = self.homes()
        kinds: list[list[Pair]] = []
        for ours, theirs, told in self._told(seen):
            for rows, columns in components(told.alike):
                costs = np.array([[self._unlikely(ours[i], theirs[j], goes) for j in columns] for i in rows])
                kind = []
                for row, column in assigned(costs):
                    i, j = rows[row], columns[column]
                    order = self.settled(ours[i], theirs[j], told, i, j)
                    kind.append(self._pair(ours[i], theirs[j], order, "interchangeable"))
                    goes.setdefault(_home(self.units[TORCH][ours[i]]), set()).add(_home(self.units[PADDLE][theirs[j]]))
                kinds.append(kind)
        single = [[pair] for kind in kinds for pair in kind]
        for pairs in ([pair for kind in kinds for pair in kind], [kind[0] for kind in kinds], *single):
            if pairs and self.agree(pairs, seen):
                self.pairs += pairs
                return len(pairs)
        return 0

    def _unlikely(self, torch: int, paddle: int, goes: Mapping[tuple[str, int], set[tuple[str, int]]]) -> float:
        """Return how unlikely two that are alike are meant for each other: first by their modules, then by name."""
        near = goes.get(_home(self.units[TORCH][torch]), set())
        return 2.0 * (_home(self.units[PADDLE][paddle]) not in near) - self.named(torch, paddle)

    def _pair(self, torch: int, paddle: int, order: int, how: str, rival: float = np.inf) -> Pair:
        ours, theirs = self.units[TORCH][torch], self.units[PADDLE][paddle]
        return Pair(((torch, ours.orders[0]),), ((paddle, theirs.orders[order]),), how, rival)

    def forced(self, seen: Mapping[Side, Seen]) -> int:
        """Where gradients say nothing (a maximum of two that are equal), try one tensor with every candidate."""
        if not self.same:
            return 0
        for group in sorted(self.groups(seen), key=lambda group: len(group[PADDLE])):
            unit = group[TORCH][0]
            for other in sorted(group[PADDLE], key=lambda other: -self.named(unit, other)):
                for order in range(len(self.units[PADDLE][other].orders)):
                    pair = self._pair(unit, other, order, "tried")
                    if self.agree([pair], seen):
                        self.pairs.append(pair)
                        return 1
        return 0

    def agree(self, extra: Sequence[Pair], seen: Mapping[Side, Seen]) -> bool:
        """Whether the outputs agree with further pairs, by the noise of an earlier run."""
        tried = self.probing.run(self.fills(extra=extra), backward=False)
        apart = outputs_apart(tried[TORCH], tried[PADDLE], (seen[TORCH], seen[PADDLE]))
        return max(apart.values(), default=np.inf) <= FLOOR_MULTIPLE

    def named(self, torch: int, paddle: int) -> float:
        """Return how like two units' names are."""
        return likeness(self.units[TORCH][torch].entry.name, self.units[PADDLE][paddle].entry.name)

    def _nothing_open(self) -> bool:
        """Whether all that is left has one partner that it can have, and one order."""
        left = {side: [self.units[side][unit] for unit in self.free(side)] for side in LEADING}
        sizes = {side: sorted(unit.sizes for unit in left[side]) for side in LEADING}
        alone = len(set(sizes[TORCH])) == len(sizes[TORCH]) and sizes[TORCH] == sizes[PADDLE]
        return alone and all(len(unit.orders) == 1 for unit in left[TORCH])

    def left_over(self, _: Mapping[Side, Seen]) -> int:
        """Pair what alone has its sizes on both sides."""
        sizes = {side: [unit.sizes for unit in self.units[side]] for side in LEADING}
        groups = by_sizes({side: self.free(side) for side in LEADING}, sizes)
        alone = [(g[TORCH][0], g[PADDLE][0]) for g in groups if len(g[TORCH]) == len(g[PADDLE]) == 1]
        for one, other in alone:
            self.take(one, other, self.usual(one, other), "left over")
        return len(alone)


def _home(unit: Unit) -> tuple[str, int]:
    """Return the module that a unit belongs to, and which part of its tensors it is of."""
    return unit.entry.module, unit.part
