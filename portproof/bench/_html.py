"""A benchmark's result as one page that needs no network and no scripts: plots as inline SVG, figures as tables."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable
from typing import Any

from portproof._text import plain
from portproof.bench._result import BenchResult, TimedRow, quantiles
from portproof.bench._standing import break_even, comparisons
from portproof.ports._port import Side
from portproof.render._page import page_environment

_COLOURS = {"torch": "#c2410c", "paddle": "#1d4ed8", "": "#57534e"}
#: About how many samples of a process are drawn, evenly over its quantiles.
_DOTS = 40
#: Rows in a plot: more are slow ones that squeeze the rest.
_SHOWN = 16

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ suite.port }}: latency</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1917; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e7e5e4; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
.muted { color: #57534e; } .bad { color: #b91c1c; } .warn { color: #a16207; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; } figcaption { color: #57534e; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
</style>
</head>
<body>
<h1>{{ suite.port }}: latency</h1>
<p class="muted">{{ suite.device }}, {{ suite.threads }} threads, {{ suite.scenario }}, {{ suite.boundary }} to
{{ suite.boundary }}, {{ suite.objective }}; {{ rounds }} rounds of fresh processes in random order, on
{{ environment.processor }}</p>
{% if not complete %}<p class="bad">Not complete: the run was interrupted.</p>{% endif %}
{% for batch, rows in tables %}
<h2>Batch {{ batch }}</h2>
<table>
<thead><tr><th scope="col">runner</th><th scope="col">median ms</th><th scope="col">p90</th><th scope="col">p99</th>
<th scope="col">rows/s</th><th scope="col">of peak</th><th scope="col">setup s</th><th scope="col">pays after</th>
<th scope="col">against the first</th></tr></thead>
<tbody>
{% for row in rows %}
<tr><td>{{ row.title }}{% if row.contended %} <span class="warn">contended</span>{% endif %}</td>
{% if row.reason %}<td colspan="8" class="bad">{{ row.verdict }}: {{ row.reason }}</td>
{% else %}<td>{{ row.median }}</td><td>{{ row.p90 }}</td><td>{{ row.p99 }}</td><td>{{ row.rate }}</td>
<td>{{ row.share }}</td><td>{{ row.setup }}</td><td>{{ row.pays }}</td><td>{{ row.against }}</td>{% endif %}</tr>
{% endfor %}
</tbody>
</table>
{% endfor %}
<p class="muted">Each row passed parity before and after it was timed. A percentile is given where the samples support
it: 44 for the 90th, 459 for the 99th. <em>Pays after</em>: requests after which the setup is paid for against the
plain framework.</p>
{% for title, caption, svg in figures %}
<h2>{{ title }}</h2>
<figure role="img" aria-label="{{ title }}">{{ svg | safe }}<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
{% if unverified %}<h2>Unverified</h2><ul>{% for text in unverified %}<li>{{ text }}</li>{% endfor %}</ul>{% endif %}
{% if skipped %}<h2>Skipped</h2><ul>{% for text in skipped %}<li>{{ text }}</li>{% endfor %}</ul>{% endif %}
<h2>Made with</h2>
<p>{% for name, version in environment.packages.items() %}{{ name }} {{ version }}, {% endfor %}
portproof {{ environment.portproof }}, Python {{ environment.python }}, {{ environment.system }}</p>
</body>
</html>
"""


def page(result: BenchResult, contended: BenchResult | None = None) -> str:
    """Return the page.

    Args:
        result: of one run.
        contended: of the same suite beside a busy neighbour, to stand next to it.
    """
    figures: list[tuple[str, str, str]] = []
    first = result.suite.batches[0]
    if _timed(result, first):
        text = "A line of dots a process, evenly over its samples; the bar: the median. Orange: torch, blue: Paddle."
        figures.append((f"Distribution, batch {first}", text, _drawn(lambda axes: _distribution(axes, result, first))))
    if any(result.share_of_peak(row) is not None for row in _timed(result, first)):
        text = "Multiply-adds of the model's layers per second, as a share of the FMA peak measured in the same run."
        figures.append(("Share of the processor's peak", text, _drawn(lambda axes: _shares(axes, result, first))))
    if len(result.suite.batches) > 1:
        text = "Rows a second over the rows in a request."
        figures.append(("Batch sizes", text, _drawn(lambda axes: _batches(axes, result))))
    if any(row.side for row in _timed(result, first)):
        text = "Time until so many requests are served, import, build and first call included."
        figures.append(("What setup costs", text, _drawn(lambda axes: _break_even(axes, result, first))))
    if contended is not None:
        text = "The same runners on a machine left alone and beside a busy neighbour."
        figures.append(("Quiet and contended", text, _drawn(lambda axes: _contended(axes, result, contended, first))))
    return str(page_environment().from_string(_PAGE).render(
        suite=result.suite, environment=result.environment, complete=result.complete, figures=figures,
        rounds=len({process.round for row in result.rows for process in row.processes}),
        tables=[(batch, _rows(result, batch)) for batch in result.suite.batches],
        unverified=sorted({
            f"{row.title}: {claim.what}: {claim.text}"
            for row in result.rows for process in row.processes for claim in process.claims
            if claim.state == "unverified"
        }),
        skipped=[f"{entry.runner}: {entry.reason}" for entry in result.skipped],
    ))  # fmt: skip


