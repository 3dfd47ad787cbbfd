"""Two results row by row: of two runs (``bench compare``), or of two versions run interleaved (``bench gate``)."""

from __future__ import annotations

from dataclasses import dataclass

from portproof._errors import BadInput
from portproof.bench._result import BenchResult, TimedRow, differing_hosts
from portproof.bench._standing import comparisons
from portproof.bench._stats import ALPHA, Comparison, compare_paired, compare_unpaired, interval

Key = tuple[str, int]


@dataclass(frozen=True)
class Compared:
    """Two results, row by row.

    Attributes:
        rows: runner and batch to the comparison.
        only: rows that one result alone has, with its place (0 or 1).
        apart: what differs between machines and suites; the comparison then says nothing about the code.
        limit: share by which the second may be slower.
        overlap: rows whose two intervals, each of its own run, have a time in common.
        same: rows of which both runs say the same: parity, and the comparison with the first run's fastest runner.
        interleaved: whether the two were run process by process next to each other.
    """

    rows: dict[Key, Comparison]
    only: tuple[tuple[int, str, int], ...]
    apart: tuple[str, ...]
    limit: float | None
    overlap: frozenset[Key]
    same: frozenset[Key]
    interleaved: bool

    @property
    def slower(self) -> list[Key]:
        """Rows that are slower than the limit allows, beyond doubt."""
        if self.limit is None:
            return []
        return [key for key, found in self.rows.items() if found.low > 1 + self.limit]

    @property
    def exit_code(self) -> int:
        """1 where a row is slower than allowed, 3 where that cannot be told, else 0."""
        if self.limit is None:
            return 0
        if self.apart or any(place == 0 for place, _, _ in self.only):
            return 3
        if self.slower:
            return 1
        open_ = [found for found in self.rows.values() if found.high > 1 + self.limit]
        return 3 if open_ else 0


def compare_results(
    first: BenchResult, second: BenchResult, limit: float | None = None, *, interleaved: bool = False
) -> Compared:
    """Compare the rows that two results share, each at the level that Bonferroni's correction leaves it.

    Args:
        first, second: of the same port.
        limit: share by which the second may be slower.
        interleaved: whether processes of the same round ran next to each other and make pairs.

    Raises:
        BadInput: they are of two ports, or share no row with two processes.
    """
    if first.suite.port != second.suite.port:
        raise BadInput(f"the results are of two ports, '{first.suite.port}' and '{second.suite.port}'; compare one.")
    one, two = ({row.key: row for row in result.rows if len(row.processes) > 1} for result in (first, second))
    shared = [key for key in one if key in two]
    if not shared:
        raise BadInput("the results share no row that has two processes in both; run the same runners and batches.")
    alpha = ALPHA / len(shared)
    rows = {}
    for key in shared:
        if interleaved:
            rows[key] = compare_paired(*_same_rounds(one[key], two[key]), alpha)
        else:
            rows[key] = compare_unpaired(one[key].compared_ms, two[key].compared_ms, alpha)
    only = [(0, *key) for key in one if key not in two] + [(1, *key) for key in two if key not in one]
    overlap = frozenset(key for key in shared if _overlap(one[key], two[key]))
    fastest = {
        batch: min((row for row in one.values() if row.batch == batch), key=lambda row: row.median_ms or 0.0).runner
        for _, batch in one
    }
    said = [_said(result, fastest) for result in (first, second)]
    same = frozenset(key for key in shared if said[0][key] == said[1][key])
    apart = () if interleaved else tuple(differing_hosts(first, second))
    return Compared(rows, tuple(only), apart, limit, overlap, same, interleaved)


def _same_rounds(one: TimedRow, two: TimedRow) -> tuple[list[float], list[float]]:
    times = [{process.round: process.compared_ms for process in row.processes} for row in (one, two)]
    rounds = sorted(times[0].keys() & times[1].keys())
    return [times[0][n] for n in rounds], [times[1][n] for n in rounds]


def _overlap(one: TimedRow, two: TimedRow) -> bool:
    (low, high), (other_low, other_high) = interval(one.compared_ms), interval(two.compared_ms)
    return low <= other_high and other_low <= high


def _said(result: BenchResult, fastest: dict[int, str]) -> dict[Key, tuple[str, str]]:
    """Return of each row whether it keeps parity, and what it is beside one runner of its batch size."""
    against = {batch: comparisons(result, batch, runner) for batch, runner in fastest.items()}
    found: dict[Key, tuple[str, str]] = {}
    for row in result.rows:
        beside = against.get(row.batch, {}).get(row.runner)
        found[row.key] = row.verdict, "" if beside is None else beside.change
    return found
