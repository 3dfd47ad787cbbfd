"""Small pictures as SVG: two distributions over each other, the decades of what lies between them, and where it lies.

Their colours are the style sheet's: a side has the same one on every page.
"""

from __future__ import annotations

import math

from portproof.judge._report import ModulePicture

_WIDTH, _HEIGHT = 240, 64
_FIRST_DECADE, _LAST_DECADE = -18, 2


def _steps(heights: list[int]) -> str:
    """Return a path of steps, from the lower left corner to the lower right one."""
    width = _WIDTH / len(heights)
    path, last = [f"M0 {_HEIGHT}"], -1
    for index, height in enumerate(heights):
        if height != last:
            path.append(f"H{round(index * width)}V{_HEIGHT - height}")
        last = height
    return "".join([*path, f"H{_WIDTH}V{_HEIGHT}"])


def _counted(counts: tuple[int, ...], most: int) -> str:
    return _steps([round((_HEIGHT - 4) * count / max(most, 1)) for count in counts])


def _svg(said: str, body: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 14}" role="img" aria-label="{said}">{body}</svg>'


def distributions(seen: ModulePicture, leader: str, follower: str) -> str:
    """Draw both sides' values: filled, the side that leads; a line, the other; each in its side's colour."""
    most = max(*seen.leader, *seen.follower)
    return _svg(
        f"Values from {seen.low:.3g} to {seen.high:.3g}, on both sides",
        f'<path d="{_counted(seen.leader, most)}Z" class="{leader} soft"/>'
        f'<g class="{follower}"><path d="{_counted(seen.follower, most)}" class="drawn"/></g>'
        f'<text x="0" y="{_HEIGHT + 12}">{seen.low:.3g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 12}" text-anchor="end">{seen.high:.3g}</text>',
    )


def decades(seen: ModulePicture) -> str:
    """Draw how large the difference is, a step a decade of the tensor's scale."""
    width = _WIDTH / len(seen.decades)
    marks = "".join(
        f'<text x="{round((decade - _FIRST_DECADE) * width)}" y="{_HEIGHT + 12}" text-anchor="middle">1e{decade}</text>'
        for decade in (-15, -8, -1)
    )
    same = f"{seen.equal / max(seen.count, 1):.0%} of the values are equal"
    bars = f'<path d="{_counted(seen.decades, max(seen.decades))}Z" class="other"/>'
    return _svg(
        f"The difference relative to the tensor's scale; {same}",
        f'<path class="axis" d="M0 {_HEIGHT}H{_WIDTH}"/>{bars}{marks}',
    )


def channels(seen: ModulePicture) -> str:
    """Draw the difference along the channels, on the same logarithmic scale for every module."""

    def height(value: float) -> int:
        if value <= 0:
            return 0
        share = (math.log10(value) - _FIRST_DECADE) / (_LAST_DECADE - _FIRST_DECADE)
        return round((_HEIGHT - 4) * min(max(share, 0.02), 1.0))

    worst = max(range(len(seen.channels)), key=seen.channels.__getitem__)
    each, longer = divmod(seen.channel_count, len(seen.channels))
    first = worst * each + min(worst, longer)
    last = first + each - (worst >= longer)
    where = f"channel {first}" if first == last else f"channels {first} to {last}"
    return _svg(
        f"The difference along {seen.channel_count} channels, largest at {where}",
        f'<path class="axis" d="M0 {_HEIGHT}H{_WIDTH}"/>'
        f'<path d="{_steps([height(value) for value in seen.channels])}Z" class="other"/>'
        f'<text x="0" y="{_HEIGHT + 12}">0</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 12}" text-anchor="end">{seen.channel_count - 1}</text>',
    )
