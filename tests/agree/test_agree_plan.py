"""``portproof plan``: arithmetic that a person can do again by hand."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from portproof.agree._plan import COSTS_VERSION, Costs, plan_of
from portproof.agree._print import size, span
from tests.conftest import Run

COSTS = Costs(
    port="p", processor="x", images=1000, unit=64, threads=1, runners={"oracle": 0.1, "torch-eager": 0.04},
    read_s=0.001, decode_s=0.009, image_bytes=1e5, classes=1000, start_s=30.0, driver_s=0.01,
)  # fmt: skip


def test_the_longest_of_three_decides() -> None:
    one, many = plan_of(COSTS, [64_000], [1, 1000], 64, 10**9, 0.1)
    assert one.bottleneck == "compute"
    assert one.parts_s["compute"] == pytest.approx(64_000 * 0.15)
    assert one.wall_s == pytest.approx(30 + 9600)
    assert one.core_hours == pytest.approx(9630 / 3600)
    assert one.kept_bytes == 64_000 * (8000 + 52)
    assert many.parts_s["compute"] == pytest.approx(64 * 0.15)  # a unit each
    assert many.bottleneck == "schedule"
    assert many.wall_s == pytest.approx(30 + 1000 * 0.01)
    assert many.price == pytest.approx(1000 * 40 / 3600 * 0.1)
    (slow,) = plan_of(COSTS, [64_000], [1000], 64, 10**8, 0.1)
    assert (slow.bottleneck, slow.parts_s["read"]) == ("read", pytest.approx(64.0))


def test_a_unit_is_done_by_one_worker() -> None:
    (plan,) = plan_of(COSTS, [65], [2], 64, 10**9, 0.0)
    assert plan.parts_s["compute"] == pytest.approx(64 * 0.15)


def test_the_command_prints_a_row_each_within_a_hundred_columns(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"schema_version": COSTS_VERSION, **asdict(COSTS)}))
    answer = run("plan", file)
    assert answer.code == 0
    assert max(map(len, answer.out.splitlines())) <= 100
    assert "…" not in answer.out
    rows = [line for line in answer.out.splitlines() if line.lstrip().startswith(("50 k", "100 M"))]
    assert len(rows) == 8
    run("plan", file, "--images", "0").refused(2, "from 1 on")
    run("plan", tmp_path / "none.json").refused(2, "no such file")


def test_words_for_times_and_sizes() -> None:
    assert [span(s) for s in (5, 300, 9000, 3e5, 1e9)] == ["5 s", "5.0 min", "2.5 h", "3.5 d", "31.7 y"]
    assert [size(n) for n in (999, 5_000_000, 8 * 10**11)] == ["1.0 kB", "5.0 MB", "800.0 GB"]
