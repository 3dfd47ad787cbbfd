"""A report as one page that needs no network and no scripts."""

from __future__ import annotations

import math
from importlib.resources import files
from typing import Any

from portproof._errors import require_packages
from portproof._text import plain
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import Report
from portproof.render import _charts, _graph, _words

_MEANING = {
    "identical": "both sides put out the same bits, hop by hop.",
    "equivalent": "both sides are the same function, and every hop rounds as it honestly may.",
    "divergent": "they differ by more than honest rounding makes; the culprits say where.",
    "inconclusive": "a check could not have seen a fault; the hops say which and why.",
    "unavailable": "something that was asked for could not run; the hops say what and why.",
}


def require_jinja() -> None:
    """Raise :class:`Unavailable` where jinja2 is not installed."""
    require_packages("a page", "jinja2")


def page_environment() -> Any:
    """Return the environment that pages are rendered in: whatever a report says is text there, never markup."""
    require_jinja()
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined, finalize=shown)


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
        modules.sort(key=lambda detail: -(math.inf if detail.ratio is None else detail.ratio))
    template = page_environment().from_string(
        (files("portproof.render") / "page.html.jinja").read_text(encoding="utf-8")
    )
    leader, follower = _sides(report)
    spent = sorted(((s, name) for name, s in report.seconds.items() if name != "total"), reverse=True)[:5]
    return str(template.render(
        report=report, meaning=_MEANING[report.verdict], weights=", ".join(report.weights) or "no",
        inputs=_words.inputs_seen(report.inputs),
        groups=_words.grouped(report.hops), between=_words.between, number=_words.number, causes=_words.causes,
        advice=_words.ADVICE, anchors=_Anchors(anchors), wrong=wrong, modules=modules, leader=leader,
        follower=follower, multiple=f"{FLOOR_MULTIPLE:.0f}", classes=_graph.CLASSES,
        left_out=_words.left_out(report.ignored), versions=_words.versions(report.environment),
        longest=[(name, seconds) for seconds, name in spent], scale=lambda ratio: Markup(_scale(ratio)),
        graph=Markup(_graph.draw(report.details, report.edges, anchors, wrong)),
        distributions=lambda seen: Markup(_charts.distributions(seen)),
        decades=lambda seen: Markup(_charts.decades(seen)),
    ))  # fmt: skip


class _Anchors(dict[str, str]):
    """Ids of sections; "" where a module has none."""

    def __missing__(self, _: str) -> str:
        return ""


def _sides(report: Report) -> tuple[str, str]:
    """Name the side that leads and the other."""
    hop = next((hop for hop in report.hops if hop.kind == "semantics"), None)
    if hop is None:
        return "the one side", "the other"
    return hop.source.partition(" ")[0], hop.target.partition(" ")[0]


def _scale(ratio: float | None) -> str:
    """Draw a ratio on a logarithmic bar from 0.1 to 1e6, with a mark where a divergence begins."""

    def along(value: float) -> int:
        return round(130 * (min(max(math.log10(value), -1), 6) + 1) / 7) if value > 0 else 0

    value = math.inf if ratio is None else ratio
    length = 130 if math.isinf(value) else along(value)
    shade = "#b91c1c" if value > FLOOR_MULTIPLE else "#16a34a"
    mark = along(FLOOR_MULTIPLE)
    return (
        f'<svg class="scale" viewBox="0 0 130 14" aria-hidden="true"><rect y="3" width="130" height="8" '
        f'fill="#f5f5f4"/><rect y="3" width="{length}" height="8" fill="{shade}"/>'
        f'<path d="M{mark} 0V14" stroke="#1c1917"/></svg>'
    )
