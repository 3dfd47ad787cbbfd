"""The hops of the sides themselves: float64, float32, batch and lower precisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from safetensors.numpy import load_file

from portproof._errors import BadInput, ModelRaised, PortproofError
from portproof._numbers import Arrays
from portproof.convert._account import Problem
from portproof.frameworks._layers import KERNEL
from portproof.judge._found import Found
from portproof.judge._hops import SideRun, judge_outputs, side_hops
from portproof.judge._report import Culprit, Hop, Worst
from portproof.parity._rows import Rows
from portproof.ports._port import Side
from portproof.replay._oracle import Measuring, Oracle
from portproof.replay._replay import Replayed
from portproof.runners import find_runner
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks
from portproof.sides._weights import Weights

#: Side to what it put out, by precision; see :meth:`Measuring.outputs`.
Outputs = Mapping[Side, Mapping[str, Arrays]]


def unmatched(problems: Sequence[Problem]) -> Found:
    """Return what keeps the state dicts from being a bijection as a divergence with its culprits."""
    culprits = [Culprit(p.side or "unknown", p.module, "weights", "forward", p.message) for p in problems]
    reason = f"{len(problems)} tensors have no equal: {problems[0].message}"
    return Found([Hop("semantics", "torch", "Paddle", "float64", "none", "divergent", None, reason)], culprits)


def collect(sides: Sides, weights: Weights, measuring: Measuring) -> tuple[dict[Side, dict[str, Arrays]], Found]:
    """Wait for what the sides put out; one that raises alone is divergent, and the culprit.

    Raises:
        BadInput: every side raises.
    """
    outputs: dict[Side, dict[str, Arrays]] = {}
    raised: list[ModelRaised] = []
    for side in sides.live:
        try:
            outputs[side] = measuring.outputs(side)
        except ModelRaised as error:
            raised.append(error)
    if not outputs:
        raise BadInput("; ".join(str(error) for error in raised))
    found = Found(culprits=[raising(error) for error in raised])
    for one in raised:
        source, title = Side(one.side).other.title, Side(one.side).title
        reason = f"{title} raises where {source} runs: {one.reason}"
        found.hops.append(Hop("semantics", source, title, "float64", weights.label, "divergent", None, reason))
    return outputs, found


def raising(error: ModelRaised) -> Culprit:
    """Return the culprit of a side that raises where the other runs."""
    text = f"raises where the other side runs: {error.reason}"
    return Culprit(error.side, error.module, "raises", "forward", text)


def judge_sides(outputs: Outputs, weights: Weights, oracle: Oracle) -> Found:
    """Judge float64 between the sides, float32 of each against the oracle, and rows one by one against the batch.

    Args:
        outputs: of the sides that ran, the leading one first.
        weights: that they ran on.
        oracle: what they are judged by.
    """
    runs = [
        SideRun(side.title, find_runner(side.eager).title, by["float32"], by["float64"], by.get("float32.single"))
        for side, by in outputs.items()
    ]
    return Found(side_hops(runs, weights.label, oracle.floors))


def what_was_run(measuring: Measuring, sides: Iterable[Side]) -> Found:
    """Say what models ask for in float32 and kernels keep in it, lifted in the oracle, and what they return unnamed.

    Args:
        measuring: the runs.
        sides: those that ran.
    """
    ran = {side: measuring.ran(side) for side in sides}
    lifted = {side: run.lifted for side, run in ran.items()}
    asked = {side: {n: c for n, c in found.items() if not n.startswith(KERNEL)} for side, found in lifted.items()}
    said = [
        f"{', '.join(f'{count} {name}' for name, count in found.items())} in {side.title}"
        for side, found in asked.items()
        if found
    ]
    notes = [f"float32 inside, float64 in the oracle: {'; '.join(said)}"] if said else []
    held = {name for side, found in lifted.items() for name in found.keys() - asked[side].keys()}
    kernels = sorted(name.removeprefix(KERNEL) for name in held)
    if kernels:
        notes.append(f"Paddle keeps scalars of {', '.join(kernels)} in float32; the float64 oracle has them exact")
    said = [f"{', '.join(run.unnamed)} of {side.title}" for side, run in ran.items() if run.unnamed]
    if said:
        notes.append(f"outputs that the port does not name are not compared: {'; '.join(said)}")
    return Found(notes=notes)


def judge_lower(
    sides: Sides, precisions: Sequence[str], weights: Weights, rows: Rows, oracle: Oracle, replayed: Replayed | None,
    own: Mapping[str, Oracle],
) -> Found:  # fmt: skip
    """Judge each side in the lower precisions that were asked for; where it has no kernels it is unavailable.

    A deep network amplifies bfloat16's rounding until its outputs can tell nothing; its modules, each on the
    recorded input, still can.

    Args:
        sides: with the weights loaded.
        precisions: lower ones.
        weights: that are loaded.
        rows: that the oracle was run on.
        oracle: what the sides are judged by.
        replayed: of these weights, None where there is none.
        own: side to what it is judged by where the sides differ.
    """
    asked = [(precision, side) for precision in precisions for side in sides.live]
    running = {
        (precision, side): sides.do(
            side, f"running in {precision}", Tasks.run, runner=side.eager, inputs=rows.judged,
            out=sides.folder / f"{weights.kind}-{side}-{precision}", precisions=[precision], single=0,
        )
        for precision, side in asked
    }  # fmt: skip
    found = Found()
    for (precision, side), future in running.items():
        title, judge = f"{find_runner(side.eager).title} {precision}", own.get(side, oracle)
        try:
            future.result()
        except PortproofError as error:
            found.hops.append(
                Hop("numerics", judge.source, title, precision, weights.label, "unavailable", None, str(error))
            )
            continue
        put_out = load_file(sides.folder / f"{weights.kind}-{side}-{precision}" / f"{precision}.safetensors")
        hop = judge_outputs(
            "numerics", judge.source, title, precision, weights.label, put_out, judge.outputs, judge.floors
        )
        if replayed is not None:
            hop, culprits = _with_modules(hop, replayed, side)
            found.culprits.extend(culprits)
        found.hops.append(hop)
    return found


def _with_modules(hop: Hop, replayed: Replayed, side: Side) -> tuple[Hop, list[Culprit]]:
    """Add to the hop of a lower precision what its modules, each on its own, show; they decide."""
    culprits, modules = replayed.in_precision(side, hop.precision)
    hop = replace(hop, modules=modules)
    if culprits and hop.verdict != "divergent":
        return replace(hop, verdict="divergent", reason=f"in module '{culprits[0].module}'"), culprits
    if hop.verdict == "inconclusive" and len(modules.blind) < modules.judged:
        worst = Worst(modules.worst_module, modules.worst_ratio, None, None, None)
        reason = f"{hop.reason}; each of {modules.judged} modules, on its own, rounds as it should"
        return replace(hop, verdict="equivalent", worst=worst, reason=reason), culprits
    return hop, culprits
