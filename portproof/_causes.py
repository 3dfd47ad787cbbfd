"""What a framework's float32 kernels are known to do less well, as a table of causes.

The tool finds by itself that a side rounds by more than it should, then asks whether a cause in this table explains it:
whether nothing is left when those layers, and they alone, are computed in float64.

Paddle's average pool adds one term after the other (``AvgPool::compute`` in ``pooling.h``), where torch adds in blocks:
over a map of 56x56 it errs 46 times as far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.numpy import load_file

from portproof._judge import Floor, judge_outputs
from portproof._numerics import Array
from portproof._report import Deviation, Hop
from portproof._sides import Sides

_POOLS = frozenset(f"{kind}Pool{n}d" for kind in ("Avg", "AdaptiveAvg") for n in (1, 2, 3))
#: Side to the layer types, by torch's names, and what is known of them.
FLOAT32_KERNELS: dict[str, tuple[frozenset[str], str]] = {
    "paddle": (_POOLS, "Paddle's average pool adds one term after the other in float32"),
}


def explain_float32(
    sides: Sides, side: str, hop: Hop, oracle: Mapping[str, Array], floors: Mapping[str, Floor], inputs: Path
) -> tuple[Hop, list[Deviation]]:
    """Ask whether a side that rounds by more than it should does so for a known cause.

    Args:
        sides: the open sides, with the weights of the hop loaded.
        side: the side.
        hop: its divergent hop in float32.
        oracle: outputs in float64.
        floors: by output.
        inputs: file of the rows.

    Returns:
        The hop, equivalent where nothing is left, and the deviation that was met.
    """
    layers, cause = FLOAT32_KERNELS.get(side, (frozenset[str](), ""))
    met = [(path, layer) for path, layer, *_ in sides.described[side]["modules"] if layer in layers]
    if not met or hop.worst is None or hop.worst.ratio is None:
        return hop, []
    out = sides.folder / f"explained-{side}.safetensors"
    sides.do(
        side, "looking for a known cause", "capture_precisely", inputs=str(inputs), out=str(out), layers=sorted(layers)
    ).result()
    rest = judge_outputs(hop.kind, hop.source, hop.target, "float32", hop.weights, load_file(out), oracle, floors)
    if rest.verdict == "divergent" or rest.worst is None or rest.worst.ratio is None:
        return hop, []
    size = hop.worst.ratio * (hop.worst.floor or 0.0)
    more = f" and {len(met) - 1} more" if len(met) > 1 else ""
    deviation = Deviation(f"{met[0][0]}{more}", met[0][1], "forward", size, rest.worst.ratio, cause)
    reason = f"rounds by more than it should for a known cause; without it {rest.worst.ratio:.1f} floors are left"
    return replace(hop, verdict=rest.verdict, reason=reason), [deviation]
