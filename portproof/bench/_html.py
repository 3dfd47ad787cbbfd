"""A benchmark's result as one page that needs no network: what to deploy, plots as inline SVG, figures as tables."""

from __future__ import annotations

from typing import Any

from portproof.bench._plots import Figure, figures
from portproof.bench._print import mib
from portproof.bench._recommend import recommend_from
from portproof.bench._result import BenchResult, TimedRow, quantiles
from portproof.bench._standing import break_even, comparisons, order
from portproof.render._layout import rendered


def page(result: BenchResult, contended: BenchResult | None = None) -> str:
    """Return the page.

    Args:
        result: of one run.
        contended: of the same suite beside a busy neighbour, to stand next to it.
    """
    first = result.suite.batches[0]
    has_times = any(row.batch == first and row.processes for row in result.rows)
    drawn: list[Figure] = figures(result, contended) if has_times else []
    return rendered(
        "bench",
        suite=result.suite, environment=result.environment, complete=result.complete, figures=drawn,
        headline=headline(result), why=recommend_from(result, first).why if has_times else (),
        rounds=len({process.round for row in result.rows for process in row.processes}),
        failed=[row for row in result.rows if not row.processes],
        tables=[(batch, _rows(result, batch)) for batch in result.suite.batches],
        unverified=sorted({
            f"{row.title}: {claim.what}: {claim.text}"
            for row in result.rows for process in row.processes for claim in process.claims
            if claim.state == "unverified"
        }),
        skipped=[f"{entry.runner}: {entry.reason}" for entry in result.skipped],
    )  # fmt: skip


def headline(result: BenchResult) -> str:
    """Say in one line what to deploy, and how much faster it is than the next runner that is slower beyond doubt."""
    batch = result.suite.batches[0]
    rows = sorted((row for row in result.rows if row.batch == batch and row.processes), key=order)
    best = recommend_from(result, batch).row if rows else None
    if best is None:
        return f"{result.suite.port}: no runner has a number at batch {batch}"
    if result.suite.objective == "throughput" or result.suite.scenario == "offline":
        return f"Deploy {best.title}: {best.rows_per_s or 0:,.1f} rows a second, the most of {len(rows)}"
    said = f"Deploy {best.title}: {milliseconds(best.median_ms)} ms"
    against = comparisons(result, batch, best.runner)
    slow = {name for name, found in against.items() if found.change == "slower"}
    near = {_plain(row) for row in rows if row.runner not in slow}  # with other settings they are no rivals
    slower = next((row for row in rows if _plain(row) not in near), None)
    if slower is not None:
        said += f", {against[slower.runner].ratio:.2f} times as fast as {slower.title}"
    return said


def _plain(row: TimedRow) -> str:
    """Name a row's runner without its settings."""
    return row.runner.partition(":")[0]


def milliseconds(value: float | None) -> str:
    """Put a time into words, three digits of it."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rows(result: BenchResult, batch: int) -> list[dict[str, Any]]:
    against = comparisons(result, batch)
    rows: list[dict[str, Any]] = []
    for row in sorted((row for row in result.rows if row.batch == batch), key=order):
        shown = {"title": row.title, "side": row.side, "contended": row.contended}
        if row.median_ms is None:
            rows.append({**shown, "reason": row.reason or "no number", "verdict": row.verdict})
            continue
        tail, share, found = quantiles(row.samples_ms), result.share_of_peak(row), against.get(row.runner)
        rows.append({
            **shown, "reason": None, "median": f"{row.median_ms:.2f}",
            "p90": _or_dash(tail["p90"]), "p99": _or_dash(tail["p99"]), "rate": f"{row.rows_per_s or 0:,.1f}",
            "share": "" if share is None else f"{share:.0%}", "pays": break_even(result, row),
            "setup": f"{row.setup_s or 0:.1f}", "memory": mib(row.peak_memory),
            "against": "" if found is None else f"{found.ratio:.2f}x, {found.change}",
        })  # fmt: skip
    return rows


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
