"""A benchmark's result as a table that fits a hundred columns."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof.bench._result import BenchResult, TimedRow, quantiles
from portproof.bench._stats import Comparison, compare_many, detectable

_CHANGE = {"faster": "green", "slower": "yellow", "equivalent": "", "undecided": "dim"}
#: The plain runner of each side, against which setup costs are weighed.
PLAIN = {"torch": "torch-eager", "paddle": "paddle-dygraph"}


def print_result(result: BenchResult, console: Console) -> None:
    """Print the rows, the fastest first, what was skipped and why, and what the numbers were made on."""
    for batch in result.suite.batches:
        console.print(_table(result, batch))
    print_reasons(result, console)
    for said in cache_costs(result):
        console.print(Text(said, style="dim"), overflow="fold")
    for row in result.rows:
        nodes = row.processes[0].evidence.get("cpu_nodes") if row.processes else None
        if nodes:
            said = ", ".join(f"{count} {operator}" for operator, count in nodes.items())
            console.print(Text(f"{row.title}, batch {row.batch}: shape arithmetic on the CPU: {said}", style="dim"))
    unverified: dict[str, set[str]] = {}
    for row in result.rows:
        for claim in (claim for process in row.processes for claim in process.claims):
            if claim.state == "unverified":
                unverified.setdefault(f"{claim.what} unverified: {claim.text}", set()).add(row.title)
    for text, titles in unverified.items():
        console.print(Text(f"{text}: {'; '.join(sorted(titles))}", style="dim"))
    _print_sources(result, console)


def cache_costs(result: BenchResult) -> list[str]:
    """Say of each runner that keeps what is costly to build what the first process paid, and what the others."""
    said = []
    for row in result.rows:
        built, loaded = ([p.setup_s for p in row.processes if p.cached == cached] for cached in (False, True))
        if built and loaded:
            said.append(
                f"{row.title}, batch {row.batch}: setup {max(built):.1f} s at first, "
                f"{statistics.median(loaded):.1f} s with what that left in its cache"
            )
    return said


def print_reasons(result: BenchResult, console: Console, lead: str = "") -> None:
    """Print why rows have no number, and what was skipped; each line begins with ``lead``."""
    for row in result.rows:
        if row.reason:
            console.print(Text(f"{lead}{row.title}, batch {row.batch}: {row.verdict}: {row.reason}", style="yellow"))
    for skipped in result.skipped:
        where = f", batch {skipped.batch}" if skipped.batch is not None else ""
        console.print(Text(f"{lead}skipped {skipped.runner}{where}: {skipped.reason}", style="dim"))


def running_table(result: BenchResult) -> Table:
    """Return the rows as they are now, for a live view."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("runner", "batch", "median ms", "processes"):
        table.add_column(name, justify="left" if name == "runner" else "right")
    for row in sorted(result.rows, key=_order):
        median = "-" if row.median_ms is None else f"{row.median_ms:.2f}"
        table.add_row(row.title, str(row.batch), median, str(len(row.processes)))
    return table


def _order(row: TimedRow) -> tuple[int, bool, float]:
    return row.batch, row.median_ms is None, row.median_ms or 0.0


def _table(result: BenchResult, batch: int) -> Table:
    rows = sorted((row for row in result.rows if row.batch == batch), key=_order)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"batch {batch}, ms", max_width=34, overflow="fold")
    gpu, events = result.suite.device == "cuda", any(process.event_ms for row in rows for process in row.processes)
    names = ("median", "range", "p90", "p99", "GPU MiB" if gpu else "peak", "setup s", "pays after")
    for name in (*names[:-1], "events") if events else names:
        table.add_column(name, justify="right")
    table.add_column("")
    against, planted = comparisons(result, batch), result.suite.objective == "contended"
    for row in rows:
        if row.median_ms is None:
            table.add_row(row.title, "-", *[""] * 6, Text(row.verdict, style="bold red"))
            continue
        times = row.times_ms
        tail = quantiles(row.samples_ms)
        share = result.share_of_peak(row)
        setup, said = statistics.median(process.setup_s for process in row.processes), _label(row, against, planted)
        table.add_row(
            row.title, _ms(row.median_ms), f"{_ms(min(times))}-{_ms(max(times))}", _ms(tail["p90"]), _ms(tail["p99"]),
            _gpu_memory(row) if gpu else "" if share is None else f"{share:.0%}", f"{setup:.1f}",
            _ms(_events(row)) if events else break_even(result, row), said,
        )  # fmt: skip
    return table


