"""The network as a graph: boxes of modules in layers, each module a square coloured by how far it lies out.

A box that is a whole itself has a stripe of its own colour: a whole may be wrong whose parts are all right.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portproof._text import markup
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import ModuleDetail

#: Boxes that a picture has at most, and modules from which on one is divided by the next component of the paths.
_BOXES, _MANY = 48, 13
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 178, 36, 18, 26
#: Around the picture, with room for a frame and its name.
_ASIDE, _ABOVE = 12, 22
_CELLS = 22

#: Upper end of each class of ratios and its words; the style sheet has their colours, ``--r0`` to ``--r4``.
CLASSES = (
    (0.0, "to the last bit"),
    (2.0, "up to 2 floors"),
    (8.0, "up to 8"),
    (FLOOR_MULTIPLE, f"up to {FLOOR_MULTIPLE:.0f}"),
    (float("inf"), "a divergence"),
)


@dataclass
class _Box:
    name: str
    modules: list[ModuleDetail]
    rank: int = 0
    column: float = 0.0


def shade(ratio: float | None) -> str:
    """Return the class of a ratio, ``r0`` to ``r4``; None, which cannot be counted, is a divergence."""
    value = float("inf") if ratio is None else ratio
    return f"r{next(index for index, (end, _) in enumerate(CLASSES) if value <= end)}"


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
    own = {detail.module: detail for detail in details if detail.module in boxes and detail.module in holders}
    return _Drawing(list(boxes.values()), own, anchors, wrong).svg([(boxes[a], boxes[b]) for a, b in forward])


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


class _Drawing:
    """Boxes in their places.

    Args:
        boxes: with rank and column.
        own: name of a box to the whole that it is, where it is one.
        anchors, wrong: see :func:`draw`.
    """

    def __init__(
        self, boxes: Sequence[_Box], own: Mapping[str, ModuleDetail], anchors: Mapping[str, str], wrong: set[str]
    ) -> None:
        self.boxes, self.own, self.anchors, self.wrong = boxes, own, anchors, wrong
        left = min(box.column for box in boxes)
        self.corners = {
            box.name: (
                round(_ASIDE + (box.column - left) * (_WIDTH + _ACROSS)),
                _ABOVE + box.rank * (_HEIGHT + _DOWN),
            )
            for box in boxes
        }
        self.width = max(x for x, _ in self.corners.values()) + _WIDTH + _ASIDE
        self.height = max(y for _, y in self.corners.values()) + _HEIGHT + _ABOVE

    def svg(self, edges: Sequence[tuple[_Box, _Box]]) -> str:
        """Return the picture."""
        parts = [self._edge(source, target) for source, target in edges]
        parts += [self._frame(whole) for whole in sorted(self.wrong)]
        parts += [self._box(box) for box in self.boxes]
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" style="max-width:{self.width}px" role="group" '
            f'aria-label="The network, {len(self.boxes)} boxes of modules; the list below has the same figures">'
            f"{''.join(parts)}</svg>"
        )

    def _edge(self, source: _Box, target: _Box) -> str:
        (x1, y1), (x2, y2) = self.corners[source.name], self.corners[target.name]
        x1, x2, y1 = x1 + _WIDTH // 2, x2 + _WIDTH // 2, y1 + _HEIGHT
        bend = (y2 - y1) // 2
        aside = 0 if target.rank - source.rank == 1 else _WIDTH // 2 + 8  # a long edge goes round the boxes between
        return f'<path class="edge" d="M{x1} {y1}C{x1 + aside} {y1 + bend} {x2 + aside} {y2 - bend} {x2} {y2}"/>'

    def _frame(self, whole: str) -> str:
        """Draw a frame round the boxes of a culprit that has several, where no other box would stand in it."""
        inside = [box.name for box in self.boxes if _within(box.name, whole)]
        if len(inside) < 2:
            return ""
        across, down = zip(*(self.corners[name] for name in inside), strict=True)
        x1, x2, y1, y2 = min(across), max(across), min(down), max(down)
        if any(x1 <= x <= x2 and y1 <= y <= y2 and name not in inside for name, (x, y) in self.corners.items()):
            return ""
        return (
            f'<rect class="frame" x="{x1 - 8}" y="{y1 - 18}" width="{x2 - x1 + _WIDTH + 16}" '
            f'height="{y2 - y1 + _HEIGHT + 26}" rx="7"/><text x="{x1}" y="{y1 - 5}">\u2715 {_short(whole)}</text>'
        )

    def _box(self, box: _Box) -> str:
        x, y = self.corners[box.name]
        faulty = any(_within(culprit, box.name) for culprit in self.wrong)
        within = any(_within(box.name, culprit) and culprit != box.name for culprit in self.wrong)
        border = " faulty" if faulty else " within" if within else ""
        mark = "\u2715 " if faulty else ""
        cells = "".join(self._cell(detail, x + 9 + i * 7.4, y + 22) for i, detail in enumerate(box.modules[:_CELLS]))
        whole = self.own.get(box.name)
        stripe = "" if whole is None else self._link(
            whole, f'<rect x="{x + 1}" y="{y + 4}" width="5" height="{_HEIGHT - 8}" class="cell {shade(whole.ratio)}">'
        )  # fmt: skip
        return (
            f'<rect class="box{border}" x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
            f'<text x="{x + 10}" y="{y + 15}">{mark}{_short(box.name)}</text>{stripe}{cells}'
        )

    def _cell(self, detail: ModuleDetail, x: float, y: int) -> str:
        return self._link(detail, f'<rect x="{x:.0f}" y="{y}" width="6" height="8" class="cell {shade(detail.ratio)}">')

    def _link(self, detail: ModuleDetail, rect: str) -> str:
        """Make a shape of one module a link to its section."""
        name, target = markup(detail.module), self.anchors.get(detail.module, "modules")
        return f'<a href="#{target}" tabindex="-1" aria-label="{name}">{rect}<title>{name}</title></rect></a>'


def _within(path: str, whole: str) -> bool:
    """Whether a module is another one, or a part of it; "" is the whole model."""
    return not whole or path == whole or path.startswith(f"{whole}.")


def _short(name: str) -> str:
    return markup(name if len(name) < 27 else f"…{name[-25:]}") or "(the model)"
