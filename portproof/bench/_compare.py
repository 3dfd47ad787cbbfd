"""``bench compare``: two results row by row. They were not interleaved, so that a difference is indicative at best."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof._errors import BadInput
from portproof.bench._result import BenchResult, differing_hosts
from portproof.bench._stats import ALPHA, Comparison, compare_unpaired


@dataclass(frozen=True)
class Compared:
    """Two results, row by row.

    Attributes:
        rows: runner and batch to the comparison.
        only: rows that one result alone has, with its place (0 or 1).
        apart: what differs between machines and suites; the comparison then says nothing about the code.
        limit: share by which the second may be slower.
    """

    rows: dict[tuple[str, int], Comparison]
    only: tuple[tuple[int, str, int], ...]
    apart: tuple[str, ...]
    limit: float | None

    @property
    def slower(self) -> list[tuple[str, int]]:
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


def compare_results(first: BenchResult, second: BenchResult, limit: float | None = None) -> Compared:
    """Compare the rows that two results share, each at the level that Bonferroni's correction leaves it.

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
    rows = {key: compare_unpaired(one[key].compared_ms, two[key].compared_ms, alpha) for key in shared}
    only = [(0, *key) for key in one if key not in two] + [(1, *key) for key in two if key not in one]
    return Compared(rows, tuple(only), tuple(differing_hosts(first, second)), limit)


def print_comparison(compared: Compared, console: Console, names: tuple[str, str]) -> None:
    """Print a row a comparison, and what stands against believing it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("runner", max_width=40, overflow="fold")
    for name in ("batch", f"{names[1]} / {names[0]}", "interval"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("")
    for (runner, batch), found in compared.rows.items():
        slow = (runner, batch) in compared.slower
        text = Text("slower than allowed" if slow else found.change, style="bold red" if slow else "")
        table.add_row(runner, str(batch), f"{found.ratio:.3f}", f"{found.low:.3f} to {found.high:.3f}", text)
    console.print(table)
    for place, runner, batch in compared.only:
        console.print(Text(f"only in {names[place]}: {runner}, batch {batch}", style="yellow"))
    for difference in compared.apart:
        console.print(Text(f"not the same: {difference}", style="yellow"))
    console.print(
        "indicative: the two runs were not interleaved, so that what drifted between them is in these numbers"
    )
