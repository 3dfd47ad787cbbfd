"""The curves of a training, both sides in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portproof._text import plain
from portproof.ports._port import Side
from portproof.render._plots import SIDE_COLOURS, drawn

#: Steps that a curve is smoothed over.
_WINDOW = 15
_MARKERS = {"torch": "o", "paddle": "s"}


def plot_curves(title: str, rows: Mapping[str, Sequence[Any]], tests: Mapping[str, Sequence[Any]]) -> str:
    """Draw losses and accuracies over epochs; returns an SVG.

    Args:
        title: of the picture.
        rows: per side its log, one a step.
        tests: per side its tests.
    """
    return drawn(lambda figure: _draw(figure, plain(title), rows, tests), (9.5, 3.6))


def _draw(figure: Any, title: str, rows: Mapping[str, Sequence[Any]], tests: Mapping[str, Sequence[Any]]) -> None:
    left, right = figure.subplots(1, 2)
    for side, log in rows.items():
        if not log:
            continue
        colour, name = SIDE_COLOURS[side], Side(side).title
        epochs = np.array([row["epoch"] for row in log])
        left.plot(epochs, _smooth([row["loss"] for row in log]), color=colour, label=name, linewidth=1.6)
        right.plot(epochs, _smooth([row["accuracy"] for row in log]), color=colour, alpha=0.45, linewidth=1.2)
        found = tests.get(side, ())
        places = [float(np.interp(test["step"], [row["step"] for row in log], epochs)) for test in found]
        if found:
            main = next(output for output in found[0] if output != "step")
            last = found[-1][main]
            label = f"{name}, on the test images: {last:.1%}"
            reached = [test[main] for test in found]
            right.plot(places, reached, color=colour, marker=_MARKERS[side], markersize=4, label=label)
    left.set(xlabel="epoch", ylabel="loss, all classifiers, weighted", ylim=(0, None))
    right.set(xlabel="epoch", ylabel="accuracy of the main classifier", ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(visible=True, alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, loc="lower right" if axes is right else "upper right")
    figure.suptitle(f"{title}, trained on both sides from one start" if len(rows) > 1 else title, fontsize=11)


def _smooth(values: Sequence[float]) -> Any:
    """Return a running mean over the steps so far, at most ``_WINDOW`` of them."""
    sums = np.cumsum(np.insert(np.asarray(values, float), 0, 0.0))
    ends = np.arange(1, len(sums))
    begins = np.maximum(0, ends - _WINDOW)
    return (sums[ends] - sums[begins]) / (ends - begins)
