"""Two reports of one port: what got better, what got worse, what appeared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof._errors import BadInput
from portproof._text import code
from portproof._text import markdown as text
from portproof.judge._report import HOLDS, Culprit, Hop, Report
from portproof.render._words import between, number, place, versions

Way = Literal["worse", "better", "changed", "appeared", "gone"]

#: How a way is printed.
_STYLE: dict[Way, str] = {
    "worse": "bold red", "better": "green", "changed": "yellow", "appeared": "yellow", "gone": "yellow",
}  # fmt: skip
_MARK = {"worse": "❌ worse", "better": "✅ better"}
#: Culprits and hops that a table names; more are counted.
_SHOWN = 40


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was.

    Attributes:
        way: a hop that no longer holds, a new culprit and a planted fault that is no longer caught are ``worse``; a hop
            that was not judged before ``appeared``, one that is judged no more is ``gone``.
        what: hop, culprit, sight or the whole.
        before, now: "" where there was, or is, nothing.
    """

    way: Way
    what: str
    before: str
    now: str


@dataclass(frozen=True)
class Diff:
    """What two reports of one port say otherwise.

    Attributes:
        port: its name.
        changes: those first that got worse.
        same: hops whose verdict is as it was, with the farthest ratio before and now.
        apart: what else is not the same: weights, inputs, versions.
    """

    port: str
    changes: tuple[Change, ...]
    same: tuple[int, float, float]
    apart: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 where something got worse; 3 where something was judged before and is judged no more; else 0."""
        ways = {change.way for change in self.changes}
        return 1 if "worse" in ways else 3 if "gone" in ways else 0

    @property
    def said(self) -> str:
        """What came of it, in a line."""
        counts = {way: sum(change.way == way for change in self.changes) for way in _STYLE}
        found = ", ".join(f"{count} {way}" for way, count in counts.items() if count)
        return found or "nothing changed"


def diff_reports(before: Report, now: Report) -> Diff:
    """Compare two reports.

    A verdict decides whether a hop got worse, and no difference of ratios that both hold; ``identical`` and
    ``equivalent`` are one, since which of the two it is may depend on the processor.

    Raises:
        BadInput: they are of two ports.
    """
    if before.port != now.port:
        raise BadInput(f"the reports are of two ports, '{before.port}' and '{now.port}'; compare two of one.")
    changes = [*_verdicts(before, now), *_hops(before, now), *_culprits(before, now), *_sight(before, now)]
    order = list(_STYLE)
    one, two = _by_key(before), _by_key(now)
    same = [(one[key], two[key]) for key in one if key in two and _rank(one[key]) == _rank(two[key])]
    return Diff(
        now.port, tuple(sorted(changes, key=lambda change: order.index(change.way))),
        (len(same), _farthest(a for a, _ in same), _farthest(b for _, b in same)), tuple(_apart(before, now)),
    )  # fmt: skip


def _rank(found: Hop | Report) -> int:
    return 0 if found.verdict in HOLDS else 2 if found.verdict == "divergent" else 1


def _way(before: Hop | Report, now: Hop | Report) -> Way | None:
    """Say how a verdict moved; None where it did not."""
    if _rank(before) != _rank(now):
        return "worse" if _rank(now) > _rank(before) else "better"
    held = now.verdict in HOLDS or before.verdict == now.verdict
    return None if held else "changed"


def _farthest(hops: Iterable[Hop]) -> float:
    return max((hop.worst.ratio or 0.0 for hop in hops if hop.worst), default=0.0)


def _verdicts(before: Report, now: Report) -> Iterator[Change]:
    way = _way(before, now)
    if way is not None:
        yield Change(way, "the whole", before.verdict, now.verdict)


def _by_key(report: Report) -> dict[tuple[str, ...], Hop]:
    """Return hops by what they judge; of those that are alike, each has its number."""
    found: dict[tuple[str, ...], Hop] = {}
    for hop in report.hops:
        key = hop.kind, hop.target, hop.precision, hop.weights  # where two sides differ, each is held to its own oracle
        found[*key, str(sum(other[:4] == key for other in found))] = hop
    return found


def _hops(before: Report, now: Report) -> Iterator[Change]:
    one, two = _by_key(before), _by_key(now)
    several = len({key[3] for key in (*one, *two)}) > 1
    for key, hop in two.items():
        name = _name(hop, several)
        if key not in one:
            yield Change("appeared", name, "", _told(hop))
            continue
        way = _way(one[key], hop)
        if way is not None:
            yield Change(way, name, _told(one[key]), _told(hop))
    for key, hop in one.items():
        if key not in two:
            yield Change("gone", _name(hop, several), _told(hop), "not judged")


def _name(hop: Hop, several: bool) -> str:
    return f"{between(hop)}{f' ({hop.weights} weights)' if several else ''}"


def _told(hop: Hop) -> str:
    return f"{hop.verdict}, {number(hop.worst.ratio)} floors" if hop.worst else hop.verdict


def _culprits(before: Report, now: Report) -> Iterator[Change]:
    one, two = ({_key(culprit): culprit for culprit in report.culprits} for report in (before, now))
    for key, culprit in two.items():
        if key not in one:
            yield Change("worse", f"culprit {place(culprit)}", "", f"{culprit.kind}: {culprit.message}")
    for key, culprit in one.items():
        if key not in two:
            yield Change("better", f"culprit {place(culprit)}", f"{culprit.kind}: {culprit.message}", "")


def since(before: Report, now: Report) -> Text:
    """Say in a line which culprits are gone, which are new, and how many are left."""
    one, two = ({_key(culprit): place(culprit) for culprit in report.culprits} for report in (before, now))
    mended = [name for key, name in one.items() if key not in two]
    broken = [name for key, name in two.items() if key not in one]
    count = {0: "no culprit", 1: "one culprit"}.get(len(two), f"{len(two)} culprits")
    said = [
        *([(f"{_few(mended)} mended", "green")] if mended else []),
        *([(f"{_few(broken)} broken", _STYLE["worse"])] if broken else []),
        *([(f"{before.verdict} before", "yellow")] if before.verdict != now.verdict else []),
        *([(f"{count} left" if mended else count, "")] if one or two else []),
    ]
    return Text("; ").join(Text(*part) for part in said) if said else Text("as before", "dim")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _key(culprit: Culprit) -> tuple[str, ...]:
    return culprit.side, culprit.module, culprit.kind, culprit.direction


def _sight(before: Report, now: Report) -> Iterator[Change]:
    if before.sight is None or now.sight is None:
        return
    lost = [found.planted - found.caught for found in (before.sight, now.sight)]
    if lost[0] != lost[1]:
        told = [f"{found.caught} of {found.planted} caught" for found in (before.sight, now.sight)]
        yield Change("worse" if lost[1] > lost[0] else "better", "planted faults", *told)


def _apart(before: Report, now: Report) -> Iterator[str]:
    if before.weights != now.weights:
        yield f"weights: {', '.join(before.weights) or 'none'}; now {', '.join(now.weights) or 'none'}"
    if before.inputs != now.inputs:
        yield f"inputs: {len(before.inputs)} families of rows; now {len(now.inputs)}"
    one, two = ({**versions(report.environment), "on": report.environment.get("processor")} for report in (before, now))
    for name in sorted(one.keys() | two.keys()):
        if one.get(name) != two.get(name):
            yield f"{name} {one.get(name) or 'none'}; now {two.get(name) or 'none'}"


def print_diff(found: Diff, console: Console, names: tuple[str, str]) -> None:
    """Print what changed, what did not, and what else is not the same."""
    console.print(Text(f"port {found.port}: {names[0]}, then {names[1]}", style="bold"))
    if found.changes:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        table.add_column("what", overflow="fold", max_width=40)
        for name in ("before", "now"):
            table.add_column(name, overflow="fold")
        for change in found.changes[:_SHOWN]:
            table.add_row(Text(change.way, style=_STYLE[change.way]), change.what, change.before, change.now)
        console.print(table)
    for line in _rest(found):
        console.print(Text(line))
    console.print(Text(found.said, style=_STYLE["worse"] if found.exit_code == 1 else ""))


def diff_markdown(found: Diff) -> str:
    """Return the same for a pull request's comment or a job's summary."""
    mark = {0: "✅", 1: "❌"}.get(found.exit_code, "❔")
    lines = [f"## {mark} {text(found.port)}: {found.said}", ""]
    if found.changes:
        lines += ["| | what | before | now |", "| --- | --- | --- | --- |"]
        for change in found.changes[:_SHOWN]:
            cells = code(change.what, cell=True), text(change.before), text(change.now)
            lines.append(f"| {_MARK.get(change.way, change.way)} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join([*lines, *(f"{text(line)}  " for line in _rest(found))]).rstrip() + "\n"


def _rest(found: Diff) -> list[str]:
    more = len(found.changes) - _SHOWN
    count, before, now = found.same
    hops = f"{count} hop{'s' if count != 1 else ''}"
    held = f"{hops} as before, the farthest {number(now)} noise floors out, {number(before)} before"
    return [
        *([f"and {more} more changes"] if more > 0 else []),
        *([held] if count else []),
        *(f"not the same: {line}" for line in found.apart),
    ]
