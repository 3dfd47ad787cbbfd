"""A report at a glance: what ``print(report)`` says, and what a notebook shows. The whole is a page or `to_json`."""

from __future__ import annotations

import io
import json
import os
from html import escape
from pathlib import Path

from rich.console import Console
from rich.text import Text

from portproof._disk import require_new, write_text
from portproof._errors import BadInput
from portproof.judge._report import HOLDS, Report
from portproof.render import FORMATS
from portproof.render._terminal import hops_table
from portproof.render._words import between, came, causes, grouped, line_pair, line_words, number, place_of

#: Findings that are shown; more are counted.
_SHOWN = 8
_COLUMNS = 100
#: Behind a verdict, legible on light and on dark.
_GREEN, _RED, _GREY = "#15803d", "#b91c1c", "#57534e"


def text(report: Report) -> str:
    """Return verdict, chain and findings as plain text of at most a hundred columns, without an end of line."""
    console = Console(
        file=io.StringIO(), width=_COLUMNS, highlight=False, markup=False, emoji=False,
        color_system=None, force_terminal=False, force_jupyter=False,
    )  # fmt: skip
    with console.capture() as captured:
        console.print(Text(f"port {report.port}: {report.verdict}"))
        console.print(hops_table(report.hops))
        for hop in report.hops:
            if hop.reason:
                console.print(Text(f"  {hop.target}: {hop.reason}"))
        found = causes(report, report.culprits)
        for cause in found[:_SHOWN]:
            console.print(Text(f"culprit {cause.title}  {cause.told}"))
            for pair in cause.lines:
                for side, at, expression in line_pair(pair):
                    console.print(Text(f"    {side:7}{at}  {expression}"))
                console.print(Text(f"    {line_words(pair)}"))
            for side, at, expression in map(place_of, cause.origins):
                console.print(Text(f"    {came(cause)} {side:7}{at}  {expression}"))
            for source in () if cause.lines else cause.sources:
                console.print(Text(f"    {source}"))
        for line in _more(report, len(found)):
            console.print(Text(line))
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def html(report: Report) -> str:
    """Return verdict, chain and findings as a piece of a page; whatever the report says is text in it."""
    rows = []
    for heading, hops in grouped(report.hops):
        rows.append(f'<tr><td colspan="4" style="text-align:left"><i>{escape(heading)}</i></td></tr>')
        for hop in hops:
            floors, worst = (number(hop.worst.ratio), hop.worst.tensor) if hop.worst else ("", "")
            cells = (f"{between(hop)}{f': {hop.reason}' if hop.reason else ''}", hop.verdict, floors, worst)
            rows.append("<tr>" + "".join(f'<td style="text-align:left">{escape(c)}</td>' for c in cells) + "</tr>")
    found = causes(report, report.culprits)
    items = []
    for cause in found[:_SHOWN]:
        code = "".join(f"<br><small><code>{escape(source)}</code></small>" for source in cause.sources)
        code += "".join(
            f"<br><small>{escape(side)} <code>{escape(at)}</code> <code>{escape(expression)}</code></small>"
            for pair in cause.lines for side, at, expression in line_pair(pair)
        )  # fmt: skip
        code += "".join(
            f"<br><small>{came(cause)} {escape(side)} <code>{escape(at)}</code> <code>{escape(said)}</code></small>"
            for side, at, said in map(place_of, cause.origins)
        )
        items.append(f"<li><b>{escape(cause.title)}</b> {escape(cause.told)}{code}</li>")
    more = "".join(f"<div><small>{escape(line)}</small></div>" for line in _more(report, len(found)))
    listed = f"<ul>{''.join(items)}</ul>" if items else ""
    heads = "".join(f"<th>{name}</th>" for name in ("hop", "verdict", "floors", "worst"))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div><b>{escape(report.port)}</b> {_badge(report)}{listed}{table}{more}</div>"


def save(report: Report, target: str | os.PathLike[str]) -> None:
    """Write a report as its file's ending says.

    Raises:
        BadInput: the ending is none of a page's, a summary's, JUnit's and JSON's, or the file cannot be written.
        Unavailable: a page was asked for and jinja2 is not installed.
    """
    path = Path(target)
    if path.suffix not in (*FORMATS, ".json"):
        raise BadInput(f"a report is saved as {', '.join(FORMATS)} or .json, found '{path}'; name such a file.")
    require_new(path)
    write_text(
        path, f"{json.dumps(report.to_json(), indent=1)}\n" if path.suffix == ".json" else FORMATS[path.suffix](report)
    )


def _badge(report: Report) -> str:
    ground = _GREEN if report.verdict in HOLDS else _RED if report.verdict == "divergent" else _GREY
    style = f"background:{ground};color:#fff;padding:1px 8px;border-radius:8px"
    return f'<span style="{style}">{escape(report.verdict)}</span>'


def _more(report: Report, found: int) -> list[str]:
    """Say what else there is, and where."""
    lines = [f"and {found - _SHOWN} more; report.culprits has them all"] if found > _SHOWN else []
    if report.sight is not None:
        lines.append(f"{report.sight.caught} of {report.sight.planted} planted faults caught")
    notes = [(len(report.latent), "latent", "report.latent"), (len(report.notes), "notes", "report.notes")]
    lines += [f"{title}: {count} ({where})" for count, title, where in notes if count]
    return [*lines, 'report.save("report.html") writes the whole as a page']
