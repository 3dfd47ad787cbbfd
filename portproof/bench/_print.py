"""A benchmark's result as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof.bench._run import BenchResult


def print_result(result: BenchResult, console: Console) -> None:
    """Print one row a runner and batch, the fastest first, and what the numbers were made on."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("runner")
    for name in ("batch", "median ms", "range", "first call", "build s", "floors"):
        table.add_column(name, justify="right")
    table.add_column("")
    for timing in sorted(result.timings, key=lambda t: (t.batch, t.median_ms is None, t.median_ms or 0.0)):
        floors = "" if timing.ratio is None else f"{timing.ratio:.1f}"
        if timing.median_ms is None or timing.spread_ms is None:
            table.add_row(
                timing.title, str(timing.batch), "-", "", "", "", floors, Text(timing.verdict, style="bold red")
            )
            continue
        first = sorted(p.first_call_ms for p in timing.processes)[len(timing.processes) // 2]
        build = sorted(p.build_s for p in timing.processes)[len(timing.processes) // 2]
        low, high = timing.spread_ms
        label = Text(timing.label, style="green" if timing.label == "quiet" else "yellow")
        table.add_row(timing.title, str(timing.batch), f"{timing.median_ms:.1f}", f"{low:.1f} to {high:.1f}",
                      f"{first:.0f}", f"{build:.1f}", floors, label)  # fmt: skip
    console.print(table)
    for timing in result.timings:
        if timing.reason:
            console.print(Text(f"{timing.title}: {timing.reason}", style="yellow"))
    environment = result.environment
    count = len(result.timings[0].processes) if result.timings else 0
    console.print(
        f"port {result.port}, float32, {result.device}, {result.threads} threads, {count} fresh processes a runner, "
        f"interleaved; host to host, on {environment.get('processor')}", overflow="fold",
    )  # fmt: skip
