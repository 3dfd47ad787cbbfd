"""The main job: the chain from Paddle to PyTorch to both exports to the runtime, judged step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from portproof._errors import ModelRaised
from portproof._machine import thread_budget
from portproof.faults._sight import look, sight
from portproof.judge._found import Found
from portproof.judge._report import HOLDS, Report
from portproof.parity._artefacts import judge_artefacts
from portproof.parity._blockwise import modules_hop, stream_replay
from portproof.parity._earlier import Earlier, OtherWeightsNeededError
from portproof.parity._explained import with_sources, with_tables
from portproof.parity._exports import FileJudge, submit_exports
from portproof.parity._findings import Findings
from portproof.parity._lines import parted, with_built, with_lines
from portproof.parity._mapped import against_given, match_or_find
from portproof.parity._models import other_weights
from portproof.parity._options import Options
from portproof.parity._outputs import collect, judge_lower, judge_sides, raising, what_was_run
from portproof.parity._rows import Rows, chaotic_rows
from portproof.parity._runners import judge_runners
from portproof.parity._single_module import descend
from portproof.parity._steady import is_function, not_functions
from portproof.ports._inputs import make_batch
from portproof.ports._locate import Located, Project
from portproof.ports._port import Port
from portproof.replay._oracle import Measuring
from portproof.replay._replay import Replay, Replayed
from portproof.replay._tasks import ReplayTasks
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides, Watch
from portproof.sides._tasks import Tasks
from portproof.sides._weights import Weights, factory, given, given_label, load_weights, sensitised


def verify(
    port: Port | Located, options: Options | None = None, watch: Watch | None = None,
    first: Callable[[Report], None] | None = None, earlier: Path | None = None, **fields: Any,
) -> Report:  # fmt: skip
    """Judge a port.

    Args:
        port: the port. One that was found by name runs each side in a process of its own, side by side; a bare
            :class:`Port` runs in this process.
        options: what to do; or give the fields of :class:`Options` as keyword arguments.
        watch: called with a process's name and what it is doing now, None when it is done.
        first: called with the report as soon as its verdict stands, and again when its culprits are known; where two
            models are two functions, the lines at which they part are looked for after that, and stand in the one that
            is returned.
        earlier: a folder in which one judgement after the other of a port finds what the one before left; verdicts are
            as without it (:mod:`portproof.parity._earlier`).

    Returns:
        The report, true only where the verdict holds.

    Raises:
        BadInput: a factory raises, a file or an argument is wrong.
        Unavailable: a framework or the device is not there, or nothing can be the oracle.
    """
    located = port if isinstance(port, Located) else Located(port, None, Project())
    options = options or Options(**fields)
    options.require_possible(located.port)
    whole = not options.blockwise
    threads = options.threads or max(1, thread_budget() // max(1, len(located.port.sides)))
    keep, apart = options.cache and whole, whole and not options.quick
    with Sessions(located, options.kwargs, options.device, threads, options.blockwise, keep, apart) as sessions:
        return _judge(Sides(sessions, watch), options, first, Earlier(earlier if keep and options.quick else None))


def _judge(sides: Sides, options: Options, first: Callable[[Report], None] | None, earlier: Earlier) -> Report:
    """Judge what was asked for: files alone, module by module alone, or everything under each set of weights."""
    begun = time.perf_counter()
    located, live = sides.sessions.located, sides.live
    hello = {side: sides.do(side, "importing the framework", Tasks.hello) for side in live}
    for side in () if options.blockwise or options.module else live:
        sides.do(side, "building the model", Tasks.prepare, precision="float32")  # while rows are made
        sides.open[side].ahead(Tasks.prepare, precision="float64")
    batch = make_batch(located.port, seed=options.seed, images=options.images, given=options.rows)
    findings = Findings(
        notes=list(batch.notes),
        evidence={side: future.result() for side, future in hello.items()},
        given=given_label(options.weights) if options.weights else None,
        strict=options.strict,
    )
    if first is not None:
        findings.told = lambda found: first(found.report(sides, batch, time.perf_counter() - begun))
    if options.blockwise:
        for side in live:
            sides.do(side, "building the model", ReplayTasks.hollow)
    if options.module:
        batch = replace(batch, arrays=descend(sides, options.module, batch.arrays, options.seed))
    port = sides.sessions.located.port
    rows = Rows.write(port, batch, sides.folder, least=options.quick and not options.gradients)
    if not live:
        findings.add(judge_artefacts(sides, rows))
        return findings.report(sides, batch, time.perf_counter() - begun)
    matched, said = match_or_find(sides, options)
    findings.add(said)
    own = other_weights(sides) if matched and options.same_weights and len(live) == 2 else Found()
    if matched and options.blockwise and options.weights is not None:
        _judge_modules(sides, options.weights, rows, findings)
    elif matched:
        _judge_models(sides, options, rows.quick() if options.quick else rows, findings, earlier)
    if findings.modules is not None and not options.blockwise:
        findings.culprits, notes = with_tables(sides, rows.few, findings.culprits)
        findings.notes += notes
    findings.add(own)
    findings.culprits = with_sources(sides, findings.culprits)
    findings.latent = with_sources(sides, findings.latent)
    findings.told(findings)
    culprits = findings.culprits
    if findings.parted is not None and findings.is_another_function():
        culprits, notes = with_lines(sides, findings.parted, culprits)
        findings.notes += notes
    if options.lines and not options.blockwise:
        culprits, notes = with_built(sides, culprits)
        findings.notes += notes
    findings.culprits = with_sources(sides, culprits)
    if matched:
        findings.add(against_given(sides, options, findings.hops))
    return findings.report(sides, batch, time.perf_counter() - begun)


def _judge_modules(sides: Sides, weights: Path, rows: Rows, findings: Findings) -> None:
    """Judge every module by itself, without ever holding a model."""
    replayed = stream_replay(sides, weights, rows.few)
    findings.hops.append(modules_hop(sides, given_label(weights), replayed.modules))
    findings.replayed(replayed, rows.port.accepted)
    for side in sides.live:
        streamed = sides.open[side].call(ReplayTasks.streamed)
        findings.evidence[side] = {**findings.evidence[side], "streamed": streamed}
    findings.notes.append(
        "module by module: no runtime, no export and no planted fault was run; float32 is judged within modules"
    )


def _judge_models(sides: Sides, options: Options, rows: Rows, findings: Findings, earlier: Earlier) -> None:
    """Judge on the weights at hand, then on those that make every channel matter."""
    path = options.weights
    if path is not None:
        rows = _judge_weights(sides, options, given(sides, path), rows, findings, earlier, exports=not options.quick)
        if any(hop.verdict == "inconclusive" for hop in findings.hops):
            findings.notes.append(
                f"the given weights hide faults: some output hardly depends on the input ({path.name}); "
                "the verdict on sensitised weights below is the one to trust"
            )
    files = [file for side in rows.port.sides if (file := rows.port.artefact(side))]
    if files:
        if path is None:
            _judge_weights(sides, options, factory(sides), rows, findings, earlier, exports=False)
            if any(hop.verdict == "divergent" for hop in findings.hops):
                findings.notes.append(
                    f"{files[0]} holds weights of its own, and the model had those of its factory: are they the same? "
                    "--weights FILE gives it others: the graph itself, or what `portproof convert` makes of it, or of "
                    "a program's .pdiparams, with --like A_CHECKPOINT_OF_THE_MODEL"
                )
        return
    exports = path is None and not options.quick
    for side in sides.live if exports else ():
        sides.open[side].ahead(Tasks.prepare_export)
    known = earlier.weights(sides, rows)
    if known is not None:
        try:
            _judge_weights(sides, options, known, rows, findings, earlier, exports=exports)
            return
        except OtherWeightsNeededError as needed:
            needed.cancel()
    weights = sensitised(sides, rows.all, options.seed)
    _judge_weights(sides, options, weights, rows, findings, earlier, exports=exports)


def _judge_weights(
    sides: Sides, options: Options, weights: Weights, rows: Rows, findings: Findings, earlier: Earlier, *,
    exports: bool,
) -> Rows:  # fmt: skip
    """Judge every hop under one set of weights; returns the rows that float32 can follow.

    Raises:
        OtherWeightsNeededError: they are of an earlier judgement, and nothing can be told on them.
    """
    lead = sides.live[0]
    load_weights(sides, weights.files)
    replay = _replay(sides, options, weights, rows)
    measuring = Measuring(sides, rows.judged, sides.folder / weights.kind, single=0 if options.quick else 2)
    # What is exported beside the rest is begun now; else it comes after what others wait for.
    soon = [side for side in sides.live if exports and sides.open[side].goes_beside(Tasks.export)]
    exporting = submit_exports(sides, weights, rows, soon)
    passes = looked = failed = None
    if replay is not None:
        try:
            passes = replay.submit(follower=sides.open[replay.follower].is_started)
        except ModelRaised as error:
            failed = error
    pending: list[Future[Any]] = [*(passes or {}).values(), *exporting.values()]
    chaotic = chaotic_rows(rows, measuring, lead)
    earlier.require(weights, pending, not chaotic and failed is None)
    if chaotic and (found := not_functions(sides, weights, rows, measuring)) is not None:
        findings.add(found)
        return rows
    if chaotic:
        for future in pending:
            future.cancel()
        findings.notes.append(rows.left_out(chaotic))
        return _judge_weights(sides, options, weights, rows.without(chaotic), findings, earlier, exports=exports)
    if failed is not None:
        findings.culprits.append(raising(failed))
    if replay is not None and passes is not None and not options.quick:
        looked = look(replay, options.seed)
    if exports:
        exporting |= submit_exports(sides, weights, rows, [side for side in sides.live if side not in soon])
    outputs, raised = collect(sides, weights, measuring)
    earlier.require(weights, pending, not raised.hops)
    findings.add(raised)
    if lead not in outputs:
        return rows
    oracle = measuring.oracle(outputs)
    judged = judge_sides(outputs, weights, oracle)
    findings.add(earlier.told(weights, sides, rows, judged, outputs[lead], oracle.floors, pending))
    if any(hop.verdict in ("divergent", "inconclusive") for hop in judged.hops):
        if replay is not None and passes is not None and is_function(replay, outputs[lead]):
            findings.tell(judged, rows.port.accepted)
        unsteady = not_functions(sides, weights, rows, measuring)
        if unsteady is not None:
            findings.add(unsteady)
            return rows
    findings.add(judged)
    findings.add(what_was_run(measuring, outputs))
    between = [hop.verdict for hop in judged.hops if hop.kind == "semantics"]
    agree = bool(between) and all(verdict in HOLDS for verdict in between)
    own = oracle.of_each(outputs) if between and not agree else {}
    if between and not agree and options.lines:
        findings.parted = parted(judged.hops, [by["float64"] for by in outputs.values()], rows)
    replayed = None
    if replay is not None and passes is not None:
        replayed = replay.judge(passes, agree=agree)
        findings.replayed(replayed, rows.port.accepted)
        if options.pictures and "torch" in sides.live:
            flow = sides.do("torch", "following tensors", ReplayTasks.dataflow, inputs=rows.few).result()
            findings.edges = tuple((source, target) for source, target in flow)
    findings.add(judge_lower(sides, options.precisions, weights, rows, oracle, replayed, own))
    clean = not findings.culprits
    judge = FileJudge(sides, rows, weights, oracle, replayed, own)
    findings.add(judge.judge_sides())
    findings.add(judge.judge_exports(exporting))  # meanwhile, faults are being planted
    if replayed is not None and looked is not None and clean:
        findings.seen(sight(replayed, looked, oracle.floors, weights.label), weights)
    findings.add(judge_runners(judge, options.runners))
    for found in _judge_learning(sides, options, weights, rows, replayed):
        findings.add(found)
    return rows


def _replay(sides: Sides, options: Options, weights: Weights, rows: Rows) -> Replay | None:
    """Begin the replay of the second side on the first; None where there is one side, or none is asked for."""
    if len(sides.live) < 2 or not options.modules:
        return None
    lead, follower = sides.live
    taps = sides.folder / weights.kind / f"taps-{len(rows.families)}"
    return Replay(
        sides.do, lead, follower, sides.pairs(), rows.few, taps, accepted=rows.port.accepted, pictures=options.pictures
    )


def _judge_learning(
    sides: Sides, options: Options, weights: Weights, rows: Rows, replayed: Replayed | None
) -> Iterator[Found]:
    """Judge gradients, and trainings step by step, where they are asked for and both sides are there."""
    if not (options.gradients or options.steps):
        return
    from portproof.lockstep._hops import alone_in_dropping, judge_gradients, judge_training

    pairs = replayed.pairs if replayed is not None else sides.pairs()
    yield Found(notes=alone_in_dropping(pairs))
    if options.gradients:
        yield judge_gradients(sides, pairs, rows.few, weights, options.seed, lines=options.lines)
    if options.steps and (weights.kind == "given" or options.weights is None):
        yield judge_training(sides, pairs, rows.all, weights, options.steps, options.training, options.seed)
