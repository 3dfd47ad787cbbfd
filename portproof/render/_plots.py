"""Plots by matplotlib, as SVG: a colour means the same in all, and on a page follows its light or dark style."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from typing import Any

#: Of the light style sheet: the sides, what is neither, a divergence, and ink.
SIDE_COLOURS = {"torch": "#c2410c", "paddle": "#1d4ed8", "": "#6b6560"}
DIVERGENCE = "#c8102e"
INK, MUTED, LINE = "#1c1917", "#57534e", "#d6d3d1"
#: Tell lines of one colour apart.
MARKERS = "os^DvPX*<>"
_VARIABLES = {
    SIDE_COLOURS["torch"]: "torch", SIDE_COLOURS["paddle"]: "paddle", SIDE_COLOURS[""]: "other",
    INK: "ink", MUTED: "muted", LINE: "line", "#000000": "ink",
}  # fmt: skip
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "portproof", "font.family": "sans-serif", "font.size": 10,
    "text.parse_math": False, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED,
    "xtick.color": INK, "ytick.color": INK, "grid.color": LINE, "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
#: Inches; on a phone its text is still read.
SIZE = (5.6, 3.6)


def drawn(draw: Callable[[Any], None], size: tuple[float, float] = SIZE) -> str:
    """Return a figure as an SVG whose texts are texts.

    Args:
        draw: is given matplotlib's figure.
        size: in inches.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def inline(svg: str) -> str:
    """Return an SVG for the inside of a page: without a background, in the page's colours."""
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)  # figure_1 stands in every one
    own = f"f{zlib.crc32(svg.encode()):x}-"  # two figures may have the same marks
    text = re.sub(r'( id="|url\(#|href="#)', lambda found: found[1] + own, text)
    text = text.replace("fill: #ffffff", "fill: none")
    return re.sub("#[0-9a-f]{6}", lambda found: _variable(found[0]), text)


def _variable(colour: str) -> str:
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour
