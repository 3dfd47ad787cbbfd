"""``portproof deploy``: one table, one choice, and no number for what is not faithful."""

import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof._errors import BadInput
from portproof.agree._judge import bounds
from portproof.agree._result import Cost
from portproof.bench import BenchResult, read_result
from portproof.bench import _run as bench_run
from portproof.bench._prepare import PreparedPort
from portproof.bench._recommend import Slo
from portproof.deploy import _run
from portproof.deploy._frontier import chosen, neighbours, placed
from portproof.deploy._options import DeployOptions, images_needed
from portproof.deploy._result import Asked, Candidate, Deployment, Held, Latency
from portproof.sides._session import Sessions
from tests.agree.test_agree import PORT, jpeg
from tests.conftest import Run
from tests.here import open_here

ROOT = Path(__file__).parents[2]
COUNT = 24


def candidate(
    name: str, ms: float, lost: int = 0, memory: int = 100, images: int = 1000, precision: str = "float32"
) -> Candidate:
    cost = Cost(lost, 0, images, bounds(lost, images)[1])
    latency = Latency(ms, ms * 0.9, ms * 1.1, None, None, 5)
    return Candidate(name, name, "torch", precision, "equivalent", None, latency, cost, memory << 20, 1, 0.5)


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return read_result(ROOT / "benchmarks/results/short.json")


def asked(**more: Any) -> DeployOptions:
    return DeployOptions("images", **more)


# The frontier and the choice ------------------------------------------------------------------------------------------


def test_what_nothing_beats_in_any_axis_is_the_frontier() -> None:
    found = placed([
        candidate("slow and small", 30, memory=50), candidate("fast and lossy", 5, lost=9),
        candidate("beaten", 21, memory=120), candidate("plain", 20), candidate("the same as plain", 20),
        Candidate("wrong", "wrong", "torch", "int8", "divergent", "far out"),
    ])  # fmt: skip
    assert [one.runner for one in found] == [
        "fast and lossy", "plain", "the same as plain", "slow and small", "beaten", "wrong",
    ]  # fmt: skip
    assert [one.place for one in found] == ["frontier"] * 4 + ["dominated", ""]
    assert found[4].beaten_by == "plain"
    assert neighbours(found, "plain") == ["fast and lossy", "the same as plain"]


def test_no_candidate_is_ever_taken_whose_bound_is_above_the_limit(result: BenchResult) -> None:
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(300):
        images = int(rng.integers(1, 3000))
        found = placed([
            candidate(f"c{n}", float(rng.uniform(1, 50)), int(rng.binomial(images, 0.002 * n)), images=images)
            for n in range(6)
        ])  # fmt: skip
        limit = float(rng.choice([0.001, 0.005, 0.02, 0.1]))
        choice = chosen(found, result, asked(at_most_loss=limit))
        best = next((one for one in choice.candidates if one.runner == choice.runner), None)
        if best is None:
            assert choice.remedy
            assert all(one.cost is not None and one.cost.high > limit for one in found)
            continue
        taken += 1
        assert best.cost is not None
        assert best.cost.high <= limit
        assert best.latency == min(
            (one.latency for one in choice.candidates if one.allowed and one.latency), key=lambda one: one.median_ms
        )
    assert taken > 50


def test_no_lower_precision_is_taken_unasked_and_what_it_would_gain_is_said(result: BenchResult) -> None:
    found = placed([candidate("int8", 5, lost=3, precision="int8"), candidate("plain", 20)])
    choice = chosen(found, result, asked())
    assert choice.runner == "plain"
    assert any("int8 is 4.00 times as fast, for --at-most-loss 0.77%" in reason for reason in choice.why)
    assert chosen(found, result, asked(at_most_loss=0.01)).runner == "int8"


def test_where_none_is_known_to_lose_so_little_it_is_said_what_to_do(result: BenchResult) -> None:
    few = chosen(placed([candidate("a", 5, images=359)]), result, asked(at_most_loss=0.005))
    assert (few.runner, few.undecided) == (None, True)
    assert "598 would do if none is lost" in few.remedy[0]
    lossy = chosen(placed([candidate("a", 5, lost=50)]), result, asked(at_most_loss=0.005))
    assert (lossy.runner, lossy.undecided) == (None, False)
    assert "allow more" in lossy.remedy[0]


