"""``bench recommend``: the row to deploy, chosen from a result, with the reason and what speaks against it."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass

from portproof._errors import BadInput
from portproof.bench._result import BenchResult, TimedRow
from portproof.bench._standing import comparisons
from portproof.bench._stats import percentile, samples_needed


@dataclass(frozen=True)
class Slo:
    """What a choice must keep: a percentile of latency below a limit."""

    quantile: float
    limit_ms: float

    def __str__(self) -> str:
        return f"p{self.quantile * 100:.0f}={self.limit_ms:g}ms"

    @classmethod
    def parse(cls, text: str) -> Slo:
        """Read ``p99=30ms``.

        Raises:
            BadInput: it is none.
        """
        found = re.fullmatch(r"p(50|90|99)=(\d+(?:\.\d+)?)(ms|s)", text.strip())
        if found is None:
            raise BadInput(f"--slo takes p50, p90 or p99 and a time, such as p99=30ms; found '{text}'.")
        return cls(int(found[1]) / 100, float(found[2]) * (1000 if found[3] == "s" else 1))


@dataclass(frozen=True)
class Recommended:
    """What is recommended.

    Attributes:
        row: None where no row qualifies.
        why: in words, a sentence each.
        undecided: whether the samples cannot say.
        result: that it was chosen from.
    """

    row: TimedRow | None
    why: tuple[str, ...]
    undecided: bool
    result: BenchResult

    @property
    def exit_code(self) -> int:
        """0 with a choice, 1 where no row keeps the limit, 3 where the samples cannot say."""
        if self.row is not None:
            return 0
        return 3 if self.undecided else 1


def recommend_from(result: BenchResult, batch: int, slo: Slo | None = None) -> Recommended:
    """Choose the fastest row at a batch size that keeps a limit; for throughput, the one with most rows a second.

    Raises:
        BadInput: the result has no number at this batch size.
    """
    rows = [row for row in result.rows if row.batch == batch and row.processes]
    if not rows:
        known = sorted({row.batch for row in result.rows if row.processes})
        raise BadInput(f"the result has no number at batch {batch}; there are {known}.")
    why: list[str] = []
    undecided = False
    if slo is not None:
        kept, said, undecided = keeping(rows, slo)
        why += said
        if not kept:
            return Recommended(None, tuple(why), undecided, result)
        rows = kept
    if result.suite.objective == "throughput" or result.suite.scenario == "offline":
        best = max(rows, key=lambda row: row.rows_per_s or 0.0)
        why.append(f"{best.rows_per_s:.1f} rows a second, the most of {len(rows)}")
    else:
        best = min(rows, key=lambda row: row.median_ms or float("inf"))
        why.append(f"median {best.median_ms:.2f} ms, the lowest of {len(rows)}")
    share = result.share_of_peak(best)
    if share is not None:
        why.append(f"{share:.0%} of this processor's measured float32 peak")
    close = [name for name, found in comparisons(result, batch).items() if found.change not in ("slower",)]
    near = [name for name in close if name != best.runner and any(row.runner == name for row in rows)]
    if near:
        why.append(f"not told apart from it by these rounds: {', '.join(near[:6])}")
    why.append(f"setup {best.setup_s:.1f} s: import, build and first call")
    if best.contended and result.suite.objective != "contended":
        why.append("measured beside others: run again on a machine left alone")
    return Recommended(best, tuple(why), False, result)


def keeping(rows: list[TimedRow], slo: Slo) -> tuple[list[TimedRow], list[str], bool]:
    """Return the rows whose percentile lies below a limit, what is said of the others, and whether samples lack."""
    kept, said, lacking = [], [], False
    for row in rows:
        samples = row.samples_ms
        middle = statistics.median(samples)
        found = middle if slo.quantile == 0.5 else percentile(samples, slo.quantile)
        named = f"p{slo.quantile * 100:.0f}"
        if found is not None and found <= slo.limit_ms:
            kept.append(row)
        elif found is not None:
            said.append(f"{row.runner}: {named} is {found:.2f} ms")
        elif middle > slo.limit_ms:
            said.append(f"{row.runner}: the median alone is {middle:.2f} ms")
        else:
            lacking = True
            count = f"{len(samples)} samples, {named} needs {samples_needed(slo.quantile)}"
            said.append(f"{row.runner}: {count}: give more --seconds or --processes")
    return kept, said, lacking
