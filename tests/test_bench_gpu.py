"""What a benchmark on a GPU prints, from results as such a run writes them: the logic, without the device."""

from dataclasses import replace
from io import StringIO
from typing import Any

from rich.console import Console

from portproof.bench._gpu import memory_mib
from portproof.bench._print import print_result
from portproof.bench._result import BenchResult, Mark, Process, Suite, TimedRow

STATE: dict[str, Any] = {"used_mib": 1500.0, "memory_mib": None}


def result(boundary: Any, events: tuple[float, ...], gpu: dict[str, Any], nodes: dict[str, int]) -> BenchResult:
    process = Process(
        0, 1.0, 1.0, 5.0, 3, 0.1, 1, (2.0, 2.1, 2.2), 1.0, 0.9, 30, 1, 0.0, 0, 10**9, events, gpu, (),
        {"cpu_nodes": nodes},
    )  # fmt: skip
    row = TimedRow("torch-eager", "torch eager", "torch", "float32", 1, "equivalent", 1.0, None, (process,))
    suite = Suite("p", ("torch-eager",), device="cuda", threads=2, boundary=boundary)
    seconds = {"wall": 1.0, "parent_cpu": 0.0}
    return BenchResult(suite, (row,), (), (), 3.0, seconds, True, {"packages": {}, "processor": "x"})


def printed(found: BenchResult) -> str:
    console = Console(file=StringIO(), width=100, highlight=False)
    print_result(found, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 100
    return text


def test_events_stand_beside_the_wall_clock_and_memory_in_the_place_of_the_peak() -> None:
    gpu = {"idle": {"used_mib": 500.0}, "after": STATE}
    table = printed(result("device", (1.25, 1.25, 1.25), gpu, {}))
    head, line = (row.split() for row in table.splitlines()[:2])
    assert "events" in head
    assert {"GPU", "MiB"} <= set(head)
    assert "peak" not in head
    assert {"2.10", "1.25", "1000"} <= set(line)  # by the wall, by events, beyond the idle device
    assert "events" not in printed(result("host", (), gpu, {}))


def test_a_gpu_is_not_held_to_the_peak_of_the_host_s_processor() -> None:
    found = result("host", (), {}, {})
    slow = Mark(0, "before", 0.001, 512, 0.0005, 1.0, 0.1)
    assert replace(found, marks=(slow,)).share_of_peak(found.rows[0]) is None
    on_cpu = replace(found, marks=(slow,), suite=replace(found.suite, device="cpu"))
    assert (on_cpu.share_of_peak(found.rows[0]) or 0) > 1


def test_nodes_of_shape_arithmetic_on_the_cpu_are_named() -> None:
    text = printed(result("host", (), {}, {"Shape": 6, "Concat": 13}))
    assert "torch eager, batch 1: shape arithmetic on the CPU: 6 Shape, 13 Concat" in text


def test_memory_is_the_process_s_own_or_what_the_device_holds_beyond_its_idle_state() -> None:
    assert memory_mib({"idle": {"used_mib": 500.0}, "after": {**STATE, "memory_mib": 800.0}}) == 800
    assert memory_mib({"idle": {"used_mib": 500.0}, "after": STATE}) == 1000
    assert memory_mib({"after": STATE}) is None
    assert memory_mib({}) is None


def test_a_process_without_events_prints_a_dash_beside_one_with_them() -> None:
    found = result("device", (1.25,), {}, {})
    other = replace(found.rows[0], runner="onnxruntime-torch", title="ONNX", processes=(
        replace(found.rows[0].processes[0], event_ms=()),
    ))  # fmt: skip
    lines = printed(replace(found, rows=(*found.rows, other))).splitlines()
    assert next(line for line in lines if line.startswith("ONNX")).split()[-2:] == ["2.0", "-"]
