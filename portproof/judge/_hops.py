"""The hops that need nothing but outputs: shared by ``verify`` and ``compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from portproof._numbers import Array, Difference, compare
from portproof.judge._floor import Floor, ratio, verdict_of
from portproof.judge._report import Hop, Verdict, Worst, gravest

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
    differing = {hop.target for hop in hops if hop.verdict == "divergent"}
    for run in runs:
        title, own = f"{run.runner} float32", f"{run.side} float64"
        # A side that is another function rounds as it should where it rounds its own.
        by = (own, run.float64) if own in differing and run.float64 is not None else (name, oracle)
        hops.append(judge_outputs("numerics", by[0], title, "float32", weights, run.float32, by[1], floors))
        hops += batch_hop(title, weights, run.float32, run.single, floors)
    return hops


def batch_hop(
    title: str, weights: str, batch: Outputs, single: Outputs | None, floors: Mapping[str, Floor],
    precision: str = "float32",
) -> list[Hop]:  # fmt: skip
    """Judge rows run one at a time against the same rows of a batch; no hop where that was not done."""
    if not single:
        return []
    rows, size = (len(next(iter(outputs.values()))) for outputs in (single, {n: batch[n] for n in single}))
    head = {name: batch[name][:rows] for name in single}
    source, target = f"{title}, batch {size}", f"{title}, batch 1"
    return [judge_outputs("batch", source, target, precision, weights, single, head, floors)]


def judge_outputs(
    kind: str,
    source: str,
    target: str,
    precision: str,
    weights: str,
    found: Mapping[str, Array],
    expected: Mapping[str, Array],
    floors: Mapping[str, Floor],
) -> Hop:
    """Judge one hop on the outputs.

    Args:
        kind, source, target, precision, weights: see :class:`Hop`.
        found, expected: outputs by name, rows first; the same names.
        floors: by output.
    """
    judged: list[tuple[float, Verdict, Worst]] = []
    for name in expected:
        difference = compare(found[name], expected[name], precision)
        floor = floors[name]
        value, verdict = ratio(difference, floor, precision), verdict_of(difference, floor, precision)
        note = difference.mismatch
        if verdict == "inconclusive" and not np.isfinite(expected[name]).any():
            note = f"'{name}' holds no number but NaN and infinity"
        elif verdict == "inconclusive":
            note = f"'{name}' moves by {difference.spread:.0e} of its scale over all inputs, less than rounding does"
        judged.append((value, verdict, _worst(name, difference, value, floor.at(precision), note)))
    verdict = gravest([verdict for _, verdict, _ in judged])
    _, _, worst = max((entry for entry in judged if entry[1] == verdict), key=lambda entry: entry[0])
    return Hop(kind, source, target, precision, weights, verdict, worst, worst.note)


def _worst(name: str, difference: Difference, value: float, floor: float, note: str | None) -> Worst:
    if difference.mismatch is not None:
        return Worst(name, None, None, None, None, note=note)
    return Worst(
        name, value, difference.max_abs, difference.max_rel, difference.max_ulp,
        difference.cosine, difference.scale, floor, note,
    )  # fmt: skip
