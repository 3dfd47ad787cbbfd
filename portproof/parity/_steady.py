"""What follows for the verdict where a side is no function: it draws random numbers, or keeps something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from portproof._numbers import EPSILON, Array, Arrays, compare
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._found import Found
from portproof.judge._report import Culprit
from portproof.parity._outputs import collect, judge_sides
from portproof.parity._rows import Rows
from portproof.replay._oracle import Measuring
from portproof.replay._replay import Replay
from portproof.sides._sides import Sides
from portproof.sides._steady import unsteady
from portproof.sides._weights import Weights

_REASON = "two runs on the same rows differ"
_ADVICE = "switch that off in evaluation (`self.training`), or make it an input of the port"


def is_function(replay: Replay, outputs: Mapping[str, Arrays]) -> bool:
    """Whether the leading side put out the same twice for the first row, as two runs tell that there were anyway.

    Args:
        replay: whose recording is one of them; it rounds to float32 after every module, so that float32's distance from
            float64 is what can be told.
        outputs: of the others on all rows that are judged, by precision.
    """
    own = [(outputs["float64"][name], narrow) for name, narrow in outputs["float32"].items()]
    alike = [any(_is_same(one, *pair) for pair in own) for one in replay.recorded()]
    return bool(alike) and all(alike)


def _is_same(one: Array, wide: Array, narrow: Array) -> bool:
    """Whether a tensor's first row is another's, as far as float32 tells."""
    if not one.ndim == wide.ndim > 0:
        return False
    found, floor = (compare(array[:1], wide[:1], "float64", detail=False) for array in (one, narrow))
    return found.mismatch is None and found.rms <= FLOOR_MULTIPLE * max(floor.rms, EPSILON["float32"])


def not_functions(sides: Sides, weights: Weights, rows: Rows, measuring: Measuring) -> Found | None:
    """See whether the sides put out the same twice, where something has turned up that this may explain.

    Where no side does, nothing can be told; where one does not, that is the finding.

    Returns:
        None where every side puts out the same twice.

    Raises:
        BadInput: every side raises.
    """
    reasons = unsteady(sides, rows.few)
    if not reasons:
        return None
    outputs, found = collect(sides, weights, measuring)
    judged = judge_sides(outputs, weights, measuring.oracle(outputs)) if sides.live[0] in outputs else found
    if len(reasons) < len(sides.live):
        keys = sides.pairs().keys
        culprits = [
            Culprit(
                side, keys[side].get(path, path), "unsteady", "forward",
                f"it {what}: {_REASON}, and not those of {side.other.title}",
            )
            for side, (path, what) in reasons.items()
        ]  # fmt: skip
        return Found(hops=judged.hops, culprits=culprits)
    said = [f"{side.title} {what} in '{path or '(root)'}'" for side, (path, what) in reasons.items()]
    undecided = [replace(hop, verdict="inconclusive", reason=_REASON) for hop in judged.hops]
    return Found(hops=undecided, notes=[f"{' and '.join(said)}, so {_REASON}: {_ADVICE}"])