def _timed(result: BenchResult, batch: int) -> list[TimedRow]:
    rows = [row for row in result.rows if row.batch == batch and row.processes]
    return sorted(rows, key=lambda row: row.median_ms or 0.0)


def _rows(result: BenchResult, batch: int) -> list[dict[str, Any]]:
    against = comparisons(result, batch)
    rows: list[dict[str, Any]] = []
    for row in [*_timed(result, batch), *(r for r in result.rows if r.batch == batch and not r.processes)]:
        if row.median_ms is None:
            rows.append({"title": row.title, "reason": row.reason or "no number", "verdict": row.verdict,
                         "contended": False})  # fmt: skip
            continue
        tail, share, found = quantiles(row.samples_ms), result.share_of_peak(row), against.get(row.runner)
        rows.append({
            "title": row.title, "reason": None, "contended": row.contended, "median": f"{row.median_ms:.2f}",
            "p90": _or_dash(tail["p90"]), "p99": _or_dash(tail["p99"]), "rate": f"{row.rows_per_s or 0:,.1f}",
            "share": "" if share is None else f"{share:.0%}", "pays": break_even(result, row),
            "setup": f"{statistics.median(process.setup_s for process in row.processes):.1f}",
            "against": "" if found is None else f"{found.ratio:.2f}x, {found.change}",
        })  # fmt: skip
    return rows


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _drawn(draw: Callable[[Any], None]) -> str:
    """Draw one figure and return its SVG, text as text."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    style = {"svg.fonttype": "none", "svg.hashsalt": "portproof", "font.size": 9, "text.parse_math": False}
    with matplotlib.rc_context(style):
        figure, axes = plt.subplots(figsize=(9, 4.2))
        draw(axes)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.tight_layout()
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None})
        plt.close(figure)
    text = target.getvalue()
    return text[text.index("<svg") :]


def _label(row: TimedRow) -> str:
    title = plain(row.title)
    return title if len(title) < 44 else title[:43] + "…"


def _distribution(axes: Any, result: BenchResult, batch: int) -> None:
    rows = _timed(result, batch)[:_SHOWN]
    for place, row in enumerate(rows):
        colour = _COLOURS[row.side]
        count = len(row.processes)
        for index, process in enumerate(row.processes):
            height = place + (index - (count - 1) / 2) * 0.7 / max(count, 1)
            ordered = sorted(process.samples_ms)
            dots = ordered[:: max(1, len(ordered) // _DOTS)]
            axes.plot(dots, [height] * len(dots), ".", ms=2.5, alpha=0.35, color=colour)
        axes.plot([row.median_ms] * 2, [place - 0.42, place + 0.42], color="black", linewidth=1.4)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")


def _shares(axes: Any, result: BenchResult, batch: int) -> None:
    rows = [row for row in _timed(result, batch) if result.share_of_peak(row) is not None][:_SHOWN]
    shares = [100 * (result.share_of_peak(row) or 0.0) for row in rows]
    axes.barh(range(len(rows)), shares, color=[_COLOURS[row.side] for row in rows])
    for place, share in enumerate(shares):
        axes.text(share + 1, place, f"{share:.0f}%", va="center")
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel=f"% of {result.peak_gflops:.0f} GFLOP/s, float32")


def _batches(axes: Any, result: BenchResult) -> None:
    names = list(dict.fromkeys(row.runner for row in _timed(result, result.suite.batches[0])))[:10]
    for name in names:
        rows = sorted((r for r in result.rows if r.runner == name and r.processes), key=lambda r: r.batch)
        axes.plot([row.batch for row in rows], [row.rows_per_s for row in rows], "o-", ms=4, label=_label(rows[0]))
    axes.set(xscale="log", xlabel="rows in a request", ylabel="rows a second", ylim=(0, None))
    axes.set_xticks(result.suite.batches, [str(batch) for batch in result.suite.batches])
    axes.minorticks_off()
    axes.legend(frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")


def _break_even(axes: Any, result: BenchResult, batch: int) -> None:
    timed = _timed(result, batch)
    plain = [row for row in timed if row.side and row.runner == Side(row.side).eager]
    rows = [row for row in timed if row not in plain][: 10 - len(plain)] + plain
    slowest = max(row.median_ms or 1.0 for row in rows)
    most = max(statistics.median(process.setup_s for process in row.processes) for row in rows)
    reach = max(10, int(3 * most * 1e3 / slowest))
    for row in rows:
        setup = statistics.median(process.setup_s for process in row.processes)
        axes.plot([1, reach], [setup, setup + reach * (row.median_ms or 0.0) / 1e3], label=_label(row))
    axes.set(xlabel="requests", ylabel="seconds", ylim=(0, None))
    axes.legend(frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")


def _contended(axes: Any, quiet: BenchResult, contended: BenchResult, batch: int) -> None:
    rows = _timed(quiet, batch)[:_SHOWN]
    beside = {row.runner: row for row in _timed(contended, batch)}
    for place, row in enumerate(rows):
        axes.plot(row.median_ms, place, "o", color=_COLOURS[row.side])
        other = beside.get(row.runner)
        if other is not None:
            axes.plot([row.median_ms, other.median_ms], [place] * 2, color=_COLOURS[row.side], linewidth=1)
            axes.plot(other.median_ms, place, "o", color=_COLOURS[row.side], fillstyle="none")
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="milliseconds; filled: left alone, hollow: beside a busy neighbour")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
