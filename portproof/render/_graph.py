"""The network as a graph: boxes of modules in layers, each module a square coloured by how far it lies out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portproof._text import markup
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import ModuleDetail

#: Boxes that a picture has at most, and modules from which on one is divided by the next component of the paths.
_BOXES, _MANY = 48, 13
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 178, 36, 14, 16
_CELLS = 22

#: Upper end of each class of ratios, its colour and its words.
CLASSES = (
    (0.0, "#bbf7d0", "to the last bit"),
    (2.0, "#86efac", "up to 2 floors"),
    (8.0, "#4ade80", "up to 8"),
    (FLOOR_MULTIPLE, "#facc15", f"up to {FLOOR_MULTIPLE:.0f}"),
    (float("inf"), "#dc2626", "a divergence"),
)


@dataclass
class _Box:
    name: str
    modules: list[ModuleDetail]
    rank: int = 0
    column: float = 0.0


def colour(ratio: float | None) -> str:
    """Return the colour of a ratio; None, which cannot be counted, is a divergence."""
    value = float("inf") if ratio is None else ratio
    return next(shade for end, shade, _ in CLASSES if value <= end)


def draw(
    details: Sequence[ModuleDetail], edges: Sequence[tuple[str, str]], anchors: Mapping[str, str], wrong: set[str]
) -> str:
    """Draw the modules that have no parts.

    Args:
        details: every module that was judged, in order.
        edges: which hands a tensor to which; where there are none, the order of the calls.
        anchors: module to the id of its section on the page.
        wrong: culprits, of any depth.
    """
    paths = [detail.module for detail in details if detail.module]
    holders = {path.rpartition(".")[0] for path in paths}
    leaves = [detail for detail in details if detail.module and detail.module not in holders]
    if not leaves:
        return ""
    named = _gathered([leaf.module for leaf in leaves])
    boxes: dict[str, _Box] = {}
    for leaf in leaves:
        name = named[leaf.module]
        boxes.setdefault(name, _Box(name, [])).modules.append(leaf)
    flow = dict.fromkeys((named[a], named[b]) for a, b in _through(edges, set(named)))
    order = {name: index for index, name in enumerate(boxes)}
    forward = [(a, b) for a, b in flow if a in order and b in order and order[a] < order[b]]
    if not edges:
        names = list(boxes)
        forward = list(itertools.pairwise(names))
    _place(boxes, forward)
    return _svg(list(boxes.values()), [(boxes[a], boxes[b]) for a, b in forward], anchors, wrong)


def _gathered(paths: Sequence[str]) -> dict[str, str]:
    """Return each module with the name of its box: the first component, and more where a box would be crowded."""
    boxes: dict[str, list[str]] = {}
    for path in paths:
        boxes.setdefault(path.partition(".")[0], []).append(path)
    while True:
        crowded = max((box for box in boxes if len(boxes[box]) >= _MANY), key=lambda box: len(boxes[box]), default=None)
        if crowded is None:
            break
        depth = crowded.count(".") + 2
        parts: dict[str, list[str]] = {}
        for path in boxes[crowded]:
            parts.setdefault(".".join(path.split(".")[:depth]), []).append(path)
        if len(boxes) + len(parts) - 1 > _BOXES:
            break
        del boxes[crowded]
        boxes |= parts
    return {path: box for box, members in boxes.items() for path in members}


def _through(edges: Sequence[tuple[str, str]], shown: set[str]) -> list[tuple[str, str]]:
    """Return the edges between modules that are shown; those that are not are passed through."""
    after: dict[str, list[str]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
    found = []
    for source in sorted(shown):
        waiting, seen = list(after.get(source, ())), set[str]()
        while waiting:
            target = waiting.pop()
            if target in seen:
                continue
            seen.add(target)
            if target in shown:
                found.append((source, target))
            else:
                waiting += after.get(target, ())
    return found


def _place(boxes: Mapping[str, _Box], edges: Sequence[tuple[str, str]]) -> None:
    """Give each box a layer, the longest way to it, and a column near those that it comes from."""
    before: dict[str, list[str]] = {name: [] for name in boxes}
    for source, target in edges:
        before[target].append(source)
    for name, box in boxes.items():
        box.rank = max((boxes[source].rank + 1 for source in before[name]), default=0)
    for rank in range(max(box.rank for box in boxes.values()) + 1):
        layer = [box for box in boxes.values() if box.rank == rank]
        wanted = {
            box.name: sum(boxes[s].column for s in before[box.name]) / len(before[box.name]) if before[box.name] else 0
            for box in layer
        }
        layer.sort(key=lambda box: wanted[box.name])
        for index, box in enumerate(layer):
            box.column = index - (len(layer) - 1) / 2


def _svg(boxes: Sequence[_Box], edges: Sequence[tuple[_Box, _Box]], anchors: Mapping[str, str], wrong: set[str]) -> str:
    left = min(box.column for box in boxes)
    width = round((max(box.column for box in boxes) - left) * (_WIDTH + _ACROSS) + _WIDTH + 2 * _ACROSS)
    height = (max(box.rank for box in boxes) + 1) * (_HEIGHT + _DOWN) + _DOWN

    def corner(box: _Box) -> tuple[int, int]:
        across = _ACROSS + (box.column - left) * (_WIDTH + _ACROSS)
        return round(across), _DOWN + box.rank * (_HEIGHT + _DOWN)

    parts = []
    for source, target in edges:
        (x1, y1), (x2, y2) = corner(source), corner(target)
        x1, x2, y1 = x1 + _WIDTH // 2, x2 + _WIDTH // 2, y1 + _HEIGHT
        bend = (y2 - y1) // 2
        aside = 0 if target.rank - source.rank == 1 else _WIDTH // 2 + 8  # a long edge goes round the boxes between
        parts.append(
            f'<path d="M{x1} {y1}C{x1 + aside} {y1 + bend} {x2 + aside} {y2 - bend} {x2} {y2}" fill="none" '
            f'stroke="#a8a29e"/>'
        )
    for box in boxes:
        parts.append(_box(box, corner(box), anchors, wrong))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="group" '
        f'aria-label="The network, {len(boxes)} boxes of modules; the table below has the same figures">'
        f"{''.join(parts)}</svg>"
    )


def _box(box: _Box, corner: tuple[int, int], anchors: Mapping[str, str], wrong: set[str]) -> str:
    x, y = corner
    faulty = any(name == box.name or name.startswith(f"{box.name}.") for name in wrong)
    border = 'stroke="#b91c1c" stroke-width="2.5"' if faulty else 'stroke="#78716c"'
    name = box.name if len(box.name) < 27 else f"…{box.name[-25:]}"
    mark = "✕ " if faulty else ""
    shown = box.modules[:_CELLS]
    cells = "".join(_cell(detail, x + 6 + i * 7.6, y + 22, anchors) for i, detail in enumerate(shown))
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="#fff" {border}/>'
        f'<text x="{x + 6}" y="{y + 15}">{mark}{markup(name)}</text>{cells}'
    )


def _cell(detail: ModuleDetail, x: float, y: int, anchors: Mapping[str, str]) -> str:
    """Draw one module, a link to its section."""
    name, target = markup(detail.module), anchors.get(detail.module, "modules")
    return (
        f'<a href="#{target}" tabindex="-1" aria-label="{name}"><rect x="{x:.0f}" y="{y}" width="6" height="8" '
        f'fill="{colour(detail.ratio)}" stroke="#57534e" stroke-width=".4"><title>{name}</title></rect></a>'
    )
