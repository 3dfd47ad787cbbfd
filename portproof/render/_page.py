"""A report as one page that needs no network."""

from __future__ import annotations

import math

from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import HOLDS, Hop, Report
from portproof.render import _charts, _graph, _words
from portproof.render._heat import heat
from portproof.render._layout import rendered, require_jinja

_MEANING = {
    "identical": "both sides put out the same bits, hop by hop.",
    "equivalent": "both sides are the same function, and every hop rounds as it honestly may.",
    "divergent": "they differ by more than honest rounding makes.",
    "inconclusive": "a check could not have seen a fault; the hops say which and why.",
    "unavailable": "something that was asked for could not run; the hops say what and why.",
}


def page(report: Report) -> str:
    """Return the page.

    Args:
        report: of ``verify``, made with ``pictures`` for distributions and the network.
    """
    require_jinja()
    from markupsafe import Markup

    wrong = {culprit.module for culprit in report.culprits}
    anchors = {detail.module: f"m{index}" for index, detail in enumerate(report.details)}
    modules = list(report.details)
    if wrong:
        modules.sort(key=lambda d: (d.module not in wrong, -(math.inf if d.ratio is None else d.ratio)))
    leader, follower = _sides(report)
    spent = sorted(((s, name) for name, s in report.seconds.items() if name != "total"), reverse=True)[:5]
    return rendered(
        "report",
        report=report, meaning=_MEANING[report.verdict], weights=", ".join(report.weights) or "no",
        headline=headline(report), inputs=_words.inputs_seen(report.inputs),
        groups=_words.grouped(report.hops), between=_words.between, number=_words.number, causes=_words.causes,
        shortened=_words.shortened, line_words=_words.line_words, around=_words.around, came=_words.came,
        failing=[(index, hop) for index, hop in enumerate(_in_order(report)) if hop.verdict not in HOLDS],
        advice=_words.ADVICE, anchors=anchors, wrong=wrong, modules=modules, leader=leader, follower=follower,
        beyond=[d for d in modules if d.ratio is None or d.ratio > FLOOR_MULTIPLE or d.module in wrong],
        wholes={d.module.rpartition(".")[0] for d in modules if d.module},
        shade=_graph.shade, multiple=f"{FLOOR_MULTIPLE:.0f}", classes=_graph.CLASSES,
        left_out=_words.left_out(report.ignored), versions=_words.versions(report.environment),
        longest=[(name, seconds) for seconds, name in spent], scale=lambda ratio: Markup(_scale(ratio)),
        heat=Markup(heat(report.details, anchors, wrong)),
        graph=Markup(_graph.draw(report.details, report.edges, anchors, wrong)),
        distributions=lambda seen: Markup(_charts.distributions(seen, _side(leader), _side(follower))),
        decades=lambda seen: Markup(_charts.decades(seen)), channels=lambda seen: Markup(_charts.channels(seen)),
        side=_side,
    )  # fmt: skip


def headline(report: Report) -> str:
    """Say in one line what came of a report."""
    found = _words.causes(report, report.culprits)
    if found:
        what = f"{found[0].kind} otherwise" if found[0].kind == "computes" else found[0].kind
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        said = "differs" if report.verdict == "divergent" else f"is {report.verdict}"
        return f"{report.port} {said}: {found[0].title} {what}{more}"
    if report.verdict in HOLDS:
        left = [hop for hop in report.hops if hop.verdict not in HOLDS]
        if left:
            return f"{report.port}: the same function; {left[0].verdict} at {_words.between(left[0])}"
        farthest = _words.number(max((hop.worst.ratio or 0.0 for hop in report.hops if hop.worst), default=0.0))
        said = f"the farthest of {len(report.hops)} lies {farthest} of {FLOOR_MULTIPLE:.0f} noise floors out"
        return f"{report.port}: the same function on every hop; {said}"
    failing = next((hop for hop in report.hops if hop.verdict == report.verdict), None)
    return f"{report.port}: {report.verdict}" + (f" at {_words.between(failing)}" if failing else "")


def _in_order(report: Report) -> list[Hop]:
    return [hop for _, hops in _words.grouped(report.hops) for hop in hops]


def _sides(report: Report) -> tuple[str, str]:
    """Name the side that leads and the other."""
    hop = next((hop for hop in report.hops if hop.kind == "semantics"), None)
    if hop is None:
        return "the one side", "the other"
    return hop.source.partition(" ")[0], hop.target.partition(" ")[0]


def _side(title: str) -> str:
    """Return the style sheet's class of a side."""
    return title.lower() if title.lower() in ("torch", "paddle") else "other"


def _scale(ratio: float | None) -> str:
    """Draw a ratio on a logarithmic bar from 0.1 to 1e6, with a mark where a divergence begins."""

    def along(value: float) -> int:
        return round(130 * (min(max(math.log10(value), -1), 6) + 1) / 7) if value > 0 else 0

    value = math.inf if ratio is None else ratio
    length = 130 if math.isinf(value) else along(value)
    mark = along(FLOOR_MULTIPLE)
    return (
        f'<svg class="scale" viewBox="0 0 130 14" aria-hidden="true"><rect y="3" width="130" height="8" '
        f'class="ground"/><rect y="3" width="{length}" height="8" class="{_graph.shade(ratio)}"/>'
        f'<path d="M{mark} 0V14" class="mark"/></svg>'
    )
