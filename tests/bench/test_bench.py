"""A benchmark times what has passed parity, each runner in fresh processes, and keeps every sample."""

import functools
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest

from portproof import BadInput
from portproof.bench import Suite, _run, read_result
from portproof.bench._prepare import PreparedPort
from portproof.judge._report import HOLDS
from portproof.ports._locate import find_port
from portproof.sides._session import Sessions
from tests.conftest import Run, as_a_new_process_has_it, write_project
from tests.here import open_here

# What is timed runs in fresh processes.
pytestmark = pytest.mark.processes

QUICK = ("--processes", 2, "--seconds", 0.05)
RUNNERS = "torch-eager,paddle-dygraph,onnxruntime-torch,openvino-paddle,paddle-inference"


@pytest.fixture(autouse=True)
def prepared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, oracle and exports are made in this process; only what is timed has one of its own."""

    def prepare(preparing: Sessions, *rest: Any) -> PreparedPort:
        monkeypatch.setattr(preparing, "open", functools.partial(open_here, preparing), raising=False)
        return made(preparing, *rest)

    made = _run.prepare
    monkeypatch.setattr(_run, "prepare", prepare)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of the small port, for what reads results: two runners, batches of 1 and 2, three rounds."""
    folder = tmp_path_factory.mktemp("once")
    write_project(folder)
    suite = Suite("tiny", ("torch-eager", "onnxruntime-torch"), (1, 2), processes=3, seconds=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with as_a_new_process_has_it():
            result = _run.run_suite(find_port(None), suite, lambda *_: None)
    (folder / "r.json").write_text(json.dumps(result.to_json()))
    return folder / "r.json"


@pytest.fixture
def timed(project: Path, once: Path) -> Path:
    """That result as ``r.json`` of the working directory, for a test to change."""
    return Path(shutil.copy(once, project / "r.json"))


def test_memory_file_and_cold_start_stand_beside_each_row(timed: Path, run: Run) -> None:
    from portproof.bench._print import print_result
    from portproof.render._terminal import output

    result = read_result(timed)
    eager, graph = (
        next(row for row in result.rows if row.runner == name) for name in ("torch-eager", "onnxruntime-torch")
    )
    assert 2**24 < (graph.peak_memory or 0) < (eager.peak_memory or 0) < 2**34  # which imports torch
    assert 0.05 < (graph.setup_s or 0.0) < (eager.setup_s or 0.0)
    assert eager.file_bytes is not None
    assert graph.file_bytes is not None
    assert graph.file_bytes > 4 * (8 * 8 + 8 + 3 * 8 + 3)  # its parameters, and the graph
    console = output()
    with console.capture() as said:
        print_result(result, console)
    assert f"{(eager.peak_memory or 0) / 2**20:.0f}" in said.get()


def test_the_weights_of_a_checkpoint_are_timed_and_judged(project: Path, run: Run) -> None:
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    torch.save({"state_dict": {f"module.{n}": tensor for n, tensor in net.state_dict().items()}}, "c.ckpt")
    asked = ("bench", "run", "--runners", "torch-eager", "--processes", 1, "--seconds", 0.05, "--threads", 1)
    answer = run(*asked, "--weights", "c.ckpt", "-o", "r.json")
    assert answer.code in (0, 3), answer
    assert "c.ckpt: beginning 'module.' of names taken off" in answer.err
    document = json.loads(Path("r.json").read_text())
    assert document["suite"]["weights"] == "c.ckpt"
    assert document["rows"][0]["verdict"] == "equivalent"
    run(*asked, "--weights", "none.pt").refused(2, "'none.pt': no such file")


def test_every_runner_is_timed_in_fresh_processes_and_samples_are_kept(project: Path, run: Run) -> None:
    answer = run("bench", "run", *QUICK, "--runners", RUNNERS, "-o", "r.json")
    assert answer.code in (0, 3), answer  # 3 where the host is contended: the label says so
    result = read_result(Path("r.json"))
    assert result.complete
    assert result.environment["processor"]
    assert [row.runner for row in result.rows] == RUNNERS.split(",")
    assert result.peak_gflops is not None
    assert result.work_gflop == pytest.approx(2 * (8 * 8 + 8 * 3) / 1e9)
    for row in result.rows:
        assert row.verdict in HOLDS
        assert [process.round for process in row.processes] == [0, 1]
        assert row.median_ms == statistics.median(statistics.median(p.samples_ms) for p in row.processes)
        for process in row.processes:
            states = {claim.what: claim.state for claim in process.claims}
            assert "refuted" not in states.values()
            assert states["precision"] == states["clock"] == states["device"] == "verified"
    document = json.loads(Path("r.json").read_text())
    assert json.dumps(document) == json.dumps(result.to_json())  # what is read is what was written
    validated = run("bench", "validate", "r.json")
    assert validated.code == 0
    assert "5 rows" in validated.out


def test_without_parity_there_is_no_number(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.Tanh()", 1))
    answer = run("bench", "run", *QUICK, "--runners", "torch-eager,paddle-dygraph", "-o", "r.json")
    assert answer.code == 1
    rows = {row.runner: row for row in read_result(Path("r.json")).rows}
    assert rows["paddle-dygraph"].verdict == "divergent"
    assert rows["paddle-dygraph"].median_ms is None
    assert "no parity, no number" in answer.out


@pytest.mark.slow
def test_an_untransposed_weight_and_a_swapped_branch_print_no_number(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    head, _ = file.read_text().split("TINY =")
    file.write_text(
        head
        + """
def wrong_paddle():
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return CHANGE

    return Net()

def right_torch():
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return torch.cat([self.a(x), self.b(x)], 1)

    return Net()

TINY = Port(name="tiny", torch="tiny:right_torch", paddle="tiny:wrong_paddle", inputs={"x": Input(("batch", 8))})
"""
    )
    source = file.read_text()
    untransposed = "paddle.concat([x @ paddle.transpose(self.a.weight, [1, 0]) + self.a.bias, self.b(x)], 1)"
    for change in ("paddle.concat([self.b(x), self.a(x)], 1)", untransposed):
        file.write_text(source.replace("CHANGE", change))
        answer = run("bench", "run", *QUICK, "--runners", "torch-eager,paddle-dygraph", "-o", "r.json")
        assert answer.code == 1, answer
        rows = {row.runner: row for row in read_result(Path("r.json")).rows}
        assert rows["paddle-dygraph"].median_ms is None
        assert rows["torch-eager"].median_ms is not None


def test_batches_are_rows_of_their_own_and_settings_are_named(project: Path, run: Run) -> None:
    named = "onnxruntime-torch:spinning=off,onnxruntime-torch:threads=1"
    answer = run("bench", "run", *QUICK, "--runners", named, "--batch", "1,4", "-o", "r.json")
    assert answer.code in (0, 3), answer
    rows = read_result(Path("r.json")).rows
    assert [(row.runner, row.batch) for row in rows] == [(name, batch) for name in named.split(",") for batch in (1, 4)]
    assert rows[2].processes[0].evidence["threads"] == 1


def test_static_shapes_are_those_of_the_request(project: Path, run: Run) -> None:
    named = "onnxruntime-torch:shapes=static,openvino-paddle:shapes=static,onnxruntime-paddle"
    answer = run(
        "bench", "run", "--processes", 1, "--seconds", 0.05, "--runners", named, "--batch", "4", "-o", "r.json"
    )
    assert answer.code in (0, 3), answer
    shapes = [str(row.processes[0].evidence["inputs"]["x"]) for row in read_result(Path("r.json")).rows]
    assert shapes == ["[4, 8]", "[4,8]", "['batch', 8]"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.slow
def test_what_a_first_process_leaves_in_its_cache_is_counted_apart(project: Path, run: Run) -> None:
    answer = run("bench", "run", *QUICK, "--runners", "torch-compile,torch-eager", "-o", "r.json")
    assert answer.code in (0, 3), answer
    cached = {row.runner: [process.cached for process in row.processes] for row in read_result(Path("r.json")).rows}
    assert cached == {"torch-compile": [False, True], "torch-eager": [False, False]}
    assert "s with what that left in its cache" in answer.out


@pytest.mark.parametrize(("scenario", "boundary"), [("server", "host"), ("offline", "host"), ("single", "device")])
def test_scenarios_and_boundaries(project: Path, run: Run, scenario: str, boundary: str) -> None:
    answer = run(
        "bench", "run", "--processes", 1, "--seconds", 0.1, "--scenario", scenario, "--boundary", boundary,
        "--runners", "torch-eager,onnxruntime-torch,openvino-torch", "-o", "r.json",
    )  # fmt: skip
    assert answer.code in (0, 3), answer.out
    result = read_result(Path("r.json"))
    assert all(row.median_ms for row in result.rows), answer.out


@pytest.mark.slow
def test_all_runners_that_fit_are_timed_and_the_others_named_with_a_reason(project: Path, run: Run) -> None:
    answer = run("bench", "run", "--processes", 1, "--seconds", 0.05, "--budget", "60s", "-o", "r.json")
    assert answer.code in (0, 3), answer
    result = read_result(Path("r.json"))
    assert {"torch-jit", "torch-channels-last", "paddle-static", "openvino-torch"} <= {r.runner for r in result.rows}
    skipped = {entry.runner: entry.reason for entry in result.skipped}
    assert skipped["torch-cuda-graph"] == "it runs on cuda only"
    assert "--precision bfloat16" in skipped["torch-bfloat16"]
    assert "--scenario offline" in skipped["openvino-throughput-torch"]
    assert result.suite.budget_s == 60


def test_bfloat16_is_timed_under_its_own_verdict(project: Path, run: Run) -> None:
    answer = run("bench", "run", *QUICK, "--runners", "torch-bfloat16", "-o", "r.json")
    (row,) = read_result(Path("r.json")).rows
    assert row.precision == "bfloat16"
    assert row.processes, answer
    # A model of Linears has no kernel whose order could show the layout, which is said.
    assert "layout unverified" in answer.out


def test_an_interrupted_run_keeps_finished_rounds_and_goes_on(timed: Path, run: Run) -> None:
    options = (
        "bench", "run", "--seconds", 0.05, "--runners", "torch-eager,onnxruntime-torch", "--batch", "1,2",
        "-o", "r.json",
    )  # fmt: skip
    whole = json.loads(Path("r.json").read_text())
    cut = json.loads(json.dumps(whole))
    del cut["sha256"]  # as in a result that an older version wrote
    cut["complete"] = False
    cut["marks"] = [mark for mark in cut["marks"] if mark["round"] < 2]  # the third round was cut off in the middle
    for row in cut["rows"][:1]:
        row["processes"] = row["processes"][:2]
    Path("r.json").write_text(json.dumps(cut))
    answer = run(*options, "--processes", 3, "--resume")
    assert answer.code in (0, 3), answer
    result = read_result(Path("r.json"))
    assert result.complete
    for row, before in zip(result.rows, whole["rows"], strict=True):
        assert [process.round for process in row.processes] == [0, 1, 2]
        kept = [list(process.samples_ms) for process in row.processes[:2]]
        assert kept == [process["samples_ms"] for process in before["processes"][:2]]
    run(*options, "--processes", 3, "--resume").refused(2, "is complete")
    cut["suite"]["seconds"] = 9.0
    Path("r.json").write_text(json.dumps(cut))
    run(*options, "--processes", 3, "--resume").refused(2, "was run with seconds 9.0, this run asks for 0.05")


def test_mistakes_are_one_line(project: Path, run: Run, tmp_path: Path) -> None:
    bench = ("bench", "run")
    run(*bench, "--runners", "nothing").refused(2, "no runner 'nothing'")
    run(*bench, "--runners", "torch-eager:x=1").refused(2, "has no setting 'x'", "threads")
    run(*bench, "--runners", "onnxruntime-torch:spinning=maybe").refused(2, "spinning is on or off, found 'maybe'")
    run(*bench, "--runners", "torch-eager,torch-eager").refused(2, "named twice")
    run(*bench, "--batch", "0").refused(2, "batches must be positive")
    run(*bench, "--batch", "many").refused(2, "whole numbers")
    run(*bench, "--scenario", "double").refused(2, "single, offline or server, found 'double'")
    run(*bench, "--rate", "5").refused(2, "belongs to the scenario 'server'")
    run(*bench, "--budget", "soon").refused(2, "takes a time such as 120s")
    run(*bench, "--resume").refused(2, "name it")
    run(*bench, "--suite", "tiny:TINY").refused(2, "expected a portproof.bench.Suite")
    run(*bench, "--suite", "nowhere:SUITE").refused(2, "cannot be imported")
    run("bench", "validate", "none.json").refused(2, "no such file")
    (tmp_path / "cut.json").write_text('{"schema_version": 2, ')
    run("bench", "validate", tmp_path / "cut.json").refused(2, "no whole JSON document")
    (tmp_path / "old.json").write_text('{"schema_version": 1}')
    run("bench", "report", tmp_path / "old.json").refused(2, "expected schema 2, found 1")
    (tmp_path / "odd.json").write_text('{"schema_version": 2, "suite": 3}')
    run("bench", "compare", tmp_path / "odd.json", tmp_path / "odd.json").refused(2, "is damaged")
    run("bench", "recommend", "none.json", "--slo", "fast").refused(2, "p99=30ms")
    run("bench", "selfcheck", "--slowdown", "much").refused(2, "percentage such as 5%")


def test_a_device_that_is_not_there_gives_no_cpu_number(project: Path, run: Run) -> None:
    import torch

    if not torch.cuda.is_available():
        run("bench", "run", "--device", "cuda").refused(4, "device cuda")
        run("bench", "run", "--runners", "torch-cuda-graph").refused(4, "runs on cpu as asked", "cuda only")


def test_a_suite_is_checked_when_it_is_declared() -> None:
    for fields, said in (
        ({"processes": 0}, "processes must be positive"), ({"batches": ()}, "batches must be positive"),
        ({"scenario": "x"}, "scenario is"), ({"rate": 3.0}, "belongs to"), ({"seconds": float("nan")}, "seconds"),
    ):  # fmt: skip
        wrong: dict[str, Any] = fields
        with pytest.raises(BadInput, match=said):
            Suite("p", **wrong)


def test_the_suites_of_this_project_name_runners_that_exist() -> None:
    from benchmarks import googlenet
    from portproof.runners._choice import parse

    for suite in (googlenet.SHORT, googlenet.ALL, googlenet.BATCHES, googlenet.CONTENDED):
        assert all(parse(name).name == name for name in suite.runners)


def test_recommend_chooses_from_a_result_and_keeps_a_limit(timed: Path, run: Run) -> None:
    result = read_result(timed)
    fastest = min((row for row in result.rows if row.batch == 1), key=lambda row: row.median_ms or 9e9).runner
    answer = run("bench", "recommend", "r.json")
    assert answer.code == 0
    assert f"deploy {fastest}" in answer.out
    assert run("bench", "recommend", "r.json", "--slo", "p50=1s").code == 0
    assert run("bench", "recommend", "r.json", "--slo", "p50=0.000001ms").code == 1
    run("bench", "recommend", "r.json", "--batch", "7").refused(2, "no number at batch 7")


def test_two_results_compare_as_indicative_and_a_slower_one_fails(timed: Path, run: Run) -> None:
    document = json.loads(timed.read_text())
    del document["sha256"]  # what follows is made up
    document["rows"] = [row for row in document["rows"] if (row["runner"], row["batch"]) == ("onnxruntime-torch", 1)]
    for process in document["rows"][0]["processes"]:
        process["samples_ms"] = [10 + 0.01 * process["round"]] * 5
    Path("a.json").write_text(json.dumps(document))
    for process in document["rows"][0]["processes"]:
        process["samples_ms"] = [sample * 1.2 for sample in process["samples_ms"]]
    Path("b.json").write_text(json.dumps(document))
    answer = run("bench", "compare", "a.json", "b.json")
    assert answer.code == 0
    assert "indicative" in answer.out
    assert "slower" in answer.out
    assert "overlap in 0 of 1 rows; of 1 of 1 both say the same" in answer.out
    assert "overlap in 1 of 1 rows" in run("bench", "compare", "a.json", "a.json").out
    assert run("bench", "compare", "a.json", "b.json", "--fail-if-slower", "5%").code == 1
    assert run("bench", "compare", "a.json", "a.json", "--fail-if-slower", "5%").code == 0
    document["environment"]["processor"] = "another"
    Path("c.json").write_text(json.dumps(document))
    answer = run("bench", "compare", "a.json", "c.json", "--fail-if-slower", "5%")
    assert answer.code == 3
    assert "not the same: processor" in answer.out


def test_the_report_is_one_page_and_names_are_escaped(timed: Path, run: Run) -> None:
    document = json.loads(timed.read_text())
    del document["sha256"]
    document["rows"][0]["title"] = "<script>alert(1)</script>"
    Path("r.json").write_text(json.dumps(document))
    assert run("bench", "report", "r.json", "--contended", "r.json", "--html", "r.html").code == 0
    page = Path("r.html").read_text()
    assert page.count("<script") == 1  # its own
    assert page.count("<svg") == 5
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
