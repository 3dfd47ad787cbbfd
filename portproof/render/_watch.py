"""The screen of ``portproof verify --watch``: what was found now, and what that changes."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from portproof.judge._report import Report
from portproof.render._diff import since
from portproof.render._terminal import STYLE, hops_table, print_cause
from portproof.render._words import causes

#: What a person may press.
KEYS = "r again   f full chain   o open the report   q quit"
#: Lines of a screen that are not about culprits, and those of one.
_OTHER_LINES, _LINES_EACH = 17, 4
#: Seconds of a step that is named.
_WORTH_SAYING_S = 0.1


@dataclass(frozen=True)
class Shown:
    """What a judgement came to.

    Attributes:
        report: None where an error ended it.
        error: what that said.
        why: what made somebody judge: which files were saved.
        full: whether the whole chain was judged.
        seconds: from the save to the verdict.
        before: the report before this one, None where there is none.
        settled: the report's culprits are known; they come after a verdict that does not hold.
    """

    report: Report | None
    error: str
    why: str
    full: bool
    seconds: float
    before: Report | None
    settled: bool


def print_shown(shown: Shown, console: Console) -> None:
    """Print what a judgement came to, the culprits as far as the screen has room."""
    port = "" if shown.report is None else f"port {shown.report.port}, "
    console.print(Text(f"{port}{shown.why}: {shown.seconds:.1f} s{', the full chain' * shown.full}", style="bold"))
    if shown.report is None:
        console.print(Text(shown.error, style="bold red", overflow="fold"))
        if shown.before is not None:
            console.print(Text(f"the last verdict was {shown.before.verdict}", style="dim"))
        return
    report = shown.report
    console.print(hops_table(report.hops))
    for hop in report.hops:
        if hop.reason:
            console.print(Text(f"  {hop.target}: {hop.reason}", style=STYLE[hop.verdict]))
    found = causes(report, report.culprits)
    most = max(1, (console.height - _OTHER_LINES) // _LINES_EACH)
    for cause in found[:most]:
        print_cause(cause, console)
    if len(found) > most:
        console.print(f"  and {len(found) - most} more: o opens the report")
    for deviation in report.accepted:
        if deviation.stale:
            console.print(Text(f"accepted deviation in '{deviation.module}' no longer occurs", style="yellow"))
    for note in report.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    longest = sorted(((v, k) for k, v in report.seconds.items() if k != "total"), reverse=True)[:3]
    told = ", ".join(f"{name} {value:.1f} s" for value, name in longest if value >= _WORTH_SAYING_S)
    if told:
        console.print(Text(f"of which {told}", style="dim"))
    verdict = Text.assemble("verdict: ", (report.verdict, STYLE[report.verdict]))
    if shown.before is not None and shown.settled:
        verdict = Text.assemble(verdict, "   ", since(shown.before, report))
    console.print(verdict)