def test_the_images_that_are_needed_are_those_of_the_bound() -> None:
    for limit in (0.001, 0.005, 0.01, 0.3):
        need = images_needed(limit)
        assert bounds(0, need)[1] <= limit < bounds(0, need - 1)[1]
    assert asked(at_most_loss=0.005).images_drawn == 2 * 598
    with pytest.raises(BadInput, match="leave it out"):
        asked(at_most_loss=0.0)


def test_a_latency_that_must_be_kept_leaves_out_who_does_not(result: BenchResult) -> None:
    rows = [row for row in result.rows if row.processes]
    found = placed([candidate(row.runner, row.median_ms or 0.0) for row in rows])
    between = sorted(row.median_ms or 0.0 for row in rows)[1] + 0.001
    choice = chosen(found, result, asked(slo=Slo(0.5, between)))
    assert sum(one.allowed for one in choice.candidates) == 2
    none = chosen(found, result, asked(slo=Slo(0.5, 0.001)))
    assert none.runner is None
    assert any("--slo" in remedy for remedy in none.remedy)


@pytest.mark.parametrize(("change", "allowed", "code"), [
    ("undecided", True, 0), ("faster", True, 3), ("faster", False, 0), ("slower", True, 0),
])  # fmt: skip
def test_the_choice_holds_unless_one_that_is_allowed_is_faster(
    change: Any, allowed: bool, code: int, monkeypatch: pytest.MonkeyPatch, result: BenchResult
) -> None:
    from portproof.bench._stats import Comparison

    plain, other = (row.runner for row in result.rows[:2])
    told = (replace(candidate(plain, 20), allowed=True), replace(candidate(other, 21), allowed=allowed))
    told = tuple(replace(one, place="frontier") for one in told)
    again = {other: Comparison(change, 0.9, 0.8, 0.95, 6, 0.01)}
    monkeypatch.setattr(_run, "comparisons", lambda *_: again)
    deploying = object.__new__(_run._Deploying)
    deploying.options, deploying.parts = asked(), _run.Parts()
    deploying.begun, deploying.located = 0.0, type("L", (), {"port": type("P", (), {"name": "p"})})
    stage: Any = type("S", (), {"run": lambda *_: result})()
    choice = chosen(told, result, asked())
    choice = replace(choice, candidates=told, runner=plain)
    held = deploying._again(stage, choice, plain, result)
    assert [one.runner for one in held.neighbours] == [other]
    asked_for = Asked(None, None, 1.0, 1, "cpu", 1)
    found = Deployment("p", asked_for, None, told, plain, (), (), False, held, (), {"wall": 1.0}, {})
    assert found.exit_code == code


