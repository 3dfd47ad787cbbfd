"""What a person sees: tables that fit a hundred columns, and what each process is doing now."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Span, Text

from portproof._text import plain
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import Hop, Report
from portproof.render._notebook import display_here, watching_cell
from portproof.render._words import (
    EXITS,
    Cause,
    between,
    came,
    causes,
    grouped,
    inputs_seen,
    left_out,
    line_pair,
    line_words,
    number,
    place_of,
    versions,
)

STYLE = {
    "identical": "green",
    "equivalent": "green",
    "divergent": "bold red",
    "inconclusive": "yellow",
    "unavailable": "yellow",
}
#: Columns below which rows are printed as paragraphs, and letters of a cell that is never folded.
_NARROW, _SHORT = 72, 14
#: Culprits that are printed; more say no more.
_SHOWN = 24
#: Modules of one finding that are named.
_NAMED = 4


class _Console(Console):
    """A console on which text is text: of what it is told to print, nothing is a command to the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text; lines that it begins with are left empty, other ends of lines are written out."""
        return super().render_str(_shown(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, texts as :meth:`render_str` has them, and tables so that nothing in them is cut."""
        if isinstance(renderable, Table) and renderable.show_header:
            renderable = _uncut(renderable, (options or self.options).max_width)
        if isinstance(renderable, Text) and (shown := _shown(renderable.plain)) != renderable.plain:
            kept = {name: getattr(renderable, name) for name in ("style", "justify", "overflow", "no_wrap", "end")}
            places = [len(_shown(renderable.plain[:end])) for end in range(len(renderable.plain) + 1)]
            spans = [Span(places[span.start], places[span.end], span.style) for span in renderable.spans]
            renderable = Text(shown, spans=spans, **kept)
        return super().render(renderable, options)


def _uncut(table: Table, width: int) -> RenderableType:
    """Return a table whose long cells are folded; where there is no room for one, its rows as paragraphs."""
    columns = [[_text(cell) for cell in column.cells] for column in table.columns]
    heads = [_text(column.header).plain for column in table.columns]
    if width >= _NARROW:
        for column, cells, head in zip(table.columns, columns, heads, strict=True):
            longest = max((len(text.plain) for text in cells), default=0)
            column.no_wrap = column.justify == "right" or max(longest, len(head)) <= _SHORT
            column.overflow = "fold"
        return table
    shown: list[RenderableType] = []
    for first, *rest in zip(*columns, strict=True):
        shown.append(first)
        said = [
            Text.assemble(f"{head} " if head else "", text)
            for head, text in zip(heads[1:], rest, strict=True)
            if text.plain.strip()
        ]
        if said:
            shown.append(Padding(Text(", ").join(said), (0, 0, 0, 4)))
    return Group(*shown)


def _text(cell: Any) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))


def _shown(text: str) -> str:
    body = text.lstrip("\n")
    return text[: len(text) - len(body)] + plain(body)


def output() -> Console:
    """Return the console for results: standard output, a hundred columns where it is no terminal."""
    return _Console(width=None if sys.stdout.isatty() else 100)


def errors(**options: Any) -> Console:
    """Return the console for all that is no result: standard error."""
    return _Console(stderr=True, **options)


