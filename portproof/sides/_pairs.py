"""Modules of the two sides that stand for each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from portproof._errors import BadInput, and_more
from portproof.convert._account import TensorRow
from portproof.frameworks._settings import SettingDifference, compare_settings
from portproof.ports._port import Port
from portproof.sides._tasks import Description

#: Types that hold modules and are never called themselves.
_LISTS = ("ModuleList", "ModuleDict", "LayerList", "LayerDict")
#: Side to the path, layer type and settings of every module.
Described = Mapping[str, Sequence[tuple[str, str, Mapping[str, Any]]]]


@dataclass(frozen=True)
class Pairs:
    """Modules that stand for each other.

    Attributes:
        keys: side to its module path to the common key, which is torch's path.
        unseen: modules without a partner, as a person would name them.
        settings: what paired modules were built with and do not share.
        described: side to key to layer type and settings.
    """

    keys: dict[str, dict[str, str]]
    unseen: tuple[str, ...]
    settings: tuple[SettingDifference, ...]
    described: dict[str, dict[str, tuple[str, Mapping[str, Any]]]]


def require_used(port: Port, described: Mapping[str, Description]) -> None:
    """See that every entry of a port's map fits something in its models: one that does not is a slip of the pen.

    Raises:
        BadInput: one fits nothing.
    """
    names = {
        side: {*(entry.name for entry in found.entries), *(path for path, *_ in found.modules)}
        for side, found in described.items()
    }
    unused = port.weights.unused(names)
    if unused:
        raise BadInput(f"port '{port.name}': weights.{and_more(unused)}. Correct it, or take it out.")


def pair_modules(
    described: Described,
    paddle_path: Callable[[str], str],
    rows: Sequence[TensorRow] = (),
    given: Set[str] = frozenset(),
) -> Pairs:
    """Pair the modules of two trees by path, else by what they hold; nothing is paired by guess.

    A rule for the parts of a module renames the module, too, and other rules may take parts out of it: modules whose
    tensors are not each other's are no pair. The one that holds exactly those tensors is, where there is one; of
    several, one inside the other, the outermost that is left.

    Args:
        described: every module of both sides.
        paddle_path: torch path to Paddle path.
        rows: how the tensors correspond.
        given: torch paths whose partner the port itself names.
    """
    known = {path for path, _, _ in described["paddle"]}
    held = {side: _held(rows, side) for side in ("torch", "paddle")}
    lists = {side: {path for path, layer, _ in described[side] if layer in _LISTS} for side in held}
    nothing = frozenset[tuple[int, int]]()

    def alike(path: str, twin: str) -> bool:
        """Whether both are called, or both never."""
        return (path in lists["torch"]) == (twin in lists["paddle"])

    holding: dict[frozenset[tuple[int, int]], list[str]] = defaultdict(list)
    for path, _, _ in described["paddle"]:
        holding[held["paddle"].get(path, nothing)].append(path)
    named = {path: paddle_path(path) for path, _, _ in described["torch"]}
    sure: list[tuple[str, Sequence[str]]] = []
    unsure: list[tuple[str, Sequence[str]]] = []
    for path, twin in named.items():
        mine, theirs = (held[side].get(name, nothing) for side, name in (("torch", path), ("paddle", twin)))
        if twin in known and (path in given or (mine == theirs and alike(path, twin))):
            sure.append((path, [twin]))
        else:  # as many of other tensors: a map that takes one block for another, which is for the judge
            crossed = [twin] if twin in known and len(mine) == len(theirs) else []
            candidates = [*(holding.get(mine, []) if mine else []), *crossed]
            unsure.append((path, [other for other in candidates if alike(path, other)]))
    twins: dict[str, str] = {}
    taken: set[str] = set()
    for path, fitting in (*sure, *unsure):
        free = next((twin for twin in fitting if twin not in taken), None)
        if free is not None:
            twins[path] = free
            taken.add(free)
    torch = {path: path for path, _, _ in described["torch"] if path in twins}
    paddle = {twins[path]: path for path in torch}
    keys = {"torch": torch, "paddle": paddle}
    unseen = [
        f"{side} '{path}' ({layer})" for side in keys for path, layer, _ in described[side] if path not in keys[side]
    ]
    by_key = {
        side: {keys[side][path]: (layer, settings) for path, layer, settings in described[side] if path in keys[side]}
        for side in keys
    }
    differences = [
        difference for key in torch for difference in compare_settings(key, by_key["torch"][key], by_key["paddle"][key])
    ]
    return Pairs(keys, tuple(unseen), tuple(differences), by_key)


def _held(rows: Sequence[TensorRow], side: str) -> dict[str, frozenset[tuple[int, int]]]:
    """Return which tensors each module holds, as the numbers of their rows and, of a split, of their parts.

    Tied ones are held in several places, and count in none.
    """
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for number, row in enumerate(rows):
        names = row.names(side) if row.transform != "tied" else ()
        parts = max(len(row.torch), len(row.paddle))
        for place, name in enumerate(names):
            mine = [place] if len(names) == parts else range(parts)
            while name:
                name = name.rpartition(".")[0]
                found[name].update((number, part) for part in mine)
    return {path: frozenset(numbers) for path, numbers in found.items()}
