"""The network as a heat-map: along it the modules that have no parts, as they ran; above each the wholes around it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from portproof._text import markup
from portproof.judge._report import ModuleDetail
from portproof.render._graph import shade
from portproof.render._words import number

#: Share of the width from which on a cell has room for its name.
_ROOM = 0.05


def heat(details: Sequence[ModuleDetail], anchors: Mapping[str, str], wrong: set[str]) -> str:
    """Return the map; "" where no module has parts.

    Args:
        details: every module that was judged, in order.
        anchors: module to the id of its section on the page.
        wrong: culprits, of any depth.
    """
    ratios = {detail.module: detail.ratio for detail in details}
    holders = {whole for path in ratios if path for whole in _wholes(path)}
    leaves = [path for path in ratios if path and path not in holders]
    if len(leaves) < 2:
        return ""
    rows = [[("", 0, len(leaves))]]
    for depth in range(1, max(path.count(".") for path in leaves) + 2):
        rows.append(_row(leaves, depth))
    cells = [
        _cell(path, at / len(leaves), count / len(leaves), depth, ratios, anchors, wrong)
        for depth, row in enumerate(rows) for path, at, count in row
    ]  # fmt: skip
    return f'<div class="heat" style="--rows:{len(rows)}">{"".join(cells)}</div>'


def _wholes(path: str) -> list[str]:
    """Return the paths around one, the model's own apart."""
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names))]


def _row(leaves: Sequence[str], depth: int) -> list[tuple[str, int, int]]:
    """Return the modules of a depth: path, first leaf, and how many stand next to each other in it."""
    row, at = [], 0
    for whole, members in itertools.groupby(leaves, lambda path: ".".join(path.split(".")[:depth])):
        own = list(members)
        if whole.count(".") == depth - 1:  # else a leaf that ended above
            row.append((whole, at, len(own)))
        at += len(own)
    return row


def _cell(
    path: str, left: float, width: float, depth: int, ratios: Mapping[str, float | None],
    anchors: Mapping[str, str], wrong: set[str],
) -> str:  # fmt: skip
    judged = path in ratios
    name, mark = markup(path or "(the model)"), "\u2715 " if path in wrong else ""
    said = f"{number(ratios[path])} floors" if judged else "not judged itself"
    label = f"<span>{mark}{markup(path.rpartition('.')[2] or '(the model)')}</span>" if width > _ROOM else ""
    faulty = " faulty" if mark else ""
    return (
        f'<a href="#{anchors.get(path) or "modules"}" tabindex="-1" title="{mark}{name}: {said}" '
        f'class="{shade(ratios[path]) if judged else "none"}{faulty}" '
        f'style="left:{100 * left:.4g}%;width:{100 * width:.4g}%;--d:{depth}">{label}</a>'
    )
