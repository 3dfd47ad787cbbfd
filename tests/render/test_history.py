"""Two reports compared, and results kept by revision: what got better or worse, and what decides that."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from portproof._errors import BadInput
from portproof.bench._kept import kept_result
from portproof.judge._read import read_report
from portproof.judge._report import Report, Sight, Worst
from portproof.render._diff import Diff, diff_markdown, diff_reports
from portproof.render._history import Kept, Point, keep, kept_report, read_history, tracks
from portproof.render._timeline import headline, page
from tests.conftest import Run
from tests.render.pages import bench, records, report

WHEN = "2026-01-01T00:00:00+00:00"
RIGHT, WRONG = report(()), report(("head",))


def ways(found: Diff) -> list[tuple[str, str]]:
    return [(change.way, change.what) for change in found.changes]


def written(path: Path, said: Report) -> Path:
    path.write_text(json.dumps(said.to_json()))
    return path


# Two reports ----------------------------------------------------------------------------------------------------------


def test_a_report_that_is_read_again_says_the_same(tmp_path: Path) -> None:
    found = read_report(written(tmp_path / "a.json", WRONG))
    assert found == replace(WRONG, details=(), edges=(), modules=None)


def test_what_no_longer_holds_is_worse_and_what_holds_again_is_better() -> None:
    worse, better = diff_reports(RIGHT, WRONG), diff_reports(WRONG, RIGHT)
    hop = "torch float64 (oracle) to Paddle float64"
    assert ways(worse) == [("worse", "the whole"), ("worse", hop), ("worse", "culprit head [paddle]")]
    assert ways(better) == [("better", what) for _, what in ways(worse)]
    assert (worse.exit_code, better.exit_code, diff_reports(WRONG, WRONG).exit_code) == (1, 0, 0)


def test_verdicts_decide_and_not_the_figures_under_them() -> None:
    """A ratio that is another one still holds; and which of the two verdicts that hold may depend on the processor."""
    far = replace(RIGHT.hops[0], worst=Worst("out", 31.0, 1.0, 1.0, 1.0), verdict="identical")
    found = diff_reports(RIGHT, replace(RIGHT, hops=(far, *RIGHT.hops[1:])))
    assert (found.changes, found.exit_code) == ((), 0)
    assert found.same == (3, 1.3, 31.0)


def test_a_hop_that_is_judged_no_more_leaves_it_open() -> None:
    fewer = replace(RIGHT, hops=RIGHT.hops[:1])
    assert ways(diff_reports(RIGHT, fewer)) == [("gone", hop.target) for hop in RIGHT.hops[1:]]
    assert diff_reports(RIGHT, fewer).exit_code == 3
    assert {way for way, _ in ways(diff_reports(fewer, RIGHT))} == {"appeared"}
    assert diff_reports(fewer, RIGHT).exit_code == 0


def test_a_planted_fault_that_is_no_longer_caught_is_worse() -> None:
    blind = replace(RIGHT, sight=Sight(8, 7, 7))
    assert ways(diff_reports(replace(RIGHT, sight=Sight(8, 8, 7)), blind)) == [("worse", "planted faults")]


def test_a_float32_run_is_the_same_hop_whichever_oracle_it_is_held_to() -> None:
    own = replace(RIGHT.hops[1], source="Paddle float64")
    assert diff_reports(RIGHT, replace(RIGHT, hops=(RIGHT.hops[0], own, RIGHT.hops[2]))).changes == ()


def test_what_else_is_not_the_same_is_said() -> None:
    newer = replace(RIGHT, environment={**RIGHT.environment, "packages": {"torch": "3"}}, weights=("given (a.pt)",))
    assert diff_reports(RIGHT, newer).apart == ("weights: sensitised; now given (a.pt)", "torch 2; now 3")


def test_markdown_has_a_row_for_each_change() -> None:
    lines = diff_markdown(diff_reports(RIGHT, WRONG)).splitlines()
    assert lines[0] == "## ❌ net: 3 worse"
    assert sum(line.startswith("| ❌ worse |") for line in lines) == 3
    assert diff_markdown(diff_reports(RIGHT, RIGHT)).startswith("## ✅ net: nothing changed\n")


def test_the_command_ends_with_one_where_something_got_worse(tmp_path: Path, run: Run) -> None:
    before, now = written(tmp_path / "a.json", RIGHT), written(tmp_path / "b.json", WRONG)
    answer = run("diff", before, now)
    assert answer.code == 1
    assert answer.out.splitlines()[-1] == "3 worse"
    assert all(len(line) <= 100 for line in answer.out.splitlines())
    assert run("diff", now, before).code == 0
    answer = run("diff", before, now, "--markdown", tmp_path / "c.md")
    assert (tmp_path / "c.md").read_text() == run("diff", before, now, "--markdown", "-").out
    run("diff", before, now, "--markdown", tmp_path / "c.md").refused(2, "exists and is kept")


def test_what_is_no_report_is_refused_in_one_line(tmp_path: Path, run: Run) -> None:
    good, other = written(tmp_path / "a.json", RIGHT), written(tmp_path / "b.json", replace(RIGHT, port="other"))
    run("diff", good, other).refused(2, "two ports, 'net' and 'other'")
    run("diff", good, tmp_path / "none.json").refused(2, "no such file")
    run("diff", good, Path("benchmarks/results/short.json").absolute()).refused(2, "portproof bench compare")
    document = RIGHT.to_json()
    for damage, word in (
        ({"schema_version": 9}, "schema 9"), ({"hops": [3]}, "hops"), ({"hops": {"a": 1}}, "hops"),
        ({"verdict": "fine"}, "verdict"), ({"culprits": [{}]}, "culprits"),
        ({"environment": {"sides": 3}}, "environment"),
    ):  # fmt: skip
        (tmp_path / "c.json").write_text(json.dumps({**document, **damage}))
        run("diff", good, tmp_path / "c.json").refused(2, "c.json", word)


# History --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A git repository as the working directory; the function commits at a date and returns the revision."""
    place = tmp_path / "repository"
    place.mkdir()
    monkeypatch.chdir(place)

    def git(*arguments: str, date: str = WHEN) -> str:
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
               for what, value in (("NAME", "a"), ("EMAIL", "a@b"), ("DATE", date))}  # fmt: skip
        settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "PATH": "/usr/bin:/bin:/usr/local/bin", **who}
        return subprocess.run(
            ["git", *arguments], env=settings, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")

    def made(date: str) -> str:
        Path("file").write_text(date)
        git("add", "file")
        git("commit", "-q", "-m", "change", date=date)
        return git("rev-parse", "--short", "HEAD")

    return made


def test_results_are_kept_by_git_s_revision_in_the_order_of_commits(
    tmp_path: Path, commit: Callable[[str], str], run: Run
) -> None:
    right, wrong = written(tmp_path / "a.json", RIGHT), written(tmp_path / "b.json", WRONG)
    first = commit("2026-03-01T01:00:00+02:00")
    second = commit("2026-03-01T00:00:00+00:00")
    assert run("history", "kept", "--add", wrong).code == 0
    assert run("history", "kept", "--add", right, "--revision", first).code == 0
    assert run("history", "kept", "--add", right, "--revision", first).code == 0  # the same one again is one
    assert [(kept.revision, kept.verdict) for kept in read_history(Path("kept"))] == [
        (first, "equivalent"), (second, "divergent")
    ]  # fmt: skip
    assert sorted(path.name[:16] for path in Path("kept").iterdir()) == ["20260228T230000Z", "20260301T000000Z"]
    next(Path("kept").glob(f"*-{second}-*")).rename("kept/0.json")  # what a file is called decides nothing
    answer = run("history", "kept", "--report", "h.html")
    assert answer.code == 0
    assert f"2 results, now divergent at {second}" in answer.out
    assert "culprit head [paddle]" in answer.out
    assert f"<h1>net at {second}: divergent</h1>" in Path("h.html").read_text()


def test_what_is_not_committed_is_marked(tmp_path: Path, commit: Callable[[str], str], run: Run) -> None:
    right, first = written(tmp_path / "a.json", RIGHT), commit(WHEN)
    Path("file").write_text("changed")
    run("history", "kept", "--add", right)
    assert [kept.revision for kept in read_history(Path("kept"))] == [f"{first}+"]


def test_a_time_is_slower_where_the_two_intervals_lie_apart() -> None:
    def after(time: float, low: float, high: float) -> str:
        newer = replace(timed, revision="b", when="2026-02-01T00:00:00+00:00",
                        points=(Point("x, batch 1", "equivalent", time, low, high, "torch"),))  # fmt: skip
        (track,) = tracks([timed, newer])
        return track.series[0].change

    point = Point("x, batch 1", "equivalent", 10.0, 9.0, 11.0, "torch")
    timed = Kept("bench", "net", "a", WHEN, "equivalent", "cpu", (point,), (), {})
    assert after(12.0, 11.1, 13.0) == "slower"
    assert after(12.0, 10.9, 13.0) == ""
    assert after(8.0, 7.0, 8.9) == "faster"


def test_a_benchmark_s_record_has_medians_and_intervals_and_machines_stand_apart() -> None:
    kept = kept_result(bench(), "a", WHEN)
    row = bench().rows[0]
    (point,) = [point for point in kept.points if point.name == f"{row.runner}, batch {row.batch}"]
    assert point.value == row.median_ms
    assert point.low is not None
    assert point.high is not None
    assert point.low < point.value < point.high
    elsewhere = replace(kept, under="cpu, another processor")
    assert [len(track.kept) for track in tracks([kept, elsewhere])] == [1, 1]


def test_a_record_is_what_its_schema_says_and_holds_figures_of_any_size(tmp_path: Path, run: Run) -> None:
    kept = kept_report(replace(WRONG, hops=(replace(WRONG.hops[0], worst=Worst("o", 1e19, 1, 1, 1)),)), "a/../b", WHEN)
    path = keep(tmp_path / "kept", kept)
    assert path.parent == tmp_path / "kept"
    assert read_history(path.parent) == [kept]
    jsonschema.validate(json.loads(path.read_text()), json.loads(run("schema", "history").out))


def test_a_page_says_first_what_got_worse_and_which_packages_changed() -> None:
    found = tracks(records())
    assert headline(found) == "net at abc2: torch-eager, batch 1 is slower"
    text = page(found)
    assert text.index("torch-eager, batch 1 is slower") < text.index("<table")
    assert "torch 2.1 to 2.2" in text
    assert text.count('r="4" class="r4"') == 1  # the revision that was divergent
    assert headline(tracks([kept for kept in records() if kept.revision == "abc1"])) == "net at abc1: divergent"


def test_what_is_no_history_is_refused_in_one_line(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    right = written(tmp_path / "a.json", RIGHT)
    run("history", "none").refused(2, "'none' is no folder", "--add")
    run("history", "a.json").refused(2, "is no folder")
    run("history", "kept", "--add", right).refused(2, "--revision is missing")
    run("history", "kept", "--revision", "x").refused(2, "--add")
    run("history", "a.json", "--add", right, "--revision", "x").refused(2, "is a file")
    run("history", "kept", "--add", "gone.json", "--revision", "x").refused(2, "no such file")
    Path("kept").mkdir()
    run("history", "kept").refused(2, "holds no results yet")
    good: dict[str, Any] = asdict(kept_report(RIGHT, "x", WHEN))
    for damage in (
        {"when": "yesterday"},
        {"when": "0001-01-01T00:00:00+14:00"},
        {"schema_version": 2},
        {"points": [1]},
    ):
        Path("kept/x.json").write_text(json.dumps({**good, **damage}))
        run("history", "kept").refused(2, "kept/x.json", "take it out")
    with pytest.raises(BadInput):
        keep(Path("a.json"), kept_report(RIGHT, "x", WHEN))
