"""Small pictures as SVG: two distributions over each other, and the decades of what lies between them."""

from __future__ import annotations

from portproof.judge._report import ModulePicture

_WIDTH, _HEIGHT = 240, 64
_FIRST_DECADE = -18


def _steps(counts: tuple[int, ...], most: int) -> str:
    """Return a path of steps, from the lower left corner to the lower right one."""
    width = _WIDTH / len(counts)
    path = [f"M0 {_HEIGHT}"]
    for index, count in enumerate(counts):
        height = _HEIGHT - round((_HEIGHT - 4) * count / max(most, 1))
        path.append(f"V{height}H{round((index + 1) * width)}")
    return "".join([*path, f"V{_HEIGHT}"])


def distributions(seen: ModulePicture) -> str:
    """Draw both sides' values: filled, the side that leads; a line, the other."""
    most = max(*seen.leader, *seen.follower)
    title = f"Values from {seen.low:.3g} to {seen.high:.3g}, on both sides"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 14}" role="img" aria-label="{title}">'
        f'<path d="{_steps(seen.leader, most)}Z" fill="#a8a29e"/>'
        f'<path d="{_steps(seen.follower, most)}" fill="none" stroke="#1d4ed8" stroke-width="1.5"/>'
        f'<text x="0" y="{_HEIGHT + 12}">{seen.low:.3g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 12}" text-anchor="end">{seen.high:.3g}</text></svg>'
    )


def decades(seen: ModulePicture) -> str:
    """Draw how large the difference is, a bar a decade of the tensor's scale."""
    most = max(seen.decades)
    width = _WIDTH / len(seen.decades)
    bars = "".join(
        f'<rect x="{round(i * width) + 1}" y="{_HEIGHT - round((_HEIGHT - 4) * count / max(most, 1))}" '
        f'width="{round(width) - 2}" height="{round((_HEIGHT - 4) * count / max(most, 1))}" fill="#b45309"/>'
        for i, count in enumerate(seen.decades)
        if count
    )
    same = f"{seen.equal / max(seen.count, 1):.0%} of the values are equal"
    marks = "".join(
        f'<text x="{round((decade - _FIRST_DECADE) * width)}" y="{_HEIGHT + 12}" text-anchor="middle">1e{decade}</text>'
        for decade in (-15, -8, -1)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 14}" role="img" '
        f'aria-label="The difference relative to the tensor\'s scale; {same}">'
        f'<path d="M0 {_HEIGHT}H{_WIDTH}" stroke="#78716c"/>{bars}{marks}</svg>'
    )
