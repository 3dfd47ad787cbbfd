"""What a person sees of faults that were planted into a training."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof.lockstep._campaign import TrainingFaults
from portproof.ports._port import Side


def print_training_faults(found: TrainingFaults, console: Console) -> None:
    """Print what was planted and what was said."""
    console.print(Text(f"port {found.port}: faults planted into its training", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("planted", "where", "step", "what was said"):
        table.add_column(column, overflow="fold")
    for planted in found.planted:
        right = planted.caught and planted.named
        step = "-" if planted.parted is None else str(planted.parted + 1)
        where = f"{Side(planted.side).title} {planted.optimizer}".strip()
        table.add_row(planted.fault, where, step, Text(planted.why or "nothing", style="" if right else "bold red"))
    console.print(table)
    caught = sum(planted.caught for planted in found.planted)
    named = sum(planted.caught and planted.named for planted in found.planted)
    kinds = len({planted.fault for planted in found.planted})
    console.print(
        f"{len(found.planted)} planted, of {kinds} kinds: "
        f"{caught} caught at the first step where they act, {named} named"
    )
