"""A deployment as one page that needs no network: what to deploy, the plot, and every figure in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portproof.deploy._print import again, cells, headline, measured
from portproof.deploy._result import Candidate, Deployment
from portproof.render._layout import rendered
from portproof.render._plots import INK, LINE, MUTED, SIDE_COLOURS, drawn, inline

#: Points of a marker's area: of the smallest process, and for each time as much memory as that.
_LEAST, _EACH = 28.0, 22.0
#: How far a number stands from its point, in points, by turns: neighbours at one height stay apart.
_STEPS = (9, 19, 29)


def page(found: Deployment) -> str:
    """Return the page."""
    numbered = [one for one in found.candidates if one.has_number]
    return rendered(
        "deploy",
        found=found, headline=headline(found), plot=_plot(found, numbered) if numbered else "",
        rows=[(number, one, cells(one)) for number, one in enumerate(numbered, 1)],
        others=[one for one in found.candidates if not one.has_number],
        again=[] if found.held is None else again(found.held), measured=measured(found),
    )  # fmt: skip


def _plot(found: Deployment, numbered: Sequence[Candidate]) -> str:
    return inline(drawn(lambda figure: _draw(figure.subplots(), found, numbered), (5.6, 4.2)))


def _draw(axes: Any, found: Deployment, numbered: Sequence[Candidate]) -> None:
    """Draw loss over latency: a point at what was lost, a line up to the bound, its area by the memory."""
    least = min(one.peak_memory or 1 for one in numbered)
    ordered = sorted(enumerate(numbered, 1), key=lambda item: item[1].latency.median_ms if item[1].latency else 0.0)
    for turn, (number, one) in enumerate(ordered):
        assert one.latency is not None
        assert one.cost is not None
        beaten = one.place == "dominated"
        colour = MUTED if beaten else SIDE_COLOURS[one.side]
        x, y, high = one.latency.median_ms, 100 * one.cost.lost / max(1, one.cost.images), 100 * one.cost.high
        axes.plot([x, x], [y, high], color=LINE if beaten else colour, linewidth=1.2, zorder=1)
        area = _LEAST + _EACH * ((one.peak_memory or least) / least - 1)
        axes.scatter([x], [y], s=area, color=colour, alpha=0.45 if beaten else 0.9, linewidths=0, zorder=2)
        if one.runner == found.recommended:
            axes.scatter([x], [y], s=area + 110, facecolors="none", edgecolors=INK, linewidths=1.4, zorder=3)
        axes.annotate(
            str(number), (x, high), xytext=(0, _STEPS[turn % len(_STEPS)] - 5), textcoords="offset points", ha="center",
            fontsize=8 if beaten else 9, color=MUTED if beaten else INK,
        )  # fmt: skip
    if found.asked.at_most_loss is not None:
        axes.axhline(100 * found.asked.at_most_loss, color=INK, linewidth=1, linestyle="--", zorder=0)
    axes.set(xscale="log", xlabel="milliseconds a request", ylabel="% of images lost")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelrotation=45, labelsize=8)
    axes.set_ylim(bottom=-0.04 * axes.get_ylim()[1])
    axes.margins(y=0.12)
