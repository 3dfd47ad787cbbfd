"""How a result's rows stand beside each other: in order, compared over the same rounds, and when setup pays."""

from __future__ import annotations

import statistics

from portproof.bench._result import BenchResult, TimedRow
from portproof.bench._stats import Comparison, compare_many, detectable
from portproof.ports._port import Side


def order(row: TimedRow) -> tuple[int, bool, float]:
    """Return what rows are sorted by: the batch, then the fastest first and those without a number last."""
    return row.batch, row.median_ms is None, row.median_ms or 0.0


def comparisons(result: BenchResult, batch: int, reference: str | None = None) -> dict[str, Comparison]:
    """Compare every runner at a batch size with one, over pairs of processes of the same round.

    Args:
        result: of a run.
        batch: rows in a request.
        reference: the runner that the others are compared with; the fastest if None.
    """
    best, others = _paired(result, batch, reference)
    return compare_many(best, others) if others else {}


def _paired(
    result: BenchResult, batch: int, reference: str | None = None
) -> tuple[list[float], dict[str, list[float]]]:
    """Return the times of the reference's processes, and of every other's in the same rounds."""
    rows = sorted((r for r in result.rows if r.batch == batch and r.processes), key=order)
    rows.sort(key=lambda row: row.runner != reference)  # stable: without a reference the fastest stays first
    if not rows or len(rows[0].processes) < 2:
        return [], {}
    best = {process.round: process.compared_ms for process in rows[0].processes}
    others = {row.runner: {process.round: process.compared_ms for process in row.processes} for row in rows[1:]}
    rounds = sorted(best)
    same = {name: [own[n] for n in rounds] for name, own in others.items() if own.keys() == best.keys()}
    return [best[n] for n in rounds], same


def detectable_changes(result: BenchResult, batch: int) -> list[float]:
    """Return the smallest change that could be told of each other runner beside the fastest, nine times in ten."""
    best, others = _paired(result, batch)
    return [detectable(best, times) for times in others.values()] if len(best) > 2 else []


def break_even(result: BenchResult, row: TimedRow) -> str:
    """Say after how many requests a runner's setup is paid for against the plain runner of its side."""
    eager = Side(row.side).eager if row.side else None
    plain = next((r for r in result.rows if r.runner == eager and r.batch == row.batch and r.processes), None)
    if plain is None or plain is row or row.median_ms is None or plain.median_ms is None:
        return ""
    setups = [statistics.median(process.setup_s for process in r.processes) * 1e3 for r in (row, plain)]
    saved = plain.median_ms - row.median_ms
    if saved <= 0:
        return "never"
    return "at once" if setups[0] <= setups[1] else f"{(setups[0] - setups[1]) / saved:,.0f}"
