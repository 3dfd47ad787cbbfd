"""Plant faults of the backward pass into forwards' own source and say how many are named to the line.

    python -m parity_tests.evidence.gradient_lines                   the written ports
    python -m parity_tests.evidence.gradient_lines written-unet      this one alone

Every fault leaves the outputs as they are: an expression is detached, or half of its gradient is. ``FAULTS`` a port
(8), drawn by ``SEED`` (0). A fault is *exact* where the first pair of lines that is named has its statement
and, in torch, one that makes the same value; *near* where one of the first three is at most three lines off. One
that changes no gradient is left out.
"""

from __future__ import annotations

import ast
import copy
import os
import random
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from unittest import mock

from parity_tests.evidence.lines import planting
from parity_tests.evidence.lines.__main__ import Bench, _at, _names, written_ports
from parity_tests.evidence.lines.faults import Fault, _exchange
from portproof import Port
from portproof.judge._report import HOLDS, LinePair
from portproof.lockstep._hops import judge_gradients
from portproof.parity._rows import Rows
from portproof.ports._inputs import make_batch
from portproof.sides._weights import Weights, sensitised


def _backward_faults(function: ast.FunctionDef) -> Iterator[Fault]:
    """Yield every expression of a function without its gradient, and with half of it."""
    for kind, form in (("detach", "(E).detach()"), ("half", "(E) * 0.5 + ((E) * 0.5).detach()")):
        for number, node in enumerate(ast.walk(function)):
            loaded = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
            if not loaded and not isinstance(node, (ast.Call, ast.BinOp)):
                continue
            whole = copy.deepcopy(function)
            target = list(ast.walk(whole))[number]
            text = form.replace("E", ast.unparse(target))
            made = ast.parse(text, mode="eval").body
            for one in ast.walk(made):
                ast.copy_location(one, target)
            statement = _exchange(whole, target, made)
            if statement is not None and not hasattr(statement, "body"):
                yield Fault(kind, statement.lineno, statement.end_lineno or statement.lineno, whole, text)


def run(port: Port, count: int, seed: int) -> list[tuple[str, str]]:
    """Plant faults into one port; returns each one's kind, and "exact", "near" or "MISSED"."""
    found: list[tuple[str, str]] = []
    with ExitStack() as stack:
        bench = Bench(port, stack)
        rows = Rows.write(bench.port, make_batch(bench.port, seed=0), bench.sides.folder, least=False)
        weights = sensitised(bench.sides, rows.all, 0)
        with mock.patch.object(planting, "faults", _backward_faults):
            waiting = sorted(bench.plantable(), key=lambda planted: planted.key)
        random.Random(f"{seed}|{port.name}").shuffle(waiting)
        if not _judged(bench, rows, weights)[0]:
            print(f"{port.name}: left out, its gradients differ as they are", flush=True)
            return []
        for planted in waiting:
            if len(found) >= count:
                break
            begun = time.process_time()
            with planted.in_place():
                try:
                    held, pairs, said = _judged(bench, rows, weights)
                except Exception:  # what stands there is no tensor
                    continue
            if held or not said:
                continue
            mark = "exact" if pairs and _names(pairs[0], planted, bench.counterparts(planted)) else "MISSED"
            lines = [(line.file, line.line) for pair in pairs[:3] for line in pair.paddle]
            if mark != "exact" and any(_at(planted, *line, 3) for line in lines):
                mark = "near"
            found.append((planted.fault.kind, mark))
            print(f"{mark:6} {port.name} {planted.key}  {time.process_time() - begun:.1f} s", flush=True)
            for pair in pairs if mark != "exact" else ():
                shown = " | ".join(f"{line.side} {line.line} {line.text}" for line in pair.paddle + pair.torch)
                print(f"       {shown} -- {pair.said}"[:250], flush=True)
    return found


def _judged(bench: Bench, rows: Rows, weights: Weights) -> tuple[bool, list[LinePair], bool]:
    """Return whether the gradients agree, the pairs of lines that are named, and whether anything was judged."""
    for left in bench.sides.folder.parent.rglob(f"gradients-{weights.kind}*"):  # of one that raised
        shutil.rmtree(left, ignore_errors=True)
    found = judge_gradients(bench.sides, bench.sides.pairs(), rows.few, weights, 0)
    held = all(hop.verdict in HOLDS for hop in found.hops)
    pairs = dict.fromkeys(pair for culprit in found.culprits for pair in culprit.lines)
    return held, list(pairs), any(hop.worst is not None for hop in found.hops)


def main() -> int:
    """Print every planting, and the shares."""
    warnings.filterwarnings("ignore")
    count, seed = int(os.environ.get("FAULTS", "8")), int(os.environ.get("SEED", "0"))
    found = [
        one for port in written_ports() if not sys.argv[1:] or port.name in sys.argv[1:]
        for one in run(port, count, seed)
    ]  # fmt: skip
    for kind in ("detach", "half"):
        marks = [mark for one, mark in found if one == kind]
        print(
            f"{kind}: {marks.count('exact')} of {len(marks)} exact, {len(marks) - marks.count('MISSED')} near or exact"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
