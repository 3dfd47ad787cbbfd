"""What a GPU check found: rows that say what was expected, kept after every step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from portproof.judge._report import HOLDS

SCHEMA_VERSION = 1

Expected = Literal["holds", "not told", "told", "any"]


@dataclass(frozen=True)
class Row:
    """One thing that was tried.

    Attributes:
        step: it belongs to.
        port: that it ran.
        what: the runner, or the misconfiguration.
        setting: the precision, or what was planted.
        expected: ``holds``; ``not told`` (it holds, or rounding hides it); ``told`` (what is wrong must be seen); or
            ``any`` (it is measured, not judged).
        verdict: of the parity engine; ``refused`` or ``accepted`` for a misconfiguration; ``failed`` where it could not
            run, which is no word about a model.
        ratio: the farthest output, in noise floors of the precision.
        note: the reason, or what was found.
        seconds: that it took.
    """

    step: str
    port: str
    what: str
    setting: str
    expected: Expected
    verdict: str
    ratio: float | None = None
    note: str = ""
    seconds: float = 0.0

    @property
    def as_expected(self) -> bool:
        """Whether it came out as it has to."""
        if self.expected == "any":
            return self.verdict != "failed"
        if self.expected == "holds":
            return self.verdict in (*HOLDS, "accepted")
        if self.expected == "not told":
            return self.verdict in (*HOLDS, "inconclusive")
        return self.verdict in ("divergent", "refused")


@dataclass(frozen=True)
class Step:
    """A step as it went: ``done``, ``cut off`` at its limit, ``failed``, or ``left out`` because no time was left."""

    name: str
    state: Literal["done", "cut off", "failed", "left out"]
    seconds: float
    limit: float
    note: str = ""


@dataclass
class Findings:
    """All that is known so far.

    Attributes:
        device: ``cuda`` or ``cpu``.
        environment: of this machine.
        bundle: the environment that the bundle was made in.
        steps: that have ended.
        rows: of parity and of misconfigurations.
        documents: by name: what ``doctor`` said, results of benchmarks.
        seconds: since the beginning.
    """

    device: str
    environment: dict[str, Any]
    bundle: dict[str, Any]
    steps: list[Step] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0: all as expected; 1: a row is not; 4: a step could not run to its end."""
        if any(not row.as_expected and row.verdict != "failed" for row in self.rows):
            return 1
        whole = all(step.state == "done" for step in self.steps) and all(row.verdict != "failed" for row in self.rows)
        return 0 if whole else 4

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        rows = [{**asdict(row), "as_expected": row.as_expected} for row in self.rows]
        return {"schema_version": SCHEMA_VERSION, "exit_code": self.exit_code, **asdict(self), "rows": rows}