def test_exit_codes_say_what_is_the_matter() -> None:
    def code(*candidates: Candidate, undecided: bool = False, **more: Any) -> int:
        about = Asked(0.01, None, 1.0, 1, "cpu", 1)
        return Deployment(
            "p", about, None, candidates, more.get("recommended"), (), (), undecided, more.get("held"), (), {}, {}
        ).exit_code

    wrong, gone = (Candidate("x", "x", "torch", "int8", verdict, "why") for verdict in ("divergent", "unavailable"))
    assert code(candidate("a", 1), recommended="a") == 0
    assert code(candidate("a", 1), recommended="a", held=Held(False, 1.0, 6, ())) == 3
    assert code(candidate("a", 1)) == 1
    assert code(candidate("a", 1), undecided=True) == 3
    assert code(wrong, gone) == 1
    assert code(gone) == 4
    assert code(gone, Candidate("x", "x", "torch", "int8", "inconclusive", "why")) == 3


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        target = folder / str(number % 10) / f"{number:03d}.jpg"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(jpeg(number))
    return folder


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=":0", silence_logs=50, protocol="tcp"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def prepared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, oracle and exports are made in this process; what is timed has one of its own."""
    made = bench_run.prepare

    def prepare(preparing: Sessions, *rest: Any) -> PreparedPort:
        monkeypatch.setattr(preparing, "open", functools.partial(open_here, preparing), raising=False)
        return made(preparing, *rest)

    monkeypatch.setattr(bench_run, "prepare", prepare)


@pytest.fixture
def deploy(
    run: Run, images: Path, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared_here: None
) -> Callable[..., Any]:
    """Deploy the small port of pictures from short rounds; returns the answer and the document."""
    for name, value in (("_ROUNDS", 2), ("_AGAIN", 2), ("_SECONDS", 0.05)):
        monkeypatch.setattr(_run, name, value)
    agree = _run.agree
    monkeypatch.setattr(
        _run, "agree", lambda located, options, *rest: agree(located, replace(options, scheduler=scheduler), *rest)
    )

    def call(*more: object, runners: str = "torch-eager,onnxruntime-torch", where: object = images) -> tuple[Any, Any]:
        target = tmp_path / "deploy.json"
        target.unlink(missing_ok=True)
        answer = run(
            "deploy",
            PORT,
            "--images",
            where,
            "--store",
            tmp_path / "store",
            "--runners",
            runners,
            "--json",
            target,
            *more,
        )
        return answer, json.loads(target.read_text()) if target.is_file() else None

    return call


@pytest.mark.processes
def test_a_choice_its_page_and_the_same_losses_again(
    deploy, run: Run, images: Path, scheduler: str, tmp_path: Path
) -> None:
    import jsonschema

    answer, found = deploy("--at-most-loss", "20%", "--labels", "folders", "-o", tmp_path / "out")
    assert answer.code in (0, 3), answer  # 3 where others use the machine, and the choice does not hold
    jsonschema.validate(found, json.loads(run("schema", "deploy").out))
    assert json.loads((tmp_path / "out/deploy.json").read_text()) == found
    numbered = [one for one in found["candidates"] if one["latency"]]
    assert len(numbered) == 2
    for one in numbered:
        assert one["verdict"] in ("equivalent", "identical")
        assert one["cost"]["high"] == pytest.approx(1 - 0.05 ** (1 / COUNT))
        assert one["peak_memory"] > 2**24
        assert one["file_bytes"] > 1000
        assert 0 < one["start_s"] < 600
    assert found["recommended"] in {one["runner"] for one in numbered}
    assert f"deploy {found['recommended']}" in answer.out
    assert found["held"]["pairs"] == 2
    page = (tmp_path / "out/deploy.html").read_text()
    assert "<svg" in page
    assert "recommended" in page
    assert {"bench.json", "again.json", "agree.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    read_result(tmp_path / "out/bench.json")
    answer = run(
        "agree", PORT, "--images", images, "--labels", "folders", "--count", 500, "--store", tmp_path / "empty",
        "--runners", ",".join(one["runner"] for one in numbered), "--scheduler", scheduler, "--json",
        tmp_path / "a.json",
    )  # fmt: skip
    assert answer.code == 0, answer
    once, again = (
        json.loads(file.read_text())["runners"] for file in (tmp_path / "out/agree.json", tmp_path / "a.json")
    )
    assert sorted(once, key=lambda one: one["name"]) == sorted(again, key=lambda one: one["name"])


@pytest.mark.processes
def test_what_is_not_faithful_is_named_and_has_no_number(deploy) -> None:
    answer, found = deploy("--set", "shift=0.001", runners="torch-eager,paddle-dygraph")
    wrong = next(one for one in found["candidates"] if one["verdict"] == "divergent")
    assert wrong["latency"] is wrong["cost"] is wrong["start_s"] is None
    assert found["recommended"] not in (None, wrong["runner"])
    said = next(line for line in answer.out.splitlines() if wrong["runner"] in line)
    assert "divergent" in said
    assert not re.search(r"\d ms", said)


def test_mistakes_are_one_line_each_before_a_model_is_built(deploy, run: Run, images: Path, tmp_path: Path) -> None:
    run("deploy", PORT).refused(2, "--images is missing")
    deploy(where=tmp_path / "none")[0].refused(2, "is not there")
    (tmp_path / "bare").mkdir()
    deploy(where=tmp_path / "bare")[0].refused(2, "no image or shard")
    deploy(runners="torch-eagre")[0].refused(2, "did you mean torch-eager?")
    deploy("--slo", "30ms")[0].refused(2, "--slo takes p50, p90 or p99")
    deploy("--at-most-loss", "0%")[0].refused(2, "leave it out for float32 alone")
    deploy("--at-most-loss", "0.5")[0].refused(2, "takes a percentage")
    deploy("--at-most-loss", ".5%")[0].refused(2, "598 images of which none is lost, there are 24", "11.74%")
    deploy("--count", 1)[0].refused(2, "--images has one image")
    deploy("--budget", "0s")[0].refused(2, "--budget takes a time")
    deploy("--output", "none")[0].refused(2, "logits")
    deploy("-o", images / "0/000.jpg")[0].refused(2, "-o takes a folder")
    run("deploy", "tests.small_ports:TWO_INPUTS", "--images", images).refused(2, "must take one image")
