"""What a report shows of every module: how far it lies out, and what its tensors look like on both sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from portproof._numerics import Array
from portproof._report import ModuleDetail, Picture, finite

if TYPE_CHECKING:
    from portproof._judge import ModuleFloors
    from portproof._taps import TapDifference

_BINS = 32
#: Values of a tensor that are counted; a sample of more shows the same.
_COUNTED = 100_000
#: Decades of the difference, relative to the tensor's scale.
_DECADES = (-18, 2)


def picture(mine: Array, theirs: Array) -> dict[str, Any] | None:
    """Count the values of a tensor on both sides, and the decades of what lies between them.

    Args:
        mine: of the side that follows.
        theirs: recorded on the side that leads.
    """
    if mine.dtype.kind != "f" or mine.size != theirs.size or not mine.size:
        return None
    step = max(1, mine.size // _COUNTED)
    one, two = (np.asarray(a.ravel()[::step], np.float64) for a in (mine, theirs))
    kept = np.isfinite(one) & np.isfinite(two)
    if not kept.any():
        return None
    one, two = one[kept], two[kept]
    low, high = float(min(one.min(), two.min())), float(max(one.max(), two.max()))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    scale = math.sqrt(float(np.mean(two**2))) or 1.0
    with np.errstate(divide="ignore"):
        decades = np.log10(np.abs(one - two) / scale)
    counts = np.histogram(np.clip(decades[np.isfinite(decades)], *_DECADES), _DECADES[1] - _DECADES[0], _DECADES)[0]
    return {
        "low": low, "high": float(edges[-1]), "follower": np.histogram(one, edges)[0].tolist(),
        "leader": np.histogram(two, edges)[0].tolist(), "decades": counts.tolist(),
        "equal": int(np.sum(one == two)), "count": len(one),
    }  # fmt: skip


@dataclass(frozen=True)
class _Seen:
    ratio: float
    entry: TapDifference


def module_details(
    found: Sequence[TapDifference],
    floors: ModuleFloors,
    described: Mapping[str, tuple[str, Mapping[str, Any]]],
    paddle: Mapping[str, str],
) -> tuple[ModuleDetail, ...]:
    """Return every paired module that ran, in the order in which they returned.

    Args:
        found: the forced float64 differences.
        floors: of the taps.
        described: key to layer type and settings, of torch.
        paddle: key to Paddle's path.
    """
    from portproof._judge import ratio
    from portproof._taps import LOUD, RETURNED

    worst: dict[str, _Seen] = {}
    for entry in found:
        if entry.role not in (RETURNED, LOUD):
            continue
        value = ratio(entry.difference, floors.of(entry), "float32" if entry.role == LOUD else "float64")
        if entry.role == RETURNED and (entry.key not in worst or value > worst[entry.key].ratio):
            worst[entry.key] = _Seen(value, entry)
    return tuple(
        ModuleDetail(
            module=key,
            paddle=paddle.get(key, key),
            layer=described[key][0] if key in described else "",
            ratio=finite(seen.ratio),
            rms=finite(seen.entry.difference.rms),
            scale=finite(seen.entry.difference.scale),
            note=seen.entry.difference.mismatch,
            picture=Picture(**seen.entry.picture) if seen.entry.picture else None,
        )
        for key, seen in worst.items()
    )
