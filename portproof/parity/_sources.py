"""Where the code of a culprit stands, on each side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from portproof.judge._report import Culprit, Source
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks

#: Kinds of culprits whose module is no path of a model: nodes of a graph, or nothing at all.
_NO_MODULE = ("graph", "runtime", "training", "accepted")


def with_sources(sides: Sides, culprits: Sequence[Culprit]) -> list[Culprit]:
    """Return culprits with file and line of their modules on the sides that are models."""
    wanted = list(dict.fromkeys(culprit.module for culprit in culprits if culprit.kind not in _NO_MODULE))
    if not wanted:
        return list(culprits)
    found: dict[str, list[Source]] = {}
    for side in sides.live:
        # A module without a partner is named by its own side's path.
        paths = {path: sides.local_paddle_path(path) if side == "paddle" else path for path in wanted}
        asked = sorted({*paths.values(), *wanted})
        at = sides.do(side, "finding the code", Tasks.written_at, paths=asked).result()
        for path, own in paths.items():
            place = at.get(own) or at.get(path)
            if place is not None:
                found.setdefault(path, []).append(Source(side, *place))
    return [
        replace(culprit, sources=tuple(found.get(culprit.module, ()))) if culprit.kind not in _NO_MODULE else culprit
        for culprit in culprits
    ]
