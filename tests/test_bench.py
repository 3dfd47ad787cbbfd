"""A benchmark times what has passed parity, each runner in fresh processes, and keeps every sample."""

import json
import statistics
from pathlib import Path

import pytest

from portproof import BadInput
from portproof.bench import Suite
from portproof.bench._clock import warm_up_and_time
from tests.conftest import Run

QUICK = ("--processes", 2, "--seconds", 0.05)


def test_every_runner_is_timed_in_fresh_processes_and_samples_are_kept(project: Path, run: Run) -> None:
    answer = run("bench", "run", *QUICK, "-o", "r.json")
    assert answer.code in (0, 3), answer  # 3 where the host is contended: the label says so
    document = json.loads(Path("r.json").read_text())
    assert document["schema_version"] == 1
    assert document["environment"]["processor"]
    assert [t["runner"] for t in document["timings"]] == [
        "paddle-dygraph", "onnxruntime-paddle", "torch-eager", "onnxruntime-torch",
    ]  # fmt: skip
    for timing in document["timings"]:
        assert timing["verdict"] in ("identical", "equivalent")
        assert len(timing["processes"]) == 2
        medians = [statistics.median(process["samples_ms"]) for process in timing["processes"]]
        assert timing["median_ms"] == statistics.median(medians)
        assert timing["spread_ms"] == [min(medians), max(medians)]


def test_without_parity_there_is_no_number(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.Tanh()", 1))
    answer = run("bench", "run", *QUICK, "--runners", "torch-eager,paddle-dygraph", "-o", "r.json")
    assert answer.code == 1
    timings = {t["runner"]: t for t in json.loads(Path("r.json").read_text())["timings"]}
    assert timings["paddle-dygraph"]["verdict"] == "divergent"
    assert timings["paddle-dygraph"]["median_ms"] is None
    assert "no parity, no number" in answer.out


def test_batches_are_rows_of_their_own(project: Path, run: Run) -> None:
    answer = run("bench", "run", *QUICK, "--runners", "torch-eager", "--batch", "1,4", "-o", "r.json")
    assert answer.code in (0, 3)
    assert [t["batch"] for t in json.loads(Path("r.json").read_text())["timings"]] == [1, 4]


def test_mistakes_are_one_line(project: Path, run: Run) -> None:
    run("bench", "run", "--runners", "nothing").refused(2, "no runner 'nothing'")
    run("bench", "run", "--batch", "0").refused(2, "must be positive")
    run("bench", "run", "--batch", "many").refused(2, "whole numbers")
    run("bench", "run", "--suite", "tiny:TINY").refused(2, "expected a portproof.bench.Suite")
    run("bench", "run", "--suite", "nowhere:SUITE").refused(2, "cannot be imported")


def test_a_device_that_is_not_there_gives_no_cpu_number(project: Path, run: Run) -> None:
    import torch

    if not torch.cuda.is_available():
        run("bench", "run", "--device", "cuda").refused(4, "device cuda")


def test_a_suite_is_checked_when_it_is_declared() -> None:
    with pytest.raises(BadInput, match="at least one runner"):
        Suite("p", ())
    with pytest.raises(BadInput, match="must be positive"):
        Suite("p", ("torch-eager",), processes=0)


def test_the_suites_of_this_project_name_runners_that_exist() -> None:
    from benchmarks import googlenet
    from portproof.runners import runners

    for suite in (googlenet.SHORT, googlenet.BATCHES):
        assert set(suite.runners) <= set(runners())


def test_warm_up_ends_when_calls_stop_getting_faster() -> None:
    calls: list[int] = []
    warming, samples = warm_up_and_time(lambda: calls.append(1), seconds=0.001)
    assert warming >= 3
    assert len(samples) >= 5
    assert len(calls) == warming + len(samples)
