"""The words that a terminal, a page and a summary share."""

from __future__ import annotations

import linecache
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portproof.judge._report import SAME_VALUES, Culprit, Hop, Line, LinePair, Report

#: What differs between two modules that do one thing.
_FIGURE = re.compile(r"\d[\d.e+-]*")

#: What each kind of hop asks.
QUESTIONS = {
    "semantics": "same function? float64 against float64",
    "numerics": "rounds as its precision should?",
    "batch": "rows alone as in a batch?",
    "graph": "the exported graph, interpreted in float64",
    "export": "the runtime on the exported graph as written",
    "runtime": "the runtime's rewriting of the graph",
    "gradients": "the backward pass, float64 against float64",
    "training": "step by step: losses, gradients, weights, optimiser, statistics",
}
#: What the exit code of a run means that does not hold.
EXITS = {
    "divergent": "does not hold; `portproof explain divergent` says how to read it",
    "inconclusive": "undecided; the notes above say what hides the answer",
    "unavailable": "something that was asked for is not there; `portproof doctor` says what installs it",
}
#: What a person can do about a culprit, by its kind.
ADVICE = {
    "computes": "compare how the two modules are written and built; --module PATH judges one alone",
    "saturates": "look for a clip, or an activation with another limit",
    "wiring": "look at the forward of this module: what it hands to the part that is named",
    "signature": "the two forwards call this module differently; if that is meant, give the pair in taps",
    "raises": "run this module's forward on the shape that is named",
    "weights": "name the pair in WeightMap(rename=…), or leave the tensor out with ignore={name: reason}",
    "setting": "give both modules the same setting; it shows in training only",
    "export": "the exporter writes other nodes than the model computes: rewrite the module, or report it upstream",
    "runtime": "turn off the runtime's rewriting that is named, or report it upstream",
    "graph": "compare the nodes that are named",
    "precision": "look for a cast to a lower precision in this module",
    "training": "compare the two training loops at the step that is named",
    "accepted": "take the acceptance out of the port: what it accepts no longer occurs",
}


def number(value: float | None, form: str = "{:.1f}") -> str:
    """Put a figure into a cell: plain up to a million, as a power of ten beyond, a dash where there is none."""
    if value is None:
        return "-"
    return form.format(value) if abs(value) < 1e6 else f"{value:.0e}"


def between(hop: Hop) -> str:
    """Name a hop by what it judges."""
    return f"{hop.source} to {hop.target}" if hop.kind == "semantics" else hop.target


def grouped(hops: tuple[Hop, ...]) -> list[tuple[str, list[Hop]]]:
    """Return the hops by the question they answer, in the order of the chain, under each set of weights."""
    labels = list(dict.fromkeys(hop.weights for hop in hops))
    found: dict[str, list[Hop]] = {}
    for hop in sorted(hops, key=lambda hop: (labels.index(hop.weights), list(QUESTIONS).index(hop.kind))):
        heading = f"{QUESTIONS[hop.kind]}{f' ({hop.weights} weights)' if len(labels) > 1 else ''}"
        found.setdefault(heading, []).append(hop)
    return list(found.items())


def place(culprit: Culprit) -> str:
    """Name a culprit's module, and its side where that is known."""
    side = "" if culprit.side == "unknown" else f" [{culprit.side}]"
    return f"{culprit.module or '(root)'}{side}"


def told(culprit: Culprit) -> str:
    """Say what a culprit does, and by how much where that can be counted."""
    ratio = f" ({number(culprit.ratio, '{:.0f}')} noise floors)" if culprit.ratio is not None else ""
    return f"{culprit.kind}: {culprit.message}{ratio}"


@dataclass(frozen=True)
class Cause:
    """Culprits that are one finding: of one type and cause, or of one class that does one thing.

    Attributes:
        title: the module, or how many of which type, for people.
        told: what they do.
        modules: their places; one has no list.
        sources: side, and where its code stands, by side.
        kind, direction: of the culprits.
        lines: where the two forwards part.
        origins: lines that the nodes which are named come from, or that build the module.
    """

    title: str
    told: str
    modules: tuple[str, ...]
    sources: tuple[str, ...]
    kind: str
    direction: str
    lines: tuple[LinePair, ...] = ()
    origins: tuple[Line, ...] = ()


def causes(report: Report, culprits: Sequence[Culprit]) -> list[Cause]:
    """Group a report's culprits, those first that stand for most; else in the order in which they were reached."""
    layers = {detail.module: detail.layer for detail in report.details}
    groups: dict[tuple[Any, ...], list[Culprit]] = {}
    for culprit in culprits:
        layer = layers.get(culprit.module, "")
        built = culprit.cause and not culprit.cause.startswith(SAME_VALUES)
        does = culprit.cause if built else _FIGURE.sub("#", culprit.cause or culprit.message)
        code = () if built else culprit.sources
        alike = (layer, code, does) if layer and (culprit.cause or code) else (culprit.module, culprit.message)
        if culprit.kind == "weights":  # nothing has run, so nothing is known of layers: places of like names
            alike = (_each(culprit.module), does.replace(_FIGURE.sub("#", culprit.module), ""))
        groups.setdefault((culprit.side, culprit.kind, culprit.direction, *alike), []).append(culprit)
    return [_cause(group, layers) for group in sorted(groups.values(), key=len, reverse=True)]


