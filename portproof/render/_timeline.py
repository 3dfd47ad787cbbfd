"""What a person sees of a history: a table on the terminal, and a page with a curve for every figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof._text import markup
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import HOLDS
from portproof.render._history import Kept, Point, Series, Track
from portproof.render._layout import rendered, require_jinja
from portproof.render._terminal import STYLE
from portproof.render._words import number

#: Revisions that a page shows, the newest.
_SHOWN = 100
_WIDTH, _HEIGHT = 200, 34
#: Noise floors at the upper end: a fault has more, and how many more is in its cell.
_MOST = 1e6
_UNITS = {"verify": "noise floors", "bench": "ms"}
_CHANGE = {"worse": "bold red", "slower": "yellow", "better": "green", "faster": "green"}


def print_history(found: Sequence[Track], console: Console) -> None:
    """Print a table for every port, kind of result and machine: what each figure was, and is."""
    for track in found:
        newest = track.kept[-1]
        console.print(Text(f"port {track.port}, {track.kind}, {track.under}", style="bold"), overflow="fold")
        console.print(
            Text.assemble(f"{_revisions(track)}, now ", (newest.verdict, STYLE.get(newest.verdict, "")), _at(newest))
        )
        for culprit in newest.culprits[:_SHOWN]:
            console.print(Text(f"  culprit {culprit}", style=STYLE["divergent"]))
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(_UNITS[track.kind], overflow="fold", max_width=48)
        for name in ("first", "before", "now"):
            table.add_column(name, justify="right", overflow="fold")
        table.add_column("")
        for series in track.series:
            before = "" if series.before is None else shown(track, series.before)
            change = change_of(track, series)
            table.add_row(
                series.name, shown(track, series.points[0][1]), before, shown(track, series.now),
                Text(change, style=_CHANGE.get(change, "")),
            )  # fmt: skip
        console.print(table)
        for name in track.gone:
            console.print(Text(f"  no longer there: {name}", style="yellow"))


def page(found: Sequence[Track]) -> str:
    """Return the page; the newest track says its headline."""
    require_jinja()
    from markupsafe import Markup

    return rendered(
        "history",
        tracks=found, headline=headline(found), shown=shown, change_of=change_of, units=_UNITS, most=_SHOWN,
        revisions=_revisions, spark=lambda track, series: Markup(spark(track, series)), moved=_moved,
        styles={"worse": "bad", "slower": "doubt", "better": "good", "faster": "good"},
    )  # fmt: skip


def headline(found: Sequence[Track]) -> str:
    """Say in one line what became of the newest port since the revision before."""
    port, newest = found[0].port, found[0].kept[-1]
    own = [track for track in found if track.port == port]
    worse = [series for track in own for series in track.worse]
    wrong = [track for track in own if track.kind == "verify" and not track.kept[-1].holds]
    if wrong:
        said = wrong[0].kept[-1].verdict
    else:
        said = "nothing got worse" if not worse else f"{worse[0].name} is {worse[0].change}"
        said += f", and {len(worse) - 1} more" if len(worse) > 1 else ""
    return f"{port} at {newest.revision}: {said}"


def shown(track: Track, point: Point) -> str:
    """Put a figure into a cell; what does not hold says so."""
    value = "" if point.value is None else number(point.value, "{:.1f}" if track.kind == "verify" else "{:.3g}")
    return value if point.verdict in HOLDS else f"{point.verdict} {value}".rstrip()


def change_of(track: Track, series: Series) -> str:
    """Return what became of a figure, nothing where there is but one record."""
    return series.change if len(track.kept) > 1 else ""


def _revisions(track: Track) -> str:
    count = len(track.kept)
    return f"{count} result{'s' if count > 1 else ''}"


def _at(kept: Kept) -> str:
    return f" at {kept.revision}, {kept.when[:10]}"


def _moved(before: Kept | None, now: Kept) -> list[str]:
    """Say which packages are others than a record before."""
    if before is None:
        return []
    names = sorted(before.versions.keys() | now.versions.keys())
    pairs = [(name, before.versions.get(name, "none"), now.versions.get(name, "none")) for name in names]
    return [f"{name} {one} to {two}" for name, one, two in pairs if one != two]


def spark(track: Track, series: Series) -> str:
    """Draw a figure over the revisions of its track: a line, and a dot where it was measured, larger where it fails."""
    places = {id(kept): index for index, kept in enumerate(track.kept[-_SHOWN:])}
    points = [(places[id(kept)], kept, point) for kept, point in series.points if id(kept) in places]
    heights, limit = _heights([point.value for _, _, point in points], logarithmic=track.kind == "verify")
    step = (_WIDTH - 12) / max(1, len(places) - 1)
    line, dots, begun = [], [], False
    for (place, kept, point), height in zip(points, heights, strict=True):
        x, y = round(6 + place * step, 1), _down(height or 0.0)
        if height is not None:
            line.append(f"{'L' if begun else 'M'}{x:g} {y:g}")
        begun = height is not None
        look = 'r="4" class="r4"' if point.verdict not in HOLDS else 'r="2.5"'
        title = markup(f"{kept.revision}: {shown(track, point)}")
        dots.append(f'<circle cx="{x:g}" cy="{y:g}" {look}><title>{title}</title></circle>')
    mark = "" if limit is None else f'<path class="axis limit" d="M0 {_down(limit):g}H{_WIDTH}"/>'
    side = series.side or "other"
    said = f"{markup(series.name)} over {len(points)} results, now {markup(shown(track, series.now))}"
    return (
        f'<svg class="spark {side}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}">'
        f'{mark}<path class="drawn" d="{"".join(line)}"/>{"".join(dots)}</svg>'
    )


def _down(share: float) -> float:
    return round(_HEIGHT - 6 - share * (_HEIGHT - 12), 1)


def _heights(values: Sequence[float | None], *, logarithmic: bool) -> tuple[list[float | None], float | None]:
    """Return values as shares of the height, and where a divergence begins.

    Milliseconds stand over zero. Floors stand by their powers, from a tenth to where a divergence begins and beyond
    only where one is: what honest rounding moves by looks as small as it is.
    """
    if not logarithmic:
        most = max((value for value in values if value is not None), default=0.0) or 1.0
        return [None if value is None else value / most for value in values], None
    powers = [None if value is None else math.log10(min(max(value, 0.1), _MOST)) for value in values]
    low, limit = -1.0, math.log10(FLOOR_MULTIPLE)
    high = max([limit, *(power for power in powers if power is not None)])
    return [None if power is None else (power - low) / (high - low) for power in powers], (limit - low) / (high - low)
