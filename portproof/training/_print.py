"""What a person sees of a training while it runs and when it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from portproof.ports._port import Side
from portproof.render._terminal import errors
from portproof.training._trained import Rows, Trained

#: Steps that the figures beside the bar are averaged over.
_RECENT = 20


class Lines:
    """A line a test on standard error, where that is no terminal."""

    def __init__(self, console: Console) -> None:
        self.console, self.rows = console, dict[str, Rows]()

    def doing(self, side: str, what: str) -> None:
        """Nothing: a log needs no moment's news."""

    def steps(self, side: str, rows: Rows, done: int, total: int) -> None:
        self.rows[side] = rows

    def tested(self, side: str, row: Mapping[str, Any]) -> None:
        said = ", ".join(f"{name} {value:.1%}" for name, value in row.items() if name != "step")
        self.console.print(f"{side}: step {row['step']}: {recent(self.rows[side])}; on the test images: {said}")


class Bars(Lines):
    """A bar a side."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console)
        self.progress, self.tasks = progress, dict[str, Any]()

    def doing(self, side: str, what: str) -> None:
        self.progress.update(self._task(side), said=what)

    def steps(self, side: str, rows: Rows, done: int, total: int) -> None:
        super().steps(side, rows, done, total)
        self.progress.update(self._task(side), completed=done, total=total, said=recent(rows) if rows else "")

    def _task(self, side: str) -> Any:
        if side not in self.tasks:
            self.tasks[side] = self.progress.add_task(side, total=None, said="")
        return self.tasks[side]


def recent(rows: Rows) -> str:
    """Say the losses of all heads, the accuracy and the pace of the last steps."""
    last = rows[-_RECENT:]
    skipped = ("step", "epoch", "learning_rate", "checksum", "seconds", "accuracy", "images")
    losses = [name for name in last[0] if name not in skipped]
    said = " ".join(f"{name} {sum(row[name] for row in last) / len(last):.3f}" for name in losses)
    accuracy = sum(row["accuracy"] for row in last) / len(last)
    pace = sum(row["images"] for row in last) / max(1e-9, sum(row["seconds"] for row in last))
    return f"{said}, {accuracy:.0%} right, {pace:.1f} images/s"


@contextmanager
def showing() -> Iterator[Any]:
    """Show progress on standard error for the time of the block."""
    console = errors(soft_wrap=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        TextColumn("{task.description:7}"), BarColumn(bar_width=16), MofNCompleteColumn(),
        TimeRemainingColumn(compact=True), TextColumn("{task.fields[said]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        yield Bars(console, progress)


def print_trained(trained: Trained, console: Console) -> None:
    """Print what was reached and whether all who see the test images agree."""
    console.print(Text(f"port {trained.port}, trained on {trained.data}", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    outputs = [name for name in next(iter(trained.tests.values())) if name != "step"]
    for name in ("side", "steps", "images", "minutes", *(f"{output}, test" for output in outputs)):
        table.add_column(name, justify="left" if name == "side" else "right")
    for side, test in trained.tests.items():
        images, minutes = test["step"] * trained.recipe["batch"], trained.seconds[side] / 60
        shown = [f"{test[name]:.2%}" for name in outputs]
        table.add_row(Side(side).title, str(test["step"]), str(images), f"{minutes:.1f}", *shown)
    console.print(table)
    if trained.same_bytes is not None:
        console.print(
            "both sides saw the same bytes at every step"
            if trained.same_bytes
            else Text("the two sides did not see the same batches", style="bold red")
        )
    if trained.agreements:
        console.print()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("weights of", "seen by", "images", *(f"{output} differs" for output in outputs)):
            table.add_column(name, justify="left" if name in ("weights of", "seen by") else "right")
        for found in trained.agreements:
            counts = [
                Text(str(found.differing[name]), style="red" if found.differing[name] else "green") for name in outputs
            ]
            table.add_row(Side(found.weights).title, found.runner, str(found.images), *counts)
        console.print(table)
    if trained.unavailable:
        console.print(Text(f"not asked whether anybody agrees: {trained.unavailable}", style="yellow"))
    console.print(f"wrote {', '.join(trained.files)}", overflow="fold")
