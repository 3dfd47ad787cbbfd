"""The plots of a benchmark's page, narrow enough for a phone: what a row is stands above it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from portproof._text import plain
from portproof.bench._result import BenchResult, TimedRow
from portproof.bench._standing import order
from portproof.ports._port import Side
from portproof.render._plots import INK, MARKERS, SIDE_COLOURS, SIZE, drawn, inline

#: About how many samples are drawn, of a process and in all, evenly over its quantiles.
_DOTS, _ALL_DOTS = 40, 2000
#: Rows in a plot, and lines: more are slow ones that squeeze the rest.
_SHOWN, _LINES = 16, 10


@dataclass(frozen=True)
class Figure:
    """One plot: its title, what it shows, and its SVG."""

    title: str
    caption: str
    svg: str


def figures(result: BenchResult, contended: BenchResult | None) -> list[Figure]:
    """Return the plots of a result that has numbers at its first batch size."""
    batch = result.suite.batches[0]
    rows = _timed(result, batch)[:_SHOWN]
    found = [Figure(
        f"Distribution, batch {batch}", "A line of dots a process, evenly over its samples; the bar: the median.",
        _of_rows(rows, lambda axes: _distribution(axes, rows)),
    )]  # fmt: skip
    with_share = [row for row in rows if result.share_of_peak(row) is not None]
    if with_share:
        text = "Multiply-adds of the model's layers per second, as a share of the FMA peak measured in the same run."
        svg = _of_rows(with_share, lambda axes: _shares(axes, result, with_share))
        found.append(Figure("Share of the processor's peak", text, svg))
    if len(result.suite.batches) > 1:
        svg = _of_lines(lambda axes: _batches(axes, result))
        found.append(Figure("Batch sizes", "Rows a second over the rows in a request.", svg))
    if any(row.side for row in rows):
        text = "Time until so many requests are served, import, build and first call included."
        found.append(Figure("What setup costs", text, _of_lines(lambda axes: _break_even(axes, rows))))
    if contended is not None:
        beside = {row.runner: row for row in _timed(contended, batch)}
        text = "Filled: on a machine left alone; hollow: beside a busy neighbour."
        svg = _of_rows(rows, lambda axes: _contended(axes, rows, beside))
        found.append(Figure("Quiet and contended", text, svg))
    return found


def _timed(result: BenchResult, batch: int) -> list[TimedRow]:
    return sorted((row for row in result.rows if row.batch == batch and row.processes), key=order)


def _of_rows(rows: Sequence[TimedRow], draw: Callable[[Any], None]) -> str:
    """Return a plot with a line for each row, its title above it."""

    def rowwise(figure: Any) -> None:
        axes = figure.subplots()
        draw(axes)
        for place, row in enumerate(rows):
            axes.text(0, place - 0.36, _label(row), transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(rows) - 0.35, -0.65)

    return inline(drawn(rowwise, (SIZE[0], 0.75 + 0.46 * len(rows))))


def _of_lines(draw: Callable[[Any], None]) -> str:
    """Return a plot of lines, with what they are below it."""

    def lined(figure: Any) -> None:
        axes = figure.subplots()
        draw(axes)
        axes.grid(visible=True, alpha=0.5)
        figure.legend(loc="outside lower left", frameon=False, fontsize=9)

    return inline(drawn(lined, (SIZE[0], SIZE[1] + 1.2)))


def _label(row: TimedRow) -> str:
    title = plain(row.title)
    return title if len(title) < 60 else title[:59] + "…"


def _distribution(axes: Any, rows: Sequence[TimedRow]) -> None:
    each = max(5, min(_DOTS, _ALL_DOTS // sum(len(row.processes) for row in rows)))
    for place, row in enumerate(rows):
        count = len(row.processes)
        for index, process in enumerate(row.processes):
            height = place + 0.12 + (index - (count - 1) / 2) * 0.4 / max(count, 1)
            ordered = sorted(process.samples_ms)
            dots = ordered[:: max(1, len(ordered) // each)]
            axes.plot(dots, [height] * len(dots), ".", ms=2.5, alpha=0.5, color=SIDE_COLOURS[row.side])
        axes.plot([row.median_ms] * 2, [place - 0.14, place + 0.38], color=INK, linewidth=1.4)
    _logarithmic(axes)


def _logarithmic(axes: Any) -> None:
    axes.set(xlabel="milliseconds", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelrotation=45, labelsize=8)


def _shares(axes: Any, result: BenchResult, rows: Sequence[TimedRow]) -> None:
    shares = [100 * (result.share_of_peak(row) or 0.0) for row in rows]
    places = [place + 0.1 for place in range(len(rows))]
    axes.barh(places, shares, height=0.4, color=[SIDE_COLOURS[row.side] for row in rows])
    for place, share in zip(places, shares, strict=True):
        axes.text(share + 1, place, f"{share:.0f}%", va="center", fontsize=9)
    axes.set(xlim=(0, 105), xlabel=f"% of {result.peak_gflops:.0f} GFLOP/s, float32")


def _batches(axes: Any, result: BenchResult) -> None:
    names = list(dict.fromkeys(row.runner for row in _timed(result, result.suite.batches[0])))[:_LINES]
    for marker, name in zip(MARKERS, names, strict=False):
        rows = sorted((r for r in result.rows if r.runner == name and r.processes), key=lambda r: r.batch)
        axes.plot(
            [row.batch for row in rows], [row.rows_per_s for row in rows], marker=marker, ms=5, linewidth=1.2,
            color=SIDE_COLOURS[rows[0].side], label=_label(rows[0]),
        )  # fmt: skip
    axes.set(xscale="log", xlabel="rows in a request", ylabel="rows a second", ylim=(0, None))
    axes.set_xticks(result.suite.batches, [str(batch) for batch in result.suite.batches])
    axes.minorticks_off()


def _break_even(axes: Any, timed: Sequence[TimedRow]) -> None:
    eager = [row for row in timed if row.side and row.runner == Side(row.side).eager]
    rows = [row for row in timed if row not in eager][: _LINES - len(eager)] + eager
    slowest = max(row.median_ms or 1.0 for row in rows)
    setups = [statistics.median(process.setup_s for process in row.processes) for row in rows]
    reach = max(10, int(3 * max(setups) * 1e3 / slowest))
    for marker, row, setup in zip(MARKERS, rows, setups, strict=False):
        axes.plot(
            [1, reach / 2, reach], [setup + count * (row.median_ms or 0.0) / 1e3 for count in (1, reach / 2, reach)],
            marker=marker, ms=5, linewidth=1.2, color=SIDE_COLOURS[row.side], label=_label(row),
        )  # fmt: skip
    axes.set(xlabel="requests", ylabel="seconds", ylim=(0, None))


def _contended(axes: Any, rows: Sequence[TimedRow], beside: dict[str, TimedRow]) -> None:
    for place, row in enumerate(rows):
        colour, height = SIDE_COLOURS[row.side], place + 0.1
        axes.plot(row.median_ms, height, "o", color=colour)
        other = beside.get(row.runner)
        if other is not None:
            axes.plot([row.median_ms, other.median_ms], [height] * 2, color=colour, linewidth=1)
            axes.plot(other.median_ms, height, "o", color=colour, fillstyle="none")
    _logarithmic(axes)
