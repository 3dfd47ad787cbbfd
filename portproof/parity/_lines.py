"""Lines with the culprits: where two models are two functions in float64, their forwards are held call beside call."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portproof._errors import PortproofError
from portproof._numbers import Array, Arrays
from portproof.judge._report import Culprit, Hop, LinePair
from portproof.parity._rows import Rows
from portproof.sides._sides import Sides

if TYPE_CHECKING:
    from portproof.lines._find import Lines

#: Culprits whose module's forward may hold the line.
_KINDS = ("computes", "wiring", "signature", "saturates", "raises")


@dataclass(frozen=True)
class Parted:
    """Rows on which two sides differ in float64, under weights that are loaded still.

    Attributes:
        inputs: file of them.
        order: its rows, those first that differ and are replayed module by module.
    """

    inputs: Path
    order: tuple[int, ...]


def parted(hops: Sequence[Hop], outputs: Sequence[Arrays], rows: Rows) -> Parted | None:
    """Return where two sides differ; None where they do not, or nothing can be compared.

    Args:
        hops: of the sides.
        outputs: the two sides' in float64, on the judged rows.
        rows: under judgement.
    """
    if not any(hop.kind == "semantics" and hop.verdict == "divergent" and hop.worst is not None for hop in hops):
        return None
    (one, other), count = outputs, len(rows.families)
    differing = np.zeros(count, dtype=bool)
    for name, array in one.items():
        if array.shape != other[name].shape or array.shape[:1] != (count,):
            differing[:] = True  # all rows do
        else:
            differing |= _apart(array.reshape(count, -1), other[name].reshape(count, -1))
    chosen = [row for row in rows.chosen if row < count] if rows.judged == rows.all else []
    order = [*chosen, *(row for row in range(count) if row not in chosen)]
    return Parted(rows.judged, tuple(sorted(order, key=lambda row: not differing[row])))


def _apart(one: Array, other: Array) -> Array:
    if one.dtype.kind not in "fc":
        return np.asarray((one != other).any(axis=1))
    scale = np.maximum(np.abs(np.nan_to_num(one)).max(axis=1), 1e-300)
    return np.asarray(~(np.abs(one - other) <= 1e-9 * scale[:, None]).all(axis=1))


def with_lines(sides: Sides, found: Parted, culprits: Sequence[Culprit]) -> tuple[list[Culprit], list[str]]:
    """Add to culprits the lines where the two forwards part.

    What goes wrong in the looking decides nothing: it is a note.

    Returns:
        The culprits, one more where there is none that a line could stand with, and notes.
    """
    from portproof.lines._find import find_lines  # a right port has no use for it

    try:
        lines = find_lines(sides, found.inputs, found.order)
    except Exception as error:
        return list(culprits), [_not_found(error, "lines")]
    return _attached(sides, lines, culprits), list(lines.notes)


def with_built(sides: Sides, culprits: Sequence[Culprit]) -> tuple[list[Culprit], list[str]]:
    """Add to culprits whose settings differ the lines that build their modules.

    What goes wrong in the looking decides nothing: it is a note.
    """
    named = {culprit.module for culprit in culprits}
    paired = bool(named) and len(sides.live) == 2
    wanted = {difference.key for difference in sides.pairs().settings} & named if paired else set()
    if not wanted:
        return list(culprits), []
    from portproof.lines._tasks import LineTasks

    try:
        paths = {side: {p: k for p, k in sides.pairs().keys[side].items() if k in wanted} for side in sides.live}
        waiting = {
            side: sides.do(side, "building the model once more", LineTasks.built, paths=sorted(paths[side]))
            for side in sorted(sides.live)
        }
        built = [{paths[side][path]: line for path, line in waiting[side].result().items()} for side in waiting]
    except Exception as error:
        return list(culprits), [_not_found(error, "lines of constructors")]
    found = {key: tuple(lines[key] for lines in built if key in lines) for key in wanted}
    return [replace(culprit, origins=culprit.origins or found.get(culprit.module, ())) for culprit in culprits], []


def _not_found(error: Exception, what: str) -> str:
    """Say why lines were not found; what is none of portproof's own errors is a fault of the search."""
    if isinstance(error, PortproofError):
        return f"no {what}: {error}"
    said = traceback.format_exception_only(error)[-1].strip()
    return f"no {what}: the search for them failed, which is worth a report: {said.splitlines()[-1]}"


def _attached(sides: Sides, lines: Lines, culprits: Sequence[Culprit]) -> list[Culprit]:
    keys = sides.pairs().keys["paddle"]
    held: dict[int, list[LinePair]] = {}
    more: list[Culprit] = []
    for modules, pair in lines.pairs:
        paths = dict.fromkeys(
            torch if torch is not None else keys.get(paddle or "", paddle or "") for paddle, torch in modules
        )
        places = {place for path in paths if (place := _nearest(path, culprits)) is not None}
        for place in places:
            held.setdefault(place, []).append(pair)
        if not places:
            text = "its forward computes something else" if pair.confirmed else "its forward may compute something else"
            more.append(Culprit("unknown", next(iter(paths)), "computes", "forward", text, lines=(pair,)))
    return [
        replace(culprit, lines=tuple(held[place])) if place in held else culprit
        for place, culprit in enumerate(culprits)
    ] + more


def _nearest(path: str, culprits: Sequence[Culprit]) -> int | None:
    """Return the culprit of a module, else of the nearest around it, else of one inside, else the first."""
    fit = [(i, c.module) for i, c in enumerate(culprits) if c.kind in _KINDS and c.direction == "forward"]
    around = [(len(module), i) for i, module in fit if module == path or not module or path.startswith(f"{module}.")]
    if around:
        return max(around, key=lambda entry: (entry[0], -entry[1]))[1]
    inside = (i for i, module in fit if not path or module.startswith(f"{path}."))
    return next(inside, fit[0][0] if fit else None)
