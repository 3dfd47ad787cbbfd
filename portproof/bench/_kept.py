"""What ``portproof history`` keeps of a benchmark's result."""

from __future__ import annotations

import math

from portproof.bench._result import BenchResult, TimedRow
from portproof.bench._stats import interval
from portproof.judge._report import Verdict
from portproof.render._history import Kept, Point


def kept_result(result: BenchResult, revision: str, when: str) -> Kept:
    """Return the record of a result: each row's median, and between which times it lies."""
    suite, environment = result.suite, result.environment
    threads = "" if suite.threads is None else f"{suite.threads} threads, "
    under = f"{suite.device}, {threads}{suite.scenario}, {suite.objective}, {environment.get('processor')}"
    verdict: Verdict = "divergent" if result.exit_code == 1 else "equivalent" if _timed(result) else "unavailable"
    return Kept(
        "bench", suite.port, revision, when, verdict, under, tuple(map(_point, result.rows)), (),
        environment.get("packages", {}),
    )  # fmt: skip


def _timed(result: BenchResult) -> bool:
    return any(row.processes for row in result.rows)


def _point(row: TimedRow) -> Point:
    low, high = interval(row.compared_ms) if row.processes else (0.0, math.inf)
    known = len(row.processes) > 1 and math.isfinite(high)
    return Point(
        f"{row.runner}, batch {row.batch}", row.verdict, row.median_ms, low if known else None,
        high if known else None, row.side,
    )  # fmt: skip