def print_report(report: Report, console: Console | None = None, *, quiet: bool = False) -> None:
    """Print a report: the hops, what is wrong and where, what the check could see, and the verdict last.

    ``quiet``: the verdict alone.
    """
    console = console or output()
    if quiet:
        print_verdict(report.verdict, console)
        return
    console.print(Text(f"port {report.port}", style="bold"))
    console.print(hops_table(report.hops))
    for hop in report.hops:
        if hop.reason:
            console.print(Text(f"  {hop.target}: {hop.reason}", style=STYLE[hop.verdict]))
    _print_modules(report, console)
    if report.culprits:
        found = causes(report, report.culprits)
        of = f", of {len(found)} cause{'s' if len(found) > 1 else ''}" if len(found) < len(report.culprits) else ""
        count = f"{len(report.culprits)}{of}"
        console.print(Text(f"\nculprits ({count})", style="bold"))
        if report.modules is not None and report.modules.first_divergence:
            console.print(f"end to end, the first module that differs is '{report.modules.first_divergence}'")
        for cause in found[:_SHOWN]:
            print_cause(cause, console)
        if len(found) > _SHOWN:
            console.print(f"  and {len(found) - _SHOWN} more; --json has them all")
    for deviation in report.accepted:
        state = "STALE" if deviation.stale else f"found {deviation.found:.1e}, bound {deviation.bound:.1e}"
        console.print(f"accepted deviation in '{deviation.module}' ({state}): {deviation.reason}")
    for known in report.deviations:
        where = f"in '{known.module}' ({known.layer})" if known.module else f"({known.layer})"
        console.print(
            f"known deviation {where}, {known.size:.2e} of scale: {known.cause}; "
            f"taken into account, {known.rest:.1f} floors are left",
            overflow="fold",
        )
    for reason, names in left_out(report.ignored).items():
        console.print(f"left out of the weights: {names}: {reason}")
    for note in report.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    _print_sources(report, console)
    if not report:
        console.print(f"exit code {report.exit_code}: {EXITS[report.verdict]}")
    print_verdict(report.verdict, console)


def print_verdict(verdict: str, console: Console) -> None:
    """Print a verdict's line."""
    console.print(Text.assemble("verdict: ", (verdict, STYLE[verdict])))


