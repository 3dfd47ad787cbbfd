"""A report in short: Markdown for a CI job's summary, JUnit XML for its list of tests."""

from __future__ import annotations

from xml.etree import ElementTree

from portproof._text import code, plain, visible
from portproof._text import markdown as text
from portproof.judge._report import Culprit, Hop, Report
from portproof.render._words import (
    ADVICE,
    between,
    came,
    causes,
    grouped,
    line_pair,
    line_words,
    number,
    place,
    place_of,
    versions,
)

_MARKS = {"identical": "✅", "equivalent": "✅", "divergent": "❌", "inconclusive": "❔", "unavailable": "⏸"}
_SHOWN = 12


def markdown(report: Report) -> str:
    """Return a summary: the verdict, the culprits and the hops."""
    lines = [f"## {_MARKS[report.verdict]} {text(report.port)}: {report.verdict}", ""]
    found = causes(report, report.culprits)
    for cause in found[:_SHOWN]:
        lines.append(f"- **{code(cause.title)}** {text(cause.told)}")
        if len(cause.modules) > 1:
            lines.append(f"  - {', '.join(code(module or '(root)') for module in cause.modules)}")
        for pair in cause.lines:
            lines.append(f"  - {text(line_words(pair))}")
            lines += [f"    - {side} {code(at)} {code(expression)}" for side, at, expression in line_pair(pair)]
        lines += [
            f"  - {came(cause)} {side} {code(at)} {code(said)}" for side, at, said in map(place_of, cause.origins)
        ]
        lines += [f"  - {code(source)}" for source in cause.sources]
        lines.append(f"  - what to do: {ADVICE[cause.kind]}")
    if len(found) > _SHOWN:
        lines.append(f"- and {len(found) - _SHOWN} more")
    for cause in causes(report, report.latent):
        lines.append(f"- latent, reaches no output here: **{code(cause.title)}** {text(cause.told)}")
    if report.modules is not None and report.modules.organised:
        lines += [f"- organised otherwise, the same function: {text(line)}" for line in report.modules.organised]
    lines += ["", "| hop | verdict | floors | worst |", "| --- | --- | ---: | --- |"]
    for heading, hops in grouped(report.hops):
        lines.append(f"| *{text(heading)}* | | | |")
        for hop in hops:
            ratio, worst = (number(hop.worst.ratio), code(hop.worst.tensor, cell=True)) if hop.worst else ("", "")
            said = f"{between(hop)}{f': {hop.reason}' if hop.reason else ''}"
            lines.append(f"| {text(said)} | {_MARKS[hop.verdict]} {hop.verdict} | {ratio} | {worst} |")
    if report.sight is not None:
        lines += ["", f"{report.sight.caught} of {report.sight.planted} planted faults caught."]
    made = ", ".join(f"{name} {version}" for name, version in versions(report.environment).items())
    lines += ["", text(f"Made with {made} on {report.environment.get('processor', '')}.")]
    return "\n".join(lines) + "\n"


def junit(report: Report) -> str:
    """Return one test suite with a test case a hop; what does not hold carries the culprits."""
    root = ElementTree.Element("testsuites", name="portproof")
    failures = sum(hop.verdict in ("divergent", "inconclusive") for hop in report.hops)
    errors = sum(hop.verdict == "unavailable" for hop in report.hops)
    port = plain(report.port)
    suite = ElementTree.SubElement(
        root, "testsuite", name=port, tests=str(len(report.hops)), failures=str(failures), errors=str(errors),
        time=f"{report.seconds.get('total', 0.0):.3f}",
    )  # fmt: skip
    for hop in report.hops:
        name = plain(f"{between(hop)} ({hop.weights} weights)")
        case = ElementTree.SubElement(suite, "testcase", classname=f"portproof.{port}.{hop.kind}", name=name)
        if hop.verdict in ("identical", "equivalent"):
            continue
        kind = "error" if hop.verdict == "unavailable" else "failure"
        found = ElementTree.SubElement(case, kind, type=hop.verdict, message=visible(_message(hop)))
        found.text = "\n".join(plain(said) for culprit in report.culprits for said in _told(culprit))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _told(culprit: Culprit) -> list[str]:
    lines = [f"{place(culprit)}  {culprit.kind}: {culprit.message}"]
    for pair in culprit.lines:
        lines += [f"  {side} {at}  {expression}" for side, at, expression in line_pair(pair)]
        lines.append(f"  {line_words(pair)}")
    return [*lines, *(f"  {came(culprit)} {side} {at}  {said}" for side, at, said in map(place_of, culprit.origins))]


def _message(hop: Hop) -> str:
    if hop.reason:
        return hop.reason
    return f"{number(hop.worst.ratio)} noise floors at '{hop.worst.tensor}'" if hop.worst else hop.verdict
