"""The hops that need nothing but outputs: shared by ``verify`` and ``compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portproof._judge import Floor, judge_outputs
from portproof._numerics import Array
from portproof._report import Hop

Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class SideRun:
    """What one runner put out.

    Attributes:
        side: title of its side.
        runner: title of the runner.
        float32: outputs.
        float64: outputs, None for a runner that has no float64.
        single: float32 outputs of the first rows, run one at a time; None or empty where that was not done.
    """

    side: str
    runner: str
    float32: Outputs
    float64: Outputs | None = None
    single: Outputs | None = None


def side_hops(runs: Sequence[SideRun], weights: str, floors: Mapping[str, Floor]) -> list[Hop]:
    """Judge runs against the oracle: the float64 outputs of the first run.

    Args:
        runs: the first has float64 outputs.
        weights: label of the weights that were run.
        floors: by output.
    """
    oracle = runs[0].float64
    assert oracle is not None
    name = f"{runs[0].side} float64 (oracle)"
    hops = [
        judge_outputs("semantics", name, f"{run.side} float64", "float64", weights, run.float64, oracle, floors)
        for run in runs[1:]
        if run.float64 is not None
    ]
    for run in runs:
        title = f"{run.runner} float32"
        hops.append(judge_outputs("numerics", name, title, "float32", weights, run.float32, oracle, floors))
        hops += batch_hop(title, weights, run.float32, run.single, floors)
    return hops


def batch_hop(
    title: str, weights: str, batch: Outputs, single: Outputs | None, floors: Mapping[str, Floor]
) -> list[Hop]:
    """Judge rows run one at a time against the same rows of a batch; no hop where that was not done."""
    if not single:
        return []
    rows, size = (len(next(iter(outputs.values()))) for outputs in (single, {n: batch[n] for n in single}))
    head = {name: batch[name][:rows] for name in single}
    source, target = f"{title}, batch {size}", f"{title}, batch 1"
    return [judge_outputs("batch", source, target, "float32", weights, single, head, floors)]