def hops_table(hops: tuple[Hop, ...]) -> Table:
    """Return the chain as a table, under the question that each hop answers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("hop", overflow="fold", max_width=50)
    table.add_column("verdict")
    table.add_column("floors", justify="right")
    table.add_column("max abs", justify="right")
    table.add_column("ULP", justify="right")
    table.add_column("worst")
    last = ""
    for heading, hop in ((heading, hop) for heading, members in grouped(hops) for hop in members):
        if heading != last:
            table.add_row(Text(heading, style="dim"))
            last = heading
        worst = hop.worst
        numbers = ["", "", "", ""]
        if worst is not None:
            numbers = [
                number(worst.ratio),
                number(worst.max_abs, "{:.1e}"),
                number(worst.max_ulp, "{:.0f}"),
                worst.tensor,
            ]
        table.add_row(f"  {between(hop)}", Text(hop.verdict, style=STYLE[hop.verdict]), *numbers)
    return table


def _print_modules(report: Report, console: Console) -> None:
    if report.modules is not None:
        modules = report.modules
        healthy = (
            f"the farthest healthy one is '{modules.worst_module or '(root)'}' at {modules.worst_ratio:.1f} floors"
        )
        console.print(
            f"\nmodule by module on the other side's input: {modules.judged} tensors judged; "
            f"{healthy if modules.worst_ratio else 'what is healthy agrees to the last bit'}"
        )
        for title, paths in (
            ("not paired, so unseen", modules.unseen),
            ("constant over the inputs, so blind", modules.blind),
        ):
            if paths:
                more = f" and {len(paths) - 6} more" if len(paths) > 6 else ""
                shown = ", ".join(path or "(root)" for path in paths[:6]) + more
                console.print(Text(f"  {title}: {shown}", style="yellow"))
        if modules.organised:
            wholes = ", ".join(f"'{path}'" if path else "the whole model" for path in modules.recut[:6])
            agrees = f" ({wholes} agrees)" if wholes else ""
            console.print(Text(f"  organised otherwise, and the same function{agrees}:", style="dim"))
            for line in modules.organised:
                console.print(Text(f"    {line}", style="dim"))
    for latent in causes(report, report.latent):
        console.print(Text(f"  latent, reaches no output here: {latent.title} {latent.told}", style="yellow"))
    if report.sight is not None:
        sight = report.sight
        console.print(
            f"sight: {sight.caught} of {sight.planted} planted faults caught, {sight.located} located exactly"
        )
        for missed in sight.missed:
            console.print(Text(f"  not seen: {missed}", style="yellow"))
        for hidden in sight.without_effect:
            console.print(Text(f"  without effect: {hidden}", style="dim"))


def print_cause(cause: Cause, console: Console) -> None:
    """Print one finding: the module or how many, what they do, which, and where the code is."""
    console.print(Text.assemble("  ", (cause.title, "bold red"), f"  {cause.told}"))
    if len(cause.modules) > 1:
        more = f" and {len(cause.modules) - _NAMED} more" if len(cause.modules) > _NAMED else ""
        console.print(Text(f"      {', '.join(m or '(root)' for m in cause.modules[:_NAMED])}{more}"))
    for pair in cause.lines:
        for line in line_pair(pair):
            _print_line(line, console)
        console.print(Text(f"      {line_words(pair)}"))
    for origin in cause.origins:
        _print_line(place_of(origin), console, f"{came(cause)} ")
    for source in () if cause.lines else cause.sources:
        console.print(Text(f"      {source}", style="dim"), soft_wrap=True)


def _print_line(line: tuple[str, str, str], console: Console, before: str = "") -> None:
    side, at, text = line
    console.print(Text.assemble("      ", before, (f"{side:7}", "cyan"), (at, "bold"), f"  {text}", overflow="fold"))


def _print_sources(report: Report, console: Console) -> None:
    """Say where the numbers come from."""
    environment = report.environment
    listed = ", ".join(f"{name} {version}" for name, version in versions(environment).items())
    if report.inputs:
        console.print(f"inputs: {inputs_seen(report.inputs)}; weights: {', '.join(report.weights)}")
    console.print(
        "floors: the error in units of the float32 rounding error measured at that output, carried to the "
        f"precision of the hop; more than {FLOOR_MULTIPLE:.0f} is a divergence (`portproof explain floors`)"
    )
    console.print(f"made with {listed} on {environment.get('processor', '')}", overflow="fold")
    total = report.seconds.get("total")
    if total is not None:
        longest = sorted(((v, k) for k, v in report.seconds.items() if k != "total"), reverse=True)[:3]
        console.print(f"{total:.0f} s, of which " + ", ".join(f"{name} {value:.0f} s" for value, name in longest))
    spared = [
        f"{side}, but for {', '.join(dict.fromkeys(kept.asked))}" if kept.asked else side
        for side, kept in report.kept.items()
        if kept.taken
    ]
    if spared:
        console.print(f"as an earlier run found it (`portproof cache`): {'; '.join(spared)}", overflow="fold")
    for side, kept in report.kept.items():
        if kept.why_not:
            console.print(Text(f"what was run of {side} is not kept: {kept.why_not}"), overflow="fold")


class Watching:
    """A live list of what each process does, on standard error where it is a terminal."""

    def __init__(self) -> None:
        self._doing: dict[str, tuple[str, float]] = {}
        self._done, self._begun = 0, time.monotonic()

    def __call__(self, who: str, doing: str | None) -> None:
        """Note what a process does now; None when it is idle."""
        if doing is None:
            self._done += self._doing.pop(who, None) is not None
        else:
            self._doing[who] = (doing, time.monotonic())

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        now = time.monotonic()
        for who, (doing, since) in sorted(self._doing.items()):
            table.add_row(Text(who, style="cyan"), doing, f"{now - since:.0f} s")
        table.add_row(Text(f"{now - self._begun:.0f} s", style="dim"), Text(f"{self._done} steps done", style="dim"))
        return table


@contextmanager
def watching(enabled: bool = True) -> Iterator[Any]:
    """Show a live list for the time of the block; silent where nobody looks: no terminal, and no notebook."""
    display = display_here() if enabled else None
    if display is not None:
        with watching_cell(display) as cell:
            yield cell
        return
    console = errors()
    watch = Watching()
    if not (enabled and console.is_terminal):
        yield watch
        return
    with Live(watch, console=console, refresh_per_second=5, transient=True):
        yield watch
