"""Results of one port over its revisions: a small record each, kept in a folder, and what changed between them.

After airspeed velocity (asv), which keeps a benchmark's results by commit and plots them on one page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from portproof._disk import Checked, among, as_kind, finite, hash_json, read_json, within, write_text
from portproof._errors import BadInput
from portproof.judge._report import EXIT_CODES, HOLDS, Report
from portproof.render._words import between, place, versions

SCHEMA_VERSION = 1

#: Noise floors of a fault have many digits.
Figure = Annotated[float, within(0, 1e300)]
#: Of a revision, what stands in the name of a record's file.
_NAMED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+"


def _instant(value: str) -> str:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        raise ValueError("expected a time of ISO 8601 with its zone")
    return moment.astimezone(UTC).isoformat()


@dataclass(frozen=True)
class Point:
    """One figure of a result.

    Attributes:
        name: of the hop, or of the runner with its settings and the rows in a request.
        verdict: of it.
        value: noise floors, or milliseconds; None where there is no number.
        low, high: between which the time lies with 95% confidence; None where one process, or a hop, says nothing.
        side: whose it is, "" where it is neither's.
    """

    name: str
    verdict: Annotated[str, among(*EXIT_CODES, "refuted")]
    value: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    side: Annotated[str, among("torch", "paddle", "")] = ""


@dataclass(frozen=True)
class Kept:
    """What is kept of one result.

    Attributes:
        kind: ``verify`` or ``bench``.
        port: its name.
        revision: that it is of.
        when: the revision was made, in UTC.
        verdict: of the whole.
        under: what figures are comparable under: processor, threads, device, scenario; the weights.
        points: its figures.
        culprits: that were named.
        versions: of the packages.
    """

    kind: Literal["verify", "bench"]
    port: str
    revision: str
    when: Annotated[str, Checked(_instant)]
    verdict: Annotated[str, among(*EXIT_CODES, "refuted")]
    under: str
    points: tuple[Point, ...]
    culprits: tuple[str, ...]
    versions: dict[str, str]
    schema_version: int = SCHEMA_VERSION

    @property
    def holds(self) -> bool:
        """Whether the verdict is one under which a port is right."""
        return self.verdict in HOLDS


def kept_report(report: Report, revision: str, when: str) -> Kept:
    """Return what is kept of a report: each hop's farthest output, and the culprits."""
    several = len(report.weights) > 1
    points: dict[str, Point] = {}
    for hop in report.hops:
        name = f"{between(hop)}{f' ({hop.weights} weights)' if several else ''}"
        points.setdefault(name, Point(name, hop.verdict, hop.worst.ratio if hop.worst else None))
    return Kept(
        "verify", report.port, revision, when, report.verdict, ", ".join(report.weights), tuple(points.values()),
        tuple(dict.fromkeys(place(culprit) for culprit in report.culprits)),
        {name: str(version) for name, version in versions(report.environment).items()},
    )  # fmt: skip


def keep(folder: Path, kept: Kept) -> Path:
    """Write a record into a folder, which is made where there is none; the same one twice is one.

    Raises:
        BadInput: the folder cannot be written.
    """
    document = finite(asdict(kept))
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"'{folder}' is a file; name the folder that results are kept in.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make '{folder}': {error.strerror or error}.") from error
    named = "".join(letter if letter in _NAMED else "_" for letter in kept.revision[:24])
    moment = datetime.fromisoformat(kept.when).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = folder / f"{moment}-{named}-{kept.kind}-{hash_json(document)[:8]}.json"
    write_text(path, json.dumps(document, indent=1) + "\n")
    return path


def read_history(folder: Path) -> list[Kept]:
    """Read all records of a folder, the oldest first.

    Raises:
        BadInput: there is none, or a file is something else.
    """
    if not folder.is_dir():
        raise BadInput(f"'{folder}' is no folder; `portproof history {folder} --add RESULT.json` makes it.")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise BadInput(f"'{folder}' holds no results yet; `portproof history {folder} --add RESULT.json` adds one.")
    return sorted((read_kept(path) for path in paths), key=lambda kept: (kept.when, kept.revision))


def read_kept(path: Path) -> Kept:
    """Read one record; see :func:`read_history`."""
    document = read_json(path, "no record of `portproof history`")
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise BadInput(
            f"'{path}' is no record of `portproof history`: expected schema {SCHEMA_VERSION}, found "
            f"{repr(version)[:20]}; take it out of the folder."
        )
    try:
        return as_kind(Kept, document)
    except ValueError as error:
        raise BadInput(f"'{path}' is damaged: {error}; take it out of the folder.") from error


@dataclass(frozen=True)
class Series:
    """One figure over the revisions, the oldest first.

    Attributes:
        name, side: see :class:`Point`.
        points: with the record that each stands in.
    """

    name: str
    side: str
    points: tuple[tuple[Kept, Point], ...]

    @property
    def now(self) -> Point:
        """The newest."""
        return self.points[-1][1]

    @property
    def before(self) -> Point | None:
        """The one before it."""
        return self.points[-2][1] if len(self.points) > 1 else None

    @property
    def change(self) -> str:
        """How the newest stands to the one before: by verdicts, and for times where the two intervals lie apart."""
        now, before = self.now, self.before
        if before is None:
            return "new"
        if (now.verdict in HOLDS) != (before.verdict in HOLDS):
            return "better" if now.verdict in HOLDS else "worse"
        if now.low is not None and before.high is not None and now.low > before.high:
            return "slower"
        if now.high is not None and before.low is not None and now.high < before.low:
            return "faster"
        return ""


@dataclass(frozen=True)
class Track:
    """All that is kept of one port under the same conditions.

    Attributes:
        kind, port, under: see :class:`Kept`.
        kept: the records, the oldest first.
        series: those of the newest record, in its order.
        gone: names of those that it no longer has.
    """

    kind: str
    port: str
    under: str
    kept: tuple[Kept, ...]
    series: tuple[Series, ...]
    gone: tuple[str, ...]

    @property
    def worse(self) -> list[Series]:
        """What is worse than before, or slower."""
        return [series for series in self.series if series.change in ("worse", "slower")]


def tracks(records: Iterable[Kept]) -> list[Track]:
    """Return records by port, kind and conditions: those first that have the newest record."""
    groups: dict[tuple[str, str, str], list[Kept]] = {}
    for kept in records:
        groups.setdefault((kept.port, kept.kind, kept.under), []).append(kept)
    newest = sorted(groups.items(), key=lambda group: group[1][-1].when, reverse=True)
    return [_track(*key, members) for key, members in newest]


def _track(port: str, kind: str, under: str, members: Sequence[Kept]) -> Track:
    points: dict[str, list[tuple[Kept, Point]]] = {}
    for kept in members:
        for point in kept.points:
            points.setdefault(point.name, []).append((kept, point))
    last = [point.name for point in members[-1].points]
    series = tuple(Series(name, points[name][-1][1].side, tuple(points[name])) for name in dict.fromkeys(last))
    return Track(kind, port, under, tuple(members), series, tuple(name for name in points if name not in last))
