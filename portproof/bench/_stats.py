"""Statistics over processes: the unit is the process, because calls of one process agree with each other too well."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Change = Literal["faster", "slower", "equivalent", "undecided"]

#: A difference smaller than this is of no use to anyone, and never printed as a win.
MARGIN = 0.02
ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """How much longer one runner takes than another.

    Attributes:
        change: of the second against the first.
        ratio: second over first, the geometric mean over pairs of processes.
        low, high: of the confidence interval of the ratio, at 95% or, over many comparisons, corrected.
        pairs: of processes; 0 where the two were not interleaved.
        p: two-sided, of no difference; before correction.
    """

    change: Change
    ratio: float
    low: float
    high: float
    pairs: int
    p: float


#: Where in a process's samples the time lies that processes are compared by.
UNDISTURBED = 0.05


def undisturbed(samples_ms: Sequence[float]) -> float:
    """Return what a call of a process takes when nobody disturbs it: the 5% quantile of its samples.

    Neighbours, interrupts and the clock only ever add time, and not to both of a pair alike: over 160 processes of one
    runner on a shared machine the medians spread by 4.7%, the 5% quantiles by 2% (docs/benchmarks.md). A runner that is
    slower is slower there too. What people wait for, the median and the tails, is printed beside it.
    """
    ordered = sorted(samples_ms)
    return ordered[int(UNDISTURBED * len(ordered))]


def compare_paired(first: Sequence[float], second: Sequence[float], alpha: float = ALPHA) -> Comparison:
    """Compare two runners over pairs of processes that ran next to each other: a paired t interval of log ratios.

    Args:
        first, second: a time per process, in the order of the rounds.
        alpha: probability of a wrong interval.

    Raises:
        ValueError: the two have other numbers of processes, or there are fewer than two.
    """
    logs = [math.log(b / a) for a, b in zip(first, second, strict=True)]
    if len(logs) < 2:
        raise ValueError("a comparison needs at least two pairs of processes")
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return _settle(statistics.mean(logs), error, len(logs) - 1, len(logs), alpha)


def compare_unpaired(first: Sequence[float], second: Sequence[float], alpha: float = ALPHA) -> Comparison:
    """Compare processes of two runs that were not interleaved: Welch's t interval of log times.

    What drifts between the runs is in it, so that it is indicative at best.
    """
    one, two = ([math.log(value) for value in values] for values in (first, second))
    if min(len(one), len(two)) < 2:
        raise ValueError("a comparison needs at least two processes of each")
    parts = [statistics.variance(logs) / len(logs) for logs in (one, two)]
    error = math.sqrt(sum(parts))
    squares = sum(part**2 / (len(logs) - 1) for part, logs in zip(parts, (one, two), strict=True))
    freedom = sum(parts) ** 2 / squares if squares else len(one) + len(two) - 2
    return _settle(statistics.mean(two) - statistics.mean(one), error, freedom, 0, alpha)


def interval(times: Sequence[float], alpha: float = ALPHA) -> tuple[float, float]:
    """Return the t interval of the geometric mean of a time per process; without bounds where there is but one."""
    from scipy import stats

    logs = [math.log(value) for value in times]
    if len(logs) < 2:
        return 0.0, math.inf
    half = float(stats.t.ppf(1 - alpha / 2, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return _exp(statistics.mean(logs) - half), _exp(statistics.mean(logs) + half)


def _exp(power: float) -> float:
    return math.exp(power) if power < math.log(sys.float_info.max) else math.inf


def _settle(mean: float, error: float, freedom: float, pairs: int, alpha: float) -> Comparison:
    from scipy import stats

    half = float(stats.t.ppf(1 - alpha / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error > 0 else float(mean == 0)
    low, high = _exp(mean - half), _exp(mean + half)
    change: Change = "undecided"
    if low > 1 and math.exp(mean) >= 1 + MARGIN:
        change = "slower"
    elif high < 1 and math.exp(mean) <= 1 / (1 + MARGIN):
        change = "faster"
    elif low >= 1 / (1 + MARGIN) and high <= 1 + MARGIN:
        change = "equivalent"
    return Comparison(change, math.exp(mean), low, high, pairs, p)


def compare_many(first: Sequence[float], others: Mapping[str, Sequence[float]]) -> dict[str, Comparison]:
    """Compare many runners with one, with Holm's correction: each in its turn at the level that the step allows.

    Holm, "A simple sequentially rejective multiple test procedure", 1979. A comparison after one that decided nothing
    decides nothing either.
    """
    plain = {name: compare_paired(first, times) for name, times in others.items()}
    settled: dict[str, Comparison] = {}
    stopped = False
    for step, name in enumerate(sorted(plain, key=lambda name: plain[name].p)):
        found = compare_paired(first, others[name], ALPHA / (len(plain) - step))
        stopped = stopped or found.p > ALPHA / (len(plain) - step)
        if stopped and found.change in ("faster", "slower"):
            found = Comparison("undecided", found.ratio, found.low, found.high, found.pairs, found.p)
        settled[name] = found
    return {name: settled[name] for name in others}


def samples_needed(quantile: float, confidence: float = 0.99) -> int:
    """Return how many samples support a quantile.

    The smallest n for which the largest of n samples lies beyond the quantile with the confidence: 459 for the 99th
    percentile and 44 for the 90th at 99%, as in MLPerf's LoadGen for early stopping with no sample beyond.
    """
    return math.ceil(math.log(1 - confidence) / math.log(quantile))


def percentile(samples: Sequence[float], quantile: float) -> float | None:
    """Return a quantile of samples, None where there are too few of them to support it."""
    if len(samples) < samples_needed(quantile):
        return None
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, math.ceil(quantile * len(ordered)) - 1)]


def detectable(first: Sequence[float], second: Sequence[float], power: float = 0.9) -> float:
    """Return the smallest change that this many pairs would call different with a probability, as a share.

    Never less than the margin.
    """
    from scipy import stats

    logs = [math.log(b / a) for a, b in zip(first, second, strict=True)]
    freedom = len(logs) - 1
    reach = float(stats.t.ppf(1 - ALPHA / 2, freedom) + stats.t.ppf(power, freedom))
    spread = statistics.stdev(logs) / math.sqrt(len(logs))
    return max(MARGIN, _exp(reach * spread) - 1)
