"""Where a request's time goes in ONNX Runtime, operator by operator, beside what the processor could do at best.

    python -m benchmarks.evidence.where_time_goes [torch|paddle]

ONNX Runtime's own profile gives each node's time; its multiply-adds are counted from its shapes, and its bytes, where
it multiplies nothing, from what it reads and writes. Convolutions are grouped by kernel and by the plane they make.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from portproof._machine import host, thread_budget
from portproof.bench._prepare import prepare
from portproof.bench._probe import probe
from portproof.ports._locate import find_port
from portproof.runners import find_runner
from portproof.sides._session import Sessions

_CALLS = 40


def main(side: str) -> None:
    """Print the table for GoogLeNet's export of one side at batch 1."""
    threads = thread_budget()
    located = find_port("googlenet")
    with tempfile.TemporaryDirectory() as folder, Sessions(located, {}, "cpu", threads) as sessions:
        prepared = prepare(sessions, Path(folder), [find_runner(f"onnxruntime-{side}")])
        artefact = prepared.artefacts["onnx", side]
        assert isinstance(artefact, Path)
        profile = _profile(artefact, Path(folder), threads, {n: a[:1] for n, a in prepared.rows.items()})
    peak = probe(threads, 0.2)
    groups: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for operator, taken_ms, shapes in profile:
        flop = _flop(operator, shapes)
        group = groups[_group(operator, shapes)]
        group[0] += taken_ms
        group[1] += flop
        group[2] += sum(4 * float(np.prod(shape)) for shape in (*shapes["in"], *shapes["out"]))
    whole_ms = sum(group[0] for group in groups.values())
    flop = sum(group[1] for group in groups.values())
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("operators")
    for heading in ("ms", "of the time", "of the work", "of the peak", "GB/s"):
        table.add_column(heading, justify="right")
    for name, (taken, work, size) in sorted(groups.items(), key=lambda item: -item[1][0]):
        table.add_row(
            name, f"{taken:.2f}", f"{taken / whole_ms:.1%}", f"{work / flop:.1%}",
            f"{work / taken / 1e6 / peak.gflops:.0%}" if work else "-",
            "-" if work else f"{size / taken / 1e6:.0f}",
        )  # fmt: skip
    table.add_row("all", f"{whole_ms:.2f}", "100%", "100%", f"{flop / whole_ms / 1e6 / peak.gflops:.0%}", "")
    console = Console(width=100)
    console.print(table)
    console.print(
        f"{threads} threads, peak {peak.gflops:.0f} GFLOP/s, copies {peak.copy_gbs:.0f} GB/s; onnxruntime "
        f"{onnxruntime.__version__} on {host()['processor']}; profiling itself costs time"
    )


def _profile(
    artefact: Path, folder: Path, threads: int, rows: dict[str, np.ndarray[Any, Any]]
) -> list[tuple[str, float, dict[str, Any]]]:
    """Return each node's operator, median time in milliseconds and shapes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = onnxruntime.InferenceSession(str(artefact), options, providers=["CPUExecutionProvider"])
    for _ in range(_CALLS):
        session.run(None, rows)
    events = json.loads(Path(session.end_profiling()).read_text())
    times: dict[str, list[float]] = defaultdict(list)
    about: dict[str, tuple[str, dict[str, Any]]] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        arguments, name = event["args"], event["name"].removesuffix("_kernel_time")
        times[name].append(event["dur"] / 1e3)
        shapes = {key: [next(iter(one.values())) for one in arguments[f"{key}put_type_shape"]] for key in ("in", "out")}
        about[name] = arguments["op_name"], shapes
    return [(about[name][0], statistics.median(times[name][5:]), about[name][1]) for name in times]


def _flop(operator: str, shapes: dict[str, Any]) -> float:
    if "Conv" in operator:
        kernel = shapes["in"][1]
        return 2.0 * float(np.prod(shapes["out"][0])) * float(np.prod(kernel[1:]))
    if "Gemm" in operator or "MatMul" in operator:
        return 2.0 * float(np.prod(shapes["out"][0])) * float(shapes["in"][0][-1])
    return 0.0


def _group(operator: str, shapes: dict[str, Any]) -> str:
    if "Conv" not in operator:
        return operator
    (rows, columns), size = shapes["out"][0][-2:], shapes["in"][1][-1]
    return f"Conv {size}x{size} on {rows}x{columns}"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "torch")