def _cause(group: Sequence[Culprit], layers: Mapping[str, str]) -> Cause:
    first = group[0]
    sources: dict[str, list[str]] = {}
    for source in dict.fromkeys(source for culprit in group for source in culprit.sources):
        sources.setdefault(source.side, []).append(f"{shortened(source.file)}:{source.line} ({source.name})")
    code = tuple(
        f"{side} {found[0]}{f' and {len(found) - 1} more' * (len(found) > 1)}" for side, found in sources.items()
    )
    lines = tuple(dict.fromkeys(pair for culprit in group for pair in culprit.lines))
    origins = tuple(dict.fromkeys(line for culprit in group for line in culprit.origins))
    if len(group) == 1:
        return Cause(place(first), told(first), (first.module,), code, first.kind, first.direction, lines, origins)
    does = first.cause or first.message
    if len({culprit.cause or culprit.message for culprit in group}) > 1:
        does += f" ('{first.module}'; the others alike)"
    layer = layers.get(first.module, "")
    kind = first.sources[0].name if layer == "Module" and first.sources else layer
    if first.kind == "weights":
        kind = _each(first.module) or "(root)"
    title = f"{len(group)} \u00d7 {kind}{place(first).removeprefix(first.module or '(root)')}"
    modules = tuple(culprit.module for culprit in group)
    return Cause(title, f"{first.kind}: {does}", modules, code, first.kind, first.direction, lines, origins)


def line_pair(pair: LinePair) -> list[tuple[str, str, str]]:
    """Return the lines of a pair: side, file and line, expression; the likeliest first."""
    return [place_of(line) for several in (pair.paddle, pair.torch) for line in several]


def came(cause: Cause | Culprit) -> str:
    """Say what the origins of a finding are."""
    return "from" if cause.kind in ("export", "runtime", "graph") else "built"


def place_of(line: Line) -> tuple[str, str, str]:
    """Return a line as people read it: side, file and line, expression."""
    return line.side, f"{shortened(line.file)}:{line.line}", line.text


def line_words(pair: LinePair) -> str:
    """Say what differs between the lines of a pair, and how sure that is."""
    ran = f", {pair.calls} times" if pair.calls > 1 else ""
    sure = "with torch's result carried over here, every output agrees" if pair.confirmed else "likely, not confirmed"
    return f"{pair.said}; {sure}{ran}" if pair.said else f"{sure}{ran}"


def around(line: Line, before: int = 2) -> str:
    """Return a few lines of source around one, numbered and that one marked; "" where its file is not to be read."""
    lines = linecache.getlines(line.file)
    first, last = max(1, line.line - before), min(len(lines), line.line + before)
    shown = [(number, lines[number - 1].rstrip()) for number in range(first, last + 1)] if lines else []
    return "\n".join(f"{'>' if number == line.line else ' '}{number:5}  {text}" for number, text in shown)


def _each(module: str) -> str:
    """Return a path with a placeholder for what counts layers, as rename rules have it."""
    return ".".join("{n}" if part.isdigit() else part for part in module.split("."))


def shortened(file: str) -> str:
    """Return a path as people would say it: from where they are, or from where packages are installed."""
    path = Path(file)
    if path.parent.name.startswith("ipykernel_"):  # a name for a notebook's cell, and no file
        return "cell"
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    for marker in ("site-packages", "dist-packages"):
        if marker in path.parts:
            return str(Path(*path.parts[path.parts.index(marker) + 1 :]))
    return file


def inputs_seen(families: Sequence[str]) -> str:
    """Say what the models were run on."""
    photographs = sum(family.startswith("photograph") for family in families)
    probes = f"{len(families) - photographs} kinds of probes"
    return f"{photographs} views of photographs and {probes}" if photographs else probes


def left_out(ignored: tuple[tuple[str, str, str], ...]) -> dict[str, str]:
    """Return the tensors that were left out, in short, by the reason."""
    found: dict[str, list[str]] = {}
    for side, name, reason in ignored:
        found.setdefault(reason, []).append(f"{side} '{name}'")
    return {
        reason: names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "") for reason, names in found.items()
    }


def versions(environment: dict[str, object]) -> dict[str, str]:
    """Return package names and versions of a report's environment."""
    sides = environment.get("sides", {})
    packages = environment.get("packages", {})
    assert isinstance(sides, dict)
    assert isinstance(packages, dict)
    found = dict(packages)
    for side in sides.values():
        found |= {key: value for key, value in side.get("versions", side).items() if isinstance(value, str)}
    return found
