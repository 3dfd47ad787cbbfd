"""What a person sees of an agreement, and of a plan for one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof.agree._plan import Costs, PlanRow
from portproof.agree._result import Agreement, Cost, Looked, Rate
from portproof.agree._run import AgreeProgress
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.render._terminal import STYLE, print_verdict
from portproof.render._words import number

_SHOWN = 3
_PARTS = ("compute", "read", "schedule")


def print_agreement(found: Agreement, progress: AgreeProgress, console: Console) -> None:
    """Print the table, what it means, and the verdict last."""
    console.print(Text(f"port {found.port}, '{found.output}', {found.weights} weights", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("runner", "verdict", "top-1 same", "ties", "flips", "rate below", "top-5 same"):
        table.add_column(title, justify="left" if title in ("runner", "verdict") else "right", overflow="fold")
    for title in ("p50", "p99", "max"):
        table.add_column(title, justify="right")
    for runner in found.runners:
        first, fifth = runner.top1, runner.top5
        table.add_row(
            runner.title, Text(runner.verdict, style=STYLE[runner.verdict]), f"{first.same:,}", f"{first.ties:,}",
            f"{first.flips:,}", rate(first.high), f"{fifth.same + fifth.ties:,}",
            *(number(runner.ratios[name]) for name in ("p50", "p99", "max")),
        )  # fmt: skip
    console.print(table)
    if found.accuracy is not None:
        console.print(_accuracies(found))
    for runner in found.runners:
        for looked in runner.flips[:_SHOWN]:
            console.print(Text(f"  {runner.title}: {flip(looked)}", style="yellow"))
        if runner.verdict == "divergent":
            for looked in runner.worst[:_SHOWN]:
                text = f"  {runner.title}: '{looked.name}' lies {number(looked.ratio)} floors out"
                console.print(Text(text, style=STYLE["divergent"]))
    for unreadable in found.unreadable[:_SHOWN]:
        console.print(Text(f"unreadable: '{unreadable.name}' {unreadable.reason}", style="yellow"))
    if found.unreadable_count > _SHOWN:
        console.print(Text(f"and {found.unreadable_count - _SHOWN} more unreadable images", style="yellow"))
    for note in (*progress.notes, *found.notes):
        console.print(Text(f"note: {note}", style="yellow"))
    if progress.damaged:
        console.print(
            Text(f"note: {progress.damaged} results in the store were damaged, and made again", style="yellow")
        )
    console.print(
        f"{found.images:,} images against {found.oracle}. p50, p99, max: error of the scores in noise floors, "
        f"measured on the first {found.measured}; more than {FLOOR_MULTIPLE:.0f} is a divergence. "
        f"A tie: the classes that change places lie within {found.tie:.1f} floors. Rate below: of flips, with 95% "
        "confidence (Clopper-Pearson), if the images were drawn at random."
        f"{' Drop below: of accuracy, alike.' if found.accuracy is not None else ''}"
    )
    _print_at_most(found, console)
    versions = found.environment["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "portproof")
    sets = ", ".join(found.environment["instruction_sets"])
    console.print(f"made with {listed} on {found.environment['processor']} ({sets})", overflow="fold")
    results = f"{progress.computed:,} results computed, {progress.found:,} found in the store"
    speed = found.images / progress.wall_s if progress.wall_s else 0.0
    console.print(f"{progress.wall_s:.0f} s, {speed:,.1f} images/s; {results}")
    print_verdict(found.verdict, console)


def _print_at_most(found: Agreement, console: Console) -> None:
    if found.at_most is None:
        return
    for runner in found.runners:
        state, style = "is", "green"
        if runner.top1.high > found.at_most:
            state, style = (
                ("is not", "bold red") if runner.top1.low > found.at_most else ("cannot be said to be", "yellow")
            )
        text = f"{runner.title}: the rate of flips {state} at most {rate(found.at_most)}"
        console.print(Text(text, style=style))


def rate(value: float) -> str:
    """Put a rate into words: percent down to a hundredth, else as a power of ten."""
    return f"{value:.2%}" if value >= 1e-3 or value == 0 else f"{value:.1e}"


def _accuracies(found: Agreement) -> Table:
    """Return what the labels say of each runner, beside the oracle's own."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{found.labelled:,} labels")
    for title in ("accuracy", "drop", "drop below", "lost", "gained"):
        table.add_column(title, justify="right")
    table.add_row(found.oracle, f"{found.accuracy:.2%}", *[""] * 4)
    for runner in found.runners:
        cost = runner.accuracy_cost
        if cost is not None:
            figures = f"{runner.accuracy:.2%}", drop(cost), rate(cost.high), f"{cost.lost:,}", f"{cost.gained:,}"
            table.add_row(runner.title, *figures)
    return table


def drop(cost: Cost) -> str:
    """Put a drop in accuracy into words; a rise has a sign."""
    return f"{cost.drop:.2%}" if cost.drop >= 0 else f"+{-cost.drop:.2%}"


def flip(looked: Looked) -> str:
    """Put a flip into words."""
    return (
        f"'{looked.name}' is class {looked.found}, not {looked.expected}, which leads by {number(looked.margin)} floors"
    )


def agreeing(found: Rate) -> str:
    """Put an agreement into words."""
    return f"{found.same:,} the same, {found.ties:,} ties, {found.flips:,} flips"


def print_plan(costs: Costs, plans: Sequence[PlanRow], console: Console) -> None:
    """Print the plans as a table, and what they are made from."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("images", "workers", "time", "bottleneck", *_PARTS, "core h", "price", "store"):
        table.add_column(title, justify="left" if title == "bottleneck" else "right", no_wrap=True)
    for plan in plans:
        table.add_row(
            short(plan.images), f"{plan.workers:,}", span(plan.wall_s), plan.bottleneck,
            *(span(plan.parts_s[name]) for name in _PARTS),
            short(round(plan.core_hours)), f"{plan.price:,.2f}", size(plan.kept_bytes),
        )  # fmt: skip
    console.print(table)
    each = ", ".join(f"{name} {seconds * 1e3:.1f}" for name, seconds in costs.runners.items())
    console.print(
        f"measured on {costs.images:,} images of port {costs.port}, {costs.processor}, {costs.threads} threads each. "
        f"ms an image: {each}, read {costs.read_s * 1e3:.2f}, decode {costs.decode_s * 1e3:.2f}. Scheduling: "
        f"{costs.driver_s * 1e3:.1f} ms a unit. Start: {costs.start_s:.0f} s."
    )


def short(count: int) -> str:
    """Put a number into words: 50,000 is 50 k."""
    for unit, length in ((" M", 10**6), (" k", 10**3)):
        if count >= length and count % (length // 10) == 0:
            return f"{count / length:g}{unit}"
    return f"{count:,}"


def span(seconds: float) -> str:
    """Put a time into words."""
    for unit, length in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """Put a number of bytes into words."""
    for unit, length in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
