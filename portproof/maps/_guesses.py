"""What is left where two sides are not one function: likely pairs, guesses, and what reaches no output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from portproof.maps._rules import rules_of
from portproof.maps._search import PADDLE, TORCH, Searching
from portproof.maps._told import Distances, Seen, assigned, by_sizes, distances, mutual, rivals
from portproof.maps._units import Unit
from portproof.ports._port import LEADING, Side
from portproof.ports._weightmap import WeightMap

#: Independent draws that all have to agree where two functions differ.
DRAWS = 3


def likely(search: Searching) -> None:
    """Take the pairs on which independent draws agree, then guess the rest by gradients and names."""
    draws, number = [search.shown], 1  # the last round, in which nothing more was told apart, is a draw
    while True:
        draws += _drawn(search, draws, number)
        number += DRAWS
        # Where one side has more of a size, some are taken for others: what shares a module with a pair goes first.
        found = _nearest(search, [group for group in _loud(search, draws) if _as_many(group)], draws)
        found += search.by_module(None, "likely")
        found += _nearest(search, _loud(search, draws), draws)
        found += search.by_module(None, "likely")
        if not (search.free(TORCH) and search.free(PADDLE)):
            return
        if not found:
            break
        draws = []
    _guess(search, [group for group in search.groups(search.shown, silent=True) if _as_many(group)], draws)
    search.by_module(None, "guess")
    _guess(search, search.groups(search.shown, silent=True), draws)
    search.by_module(None, "guess")


def _drawn(search: Searching, known: Sequence[dict[Side, Seen]], number: int) -> list[dict[Side, Seen]]:
    """Draw as often as draws are missing; what rounding does is measured in the first."""
    draws = list(known)
    while len(draws) < DRAWS:
        draw, like = number + len(draws), draws[0] if draws else None
        fills, free = search.fills(draw), {side: search.free(side) for side in LEADING}
        draws.append(search.probing.run(fills, seed=draw, again=int(like is None), like=like, places=free))
    return draws[len(known) :]


def _loud(search: Searching, draws: Sequence[Mapping[Side, Seen]]) -> list[dict[Side, list[int]]]:
    """Return the free units that have a gradient in every draw, grouped by sizes."""
    free = {
        side: [unit for unit in search.free(side) if not any(draw[side].is_silent(unit) for draw in draws)]
        for side in LEADING
    }
    return by_sizes(free, {side: [unit.sizes for unit in search.units[side]] for side in LEADING})


def _as_many(group: Mapping[Side, Sequence[int]]) -> bool:
    return len(group[TORCH]) == len(group[PADDLE])


def _nearest(
    search: Searching, groups: Sequence[Mapping[Side, Sequence[int]]], draws: Sequence[Mapping[Side, Seen]]
) -> int:
    """Take the pairs that are nearest in every draw, and nearer to each other than to nothing at all."""
    found = 0
    for group in groups:
        ours, theirs = group[TORCH], group[PADDLE]
        told = [distances(draw[TORCH], draw[PADDLE], ours, theirs) for draw in draws]
        pooled = _pooled(told)
        sure = set.intersection(*({(i, j) for i, j in mutual(one.apart) if one.apart[i, j] < 1} for one in told))
        for i, j in sorted(sure, key=lambda at: pooled.apart[at]):
            rival = rivals(pooled.apart, i, j) / max(pooled.apart[i, j], np.finfo(float).eps)
            order = search.settled(ours[i], theirs[j], pooled, i, j)
            search.take(ours[i], theirs[j], order, "likely", rival)
            found += 1
    return found


def _guess(
    search: Searching, groups: Sequence[Mapping[Side, Sequence[int]]], draws: Sequence[Mapping[Side, Seen]]
) -> None:
    """Pair what is left as gradients, names and the order of calls say together; what shows nothing, by the last two.

    Names say most where those of the pairs that are sure follow rules: then the rules name the partner.
    """
    called = {side: _called(search, side) for side in LEADING}
    named = WeightMap(rules_of(_sure_names(search), least=2))
    for group in groups:
        ours, theirs = group[TORCH], group[PADDLE]
        units = search.units[PADDLE]
        wanted = [named.paddle_path(search.units[TORCH][one].entry.name) for one in ours]
        costs = np.array(
            [
                [
                    2 - search.named(one, other) - (_in_torchs_words(units[other]) == name)
                    + abs(called[TORCH][one] - called[PADDLE][other])
                    for other in theirs
                ]
                for one, name in zip(ours, wanted, strict=True)
            ]
        )  # fmt: skip
        orders = np.array([[search.usual(one, other) for other in theirs] for one in ours])
        loud = [
            [at for at, unit in enumerate(units) if not any(draw[side].is_silent(unit) for draw in draws)]
            for side, units in ((TORCH, ours), (PADDLE, theirs))
        ]
        if all(loud):
            told = [
                distances(draw[TORCH], draw[PADDLE], [ours[i] for i in loud[0]], [theirs[j] for j in loud[1]])
                for draw in draws
            ]
            costs[np.ix_(*loud)] += _pooled(told).apart - 1
        for i, j in assigned(costs):
            search.take(ours[i], theirs[j], int(orders[i, j]), "guess")


def _called(search: Searching, side: Side) -> dict[int, float]:
    """Return when each unit's module is first called, among those of the unit's sizes: 0 the first, 1 the last."""
    order, units = search.looks[side].order, search.units[side]
    when: dict[int, float] = {}
    for sizes in {unit.sizes for unit in units}:
        places = [place for place, unit in enumerate(units) if unit.sizes == sizes]
        places.sort(key=lambda place: order.get(units[place].entry.module, len(order)))
        when |= {place: at / max(1, len(places) - 1) for at, place in enumerate(places)}
    return when


def _sure_names(search: Searching) -> list[tuple[str, str]]:
    """Return the names of the pairs that are not guessed, Paddle's with torch's word for the tensor itself."""
    units = search.units
    return [
        (units[TORCH][pair.torch[0][0]].entry.name, _in_torchs_words(units[PADDLE][pair.paddle[0][0]]))
        for pair in search.pairs
    ]


def _in_torchs_words(unit: Unit) -> str:
    return f"{unit.entry.module}.{unit.leaf}" if unit.entry.module else unit.leaf


def dead(search: Searching, seen: Mapping[Side, Seen]) -> None:
    """Pair by name what reaches no output: somebody has to be named."""
    sizes = {side: [unit.sizes for unit in search.units[side]] for side in LEADING}
    free = {side: [unit for unit in search.free(side) if seen[side].is_silent(unit)] for side in LEADING}
    for group in by_sizes(free, sizes):
        ours, theirs = group[TORCH], group[PADDLE]
        for i, j in assigned(np.array([[1 - search.named(one, other) for other in theirs] for one in ours])):
            search.take(ours[i], theirs[j], search.usual(ours[i], theirs[j]), "dead")


def _pooled(told: Sequence[Distances]) -> Distances:
    every = np.mean([np.minimum(one.every, 2.0) for one in told], axis=0)
    return Distances(every.min(-1), every.argmin(-1), every, np.max([one.within for one in told], axis=0))