def _events(row: TimedRow) -> float | None:
    """Return the device time of a call by events, beside the wall clock's; None where the framework has none."""
    return statistics.median(ms for p in row.processes for ms in p.event_ms) if row.processes[0].event_ms else None


def _gpu_memory(row: TimedRow) -> str:
    found = [process.gpu_mib for process in row.processes if process.gpu_mib is not None]
    return f"{max(found):.0f}" if found else "-"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


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
    rows = sorted((r for r in result.rows if r.batch == batch and r.processes), key=_order)
    rows.sort(key=lambda row: row.runner != reference)  # stable: without a reference the fastest stays first
    if not rows or len(rows[0].processes) < 2:
        return [], {}
    best = {process.round: process.compared_ms for process in rows[0].processes}
    others = {row.runner: {process.round: process.compared_ms for process in row.processes} for row in rows[1:]}
    rounds = sorted(best)
    same = {name: [own[n] for n in rounds] for name, own in others.items() if own.keys() == best.keys()}
    return [best[n] for n in rounds], same


def _detectable(result: BenchResult, batch: int) -> list[float]:
    best, others = _paired(result, batch)
    return [detectable(best, times) for times in others.values()] if len(best) > 2 else []


def _label(row: TimedRow, against: Mapping[str, Comparison], planted: bool) -> Text:
    found = against.get(row.runner)
    said = "" if found is None else f"{found.ratio:.2f}x {found.change}"
    text = Text(said, style="" if found is None else _CHANGE[found.change])
    if row.contended and not planted:
        text.append(" contended", style="yellow")
    return text


def break_even(result: BenchResult, row: TimedRow) -> str:
    """Say after how many requests a runner's setup is paid for against the plain runner of its side."""
    plain = next((r for r in result.rows if r.runner == PLAIN[row.side] and r.batch == row.batch and r.processes), None)
    if plain is None or plain is row or row.median_ms is None or plain.median_ms is None:
        return ""
    setups = [statistics.median(process.setup_s for process in r.processes) * 1e3 for r in (row, plain)]
    saved = plain.median_ms - row.median_ms
    if saved <= 0:
        return "never"
    return "at once" if setups[0] <= setups[1] else f"{(setups[0] - setups[1]) / saved:,.0f}"


def _print_sources(result: BenchResult, console: Console) -> None:
    suite, environment = result.suite, result.environment
    rounds = len({process.round for row in result.rows for process in row.processes})
    console.print(
        f"port {suite.port}, {suite.device}, {suite.threads} threads, {suite.scenario}, {suite.boundary} to "
        f"{suite.boundary}, {suite.objective}; {rounds} rounds of fresh processes in random order"
    )
    if result.peak_gflops is not None:
        copies = statistics.median(mark.copy_gbs for mark in result.marks)
        low, high = (f(mark.gflops for mark in result.marks) for f in (min, max))
        console.print(
            f"peak: {result.peak_gflops:.0f} GFLOP/s of float32 FMA ({low:.0f} to {high:.0f} over the run), "
            f"copies {copies:.0f} GB/s; {result.work_gflop or 0:.2f} GFLOP a row"
        )
    smallest = [found for batch in suite.batches for found in _detectable(result, batch)]
    if smallest:
        console.print(
            f"between two of these runners, this many rounds can tell a difference of "
            f"{statistics.median(smallest):.0%} and more nine times in ten"
        )
    seconds = result.seconds
    console.print(
        f"{result.share_in_loops:.0%} of {seconds['wall']:.0f} s, imports and builds apart, went into first, warm-up "
        f"and timed calls; this process used {seconds['parent_cpu'] / max(seconds['wall'], 1e-9):.1%} of a core"
    )
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    console.print(f"made with {versions} on {environment.get('processor')}", overflow="fold")
