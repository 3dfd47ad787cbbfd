"""What a person sees of benchmarks: tables that fit a hundred columns, and what stands against believing them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof.bench._compare import Compared
from portproof.bench._race import Raced
from portproof.bench._recommend import Recommended
from portproof.bench._result import BenchResult, TimedRow, quantiles
from portproof.bench._selfcheck import Checked
from portproof.bench._standing import break_even, comparisons, detectable_changes, order
from portproof.bench._stats import MARGIN, Comparison

_CHANGE = {"faster": "green", "slower": "yellow", "equivalent": "", "undecided": "dim"}


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
    for row in sorted(result.rows, key=order):
        median = "-" if row.median_ms is None else f"{row.median_ms:.2f}"
        table.add_row(row.title, str(row.batch), median, str(len(row.processes)))
    return table


def _table(result: BenchResult, batch: int) -> Table:
    rows = sorted((row for row in result.rows if row.batch == batch), key=order)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"batch {batch}, ms", max_width=34, overflow="fold")
    gpu, events = result.suite.device == "cuda", any(process.event_ms for row in rows for process in row.processes)
    names = ("median", "range", "p90", "p99", "GPU MiB" if gpu else "peak", "MiB", "setup s", "pays after")
    for name in (*names[:-1], "events") if events else names:
        table.add_column(name, justify="right")
    table.add_column("")
    against, planted = comparisons(result, batch), result.suite.objective == "contended"
    for row in rows:
        if row.median_ms is None:
            table.add_row(row.title, "-", *[""] * 7, Text(row.verdict, style="bold red"))
            continue
        times = row.times_ms
        tail = quantiles(row.samples_ms)
        share = result.share_of_peak(row)
        said = _label(row, against, planted)
        table.add_row(
            row.title, _ms(row.median_ms), f"{_ms(min(times))}-{_ms(max(times))}", _ms(tail["p90"]), _ms(tail["p99"]),
            _gpu_memory(row) if gpu else "" if share is None else f"{share:.0%}", mib(row.peak_memory),
            f"{row.setup_s:.1f}", _ms(_events(row)) if events else break_even(result, row), said,
        )  # fmt: skip
    return table


def _events(row: TimedRow) -> float | None:
    """Return the device time of a call by events, beside the wall clock's; None where the framework has none."""
    return statistics.median(ms for p in row.processes for ms in p.event_ms) if row.processes[0].event_ms else None


def _gpu_memory(row: TimedRow) -> str:
    found = [process.gpu_mib for process in row.processes if process.gpu_mib is not None]
    return f"{max(found):.0f}" if found else "-"


def mib(count: int | None) -> str:
    """Put bytes of memory or of a file into words, in MiB; below ten with a tenth."""
    if count is None:
        return "-"
    return f"{count / 2**20:.0f}" if count >= 10 * 2**20 else f"{count / 2**20:.1f}"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _label(row: TimedRow, against: Mapping[str, Comparison], planted: bool) -> Text:
    found = against.get(row.runner)
    said = "" if found is None else f"{found.ratio:.2f}x {found.change}"
    text = Text(said, style="" if found is None else _CHANGE[found.change])
    if row.contended and not planted:
        text.append(" contended", style="yellow")
    return text


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
    smallest = [found for batch in suite.batches for found in detectable_changes(result, batch)]
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
    if compared.interleaved:
        pairs = min(found.pairs for found in compared.rows.values())
        console.print(f"interleaved: {pairs} pairs of fresh processes a row, next to each other, in random order")
        return
    count = len(compared.rows)
    console.print(
        f"the two runs' own intervals overlap in {len(compared.overlap)} of {count} rows; of {len(compared.same)} of "
        f"{count} both say the same (parity, and the place beside the fastest)"
    )
    console.print(
        "indicative: the two runs were not interleaved, so that what drifted between them is in these numbers; "
        "`bench gate` runs two versions interleaved"
    )


def print_choice(found: Recommended, console: Console, raced: Raced | None = None) -> None:
    """Print what is recommended and why."""
    if found.row is None:
        said = "the samples cannot say" if found.undecided else "no runner keeps the limit"
        console.print(Text(said, style="bold yellow"))
    else:
        console.print(Text.assemble("deploy ", (found.row.runner, "bold green"), f" ({found.row.title})"))
    for reason in found.why:
        console.print(f"  {reason}", overflow="fold")
    suite = found.result.suite
    console.print(
        f"port {suite.port}, {suite.device}, {suite.threads} threads, {suite.scenario}, {suite.objective}, "
        f"on {found.result.environment.get('processor')}"
    )
    if raced is not None:
        console.print(f"raced {raced.candidates} candidates in {raced.seconds:.0f} s: {raced.history}", overflow="fold")


def print_selfcheck(checked: Checked, console: Console) -> None:
    """Print the rates of wrong answers, with their bounds, and what change can be told."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("a runner and itself")
    for name in ("comparisons", "called wrongly", "at most", "can tell", "others took"):
        table.add_column(name, justify="right")
    for outcome in checked.outcomes:
        what = "unchanged" if outcome.kind == "same" else f"{checked.asked.slowdown:.0%} slower"
        where = "left alone" if outcome.place == "quiet" else "beside a busy neighbour"
        table.add_row(
            f"{what}, {where}", str(len(outcome.changes)), f"{outcome.wrong / len(outcome.changes):.1%}",
            f"{outcome.upper:.1%}", f"{statistics.median(outcome.detectable):.1%}", f"{outcome.foreign_share:.0%}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"runner {checked.asked.runner} of port {checked.port}, {checked.asked.pairs} pairs of fresh processes a "
        f"comparison, margin {MARGIN:.0%}; 'at most' is the upper 95% bound, 'can tell' the change seen nine times in "
        f"ten; on {checked.environment.get('processor')}"
    )
