"""A campaign as one page: what was missed first, then every fault, to be searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portproof.faults._campaign import FaultReport, Planted
from portproof.faults._print import by_kind, counts
from portproof.ports._port import Side
from portproof.render._layout import rendered

#: Faults that are listed; of more, those that were caught and located are counted.
_SHOWN = 2000
#: What became of a fault, those first that a person looks at, each with the class of its chip.
_STATES = {
    "missed": "bad",
    "located elsewhere": "doubt",
    "without effect": "doubt",
    "seen anyway": "doubt",
    "located": "good",
}


@dataclass(frozen=True)
class _Row:
    planted: Planted
    state: str

    @property
    def style(self) -> str:
        return _STATES[self.state]

    @property
    def side(self) -> str:
        return Side(self.planted.side).title


def page(report: FaultReport) -> str:
    """Return the page."""
    rows = sorted((_Row(planted, _state(planted)) for planted in report.planted), key=lambda row: _place(row.state))
    precision, recall = report.precision_and_recall()
    return rendered(
        "faults",
        report=report, headline=headline(report), rows=rows[:_SHOWN], left=len(rows) - _SHOWN,
        wanting=sum(row.state in ("missed", "located elsewhere") for row in rows),
        hidden=sum(row.state == "without effect" for row in rows),
        kinds=[(kind, counts(listed), _lacking(listed)) for kind, listed in by_kind(report).items()],
        total=counts(report.planted), precision=precision, recall=recall,
        seeds=len({planted.seed for planted in report.planted}),
    )  # fmt: skip


def headline(report: FaultReport) -> str:
    """Say in one line what was seen."""
    effective, missed = len(report.effective), len(report.missed)
    if not effective:
        return f"{report.port}: none of {len(report.planted):,} planted faults had an effect"
    located = sum(planted.answer.exact for planted in report.effective)
    if missed:
        return f"{report.port}: {missed:,} of {effective:,} planted faults were missed"
    return f"{report.port}: all {effective:,} planted faults with an effect were caught, {located:,} located exactly"


def _state(planted: Planted) -> str:
    answer = planted.answer
    if answer.effective:
        return "missed" if not answer.seen else "located" if answer.exact else "located elsewhere"
    return "seen anyway" if answer.seen else "without effect"


def _place(state: str) -> int:
    return list(_STATES).index(state)


def _lacking(listed: Sequence[Planted]) -> bool:
    return any(_state(planted) in ("missed", "located elsewhere") for planted in listed)
