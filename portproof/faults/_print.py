"""What a person sees of a campaign: a line a kind, then what survived and why."""

from __future__ import annotations

from collections import defaultdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof.faults._campaign import FaultReport, Planted

_TOGETHER, _WORDS = "faults together", {2: "two", 3: "three"}


def print_faults(report: FaultReport, console: Console) -> None:
    """Print the table of kinds, the totals, missed faults and survivors with their explanations."""
    table = Table("kind", box=None, pad_edge=False, header_style="bold")
    for title in ("planted", "with effect", "caught", "located exactly"):
        table.add_column(title, justify="right")
    for kind, listed in by_kind(report).items():
        table.add_row(kind, *counts(listed))
    table.add_row(Text("all", style="bold"), *counts(report.planted))
    console.print(table)
    precision, recall = report.precision_and_recall()
    seeds = len({planted.seed for planted in report.planted})
    inside = sum(planted.within_parent for planted in report.effective)
    console.print(f"\nport {report.port}, {seeds} seeds, both sides, {report.seconds:.0f} s")
    console.print(
        f"located within the parent: {inside} of {len(report.effective)}; "
        f"of the modules named, {precision:.1%} were planted; of those planted, {recall:.1%} were named"
    )
    for planted in report.missed:
        title = f"{planted.answer.title} ({planted.side}, seed {planted.seed})"
        console.print(Text(f"MISSED: {title} moved '{planted.answer.tap}'", style="bold red"))
    for planted in (p for p in report.effective if p.answer.seen and not p.answer.exact):
        named = ", ".join(f"'{module}'" for module in sorted(planted.answer.named)) or "no module named"
        console.print(Text(f"located elsewhere: {planted.answer.title} ({planted.side}): {named}", style="yellow"))
    reasons: dict[str, list[Planted]] = defaultdict(list)
    for planted in report.survivors:
        reasons[planted.answer.faults[0].kind].append(planted)
    if reasons:
        console.print(Text(f"\nwithout effect on any output, so invisible ({len(report.survivors)})", style="bold"))
    for kind, listed in reasons.items():
        where = ", ".join(listed[0].answer.faults[0].modules)
        console.print(f"  {len(listed)} x {kind}, as in '{where}': {'; '.join(listed[0].answer.why[:1])}")
    unfelt = [p for p in report.planted if not p.answer.effective and p.answer.seen]
    if unfelt:
        console.print(f"seen though no output moved by so much, by their settings say: {len(unfelt)}")


def by_kind(report: FaultReport) -> dict[str, list[Planted]]:
    """Return what was planted by its kind; groups of several are kinds of their own, the last ones."""
    rows: dict[str, list[Planted]] = defaultdict(list)
    for planted in report.planted:
        faults = planted.answer.faults
        count = _WORDS.get(len(faults), len(faults))
        rows[faults[0].kind if len(faults) == 1 else f"{count} {_TOGETHER}"].append(planted)
    return dict(sorted(rows.items(), key=lambda row: (row[0].endswith(_TOGETHER), row[0])))


def counts(listed: tuple[Planted, ...] | list[Planted]) -> list[str]:
    """Return how many were planted, had an effect, were caught and were located exactly."""
    effective = [planted for planted in listed if planted.answer.effective]
    caught = sum(planted.answer.seen for planted in effective)
    return [f"{n:,}" for n in (len(listed), len(effective), caught, sum(p.answer.exact for p in effective))]
