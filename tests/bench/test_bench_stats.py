"""The statistics of benchmarks: equal is not called different, five percent is told, too little is not read."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portproof.bench._clock import offline, server, single
from portproof.bench._probe import probe
from portproof.bench._proof import Asked, Speed, busy_threads, prove
from portproof.bench._stats import (
    compare_many,
    compare_paired,
    compare_unpaired,
    detectable,
    interval,
    percentile,
    samples_needed,
    undisturbed,
)
from tests.conftest import Run

EVIDENCE = Path(__file__).parents[2] / "benchmarks" / "evidence"


def drawn(rng: np.random.Generator, factor: float, count: int = 8) -> list[float]:
    return list(10 * factor * np.exp(rng.normal(0, 0.01, count)))


def test_equal_runners_are_not_called_different_and_five_percent_is_told() -> None:
    rng = np.random.default_rng(0)
    same = [compare_paired(drawn(rng, 1), drawn(rng, 1)).change for _ in range(300)]
    assert sum(change in ("faster", "slower") for change in same) <= 0.05 * 300
    assert [compare_paired(drawn(rng, 1), drawn(rng, 1.05)).change for _ in range(100)].count("slower") >= 90
    assert compare_paired(drawn(rng, 1.05), drawn(rng, 1)).change == "faster"


def test_a_difference_within_the_margin_is_equivalent_however_certain() -> None:
    found = compare_paired([10.0, 10.1, 10.2], [10.1, 10.201, 10.302])
    assert found.p < 0.001
    assert found.change == "equivalent"


def test_one_pair_decides_nothing() -> None:
    with pytest.raises(ValueError, match="two pairs"):
        compare_paired([1.0], [2.0])
    with pytest.raises(ValueError, match="shorter"):
        compare_paired([1.0, 1.0], [2.0])


def test_many_comparisons_are_corrected() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        first = list(10 * np.exp(rng.normal(0, 0.06, 6)))
        others = {str(i): list(10 * np.exp(rng.normal(0, 0.06, 6))) for i in range(12)}
        found = compare_many(first, others)
        assert list(found) == list(others)
        alarms += any(one.change in ("faster", "slower") for one in found.values())
    assert alarms <= 0.1 * 60  # a family, not each of the twelve, errs in a twentieth


def test_runs_that_were_not_interleaved_are_compared_without_pairs() -> None:
    rng = np.random.default_rng(2)
    found = compare_unpaired(drawn(rng, 1, 6), drawn(rng, 1.2, 9))
    assert (found.change, found.pairs) == ("slower", 0)


def test_percentiles_are_given_where_the_samples_support_them() -> None:
    assert (samples_needed(0.99), samples_needed(0.9)) == (459, 44)
    assert percentile(list(range(458)), 0.99) is None
    assert percentile(list(range(1000)), 0.99) == 989


def test_what_is_compared_is_not_moved_by_a_neighbour() -> None:
    quiet = [10.0 + i / 1000 for i in range(100)]
    disturbed = [*quiet[:30], *(3 * value for value in quiet[30:])]
    assert undisturbed(disturbed) == undisturbed(quiet) == 10.005
    assert detectable([10, 10.1, 10], [10, 10.1, 10]) == 0.02


def test_a_request_that_waits_counts_from_its_arrival() -> None:
    import time

    timed = server(lambda: time.sleep(0.01), 0.4, 1, rate=200.0, seed=0)  # twice what it can serve
    assert timed.samples_ms[-1] > 5 * timed.samples_ms[0]
    calm = server(lambda: time.sleep(0.002), 0.4, 1, rate=20.0, seed=0)
    assert np.median(calm.samples_ms) < 20


def test_short_calls_are_measured_several_at_a_time_and_rows_are_counted() -> None:
    calls: list[int] = []
    timed = single(lambda: calls.append(1), 0.01, rows=4)
    assert timed.calls_per_sample > 1
    assert len(calls) == timed.warm_up_calls + timed.calls_per_sample * len(timed.samples_ms)
    assert timed.rows == 4 * timed.calls_per_sample * len(timed.samples_ms)
    parallel = offline(lambda seconds: (10, seconds), 0.5, 2, None)
    assert parallel.rows == 100
    assert parallel.samples_ms == pytest.approx([10.0] * 5)


def test_the_peak_is_that_of_a_processor() -> None:
    every = [probe(1, 0.02) for _ in range(5)]  # of a processor that others use, too, the best of them
    wide, narrow, copied = (
        max(getattr(one, name) for one in every) for name in ("gflops", "narrow_gflops", "copy_gbs")
    )
    assert 1 < wide < 2000
    assert 1 < narrow <= 1.2 * wide
    assert every[0].bits in (128, 256, 512)
    assert 0.5 < copied < 2000


ASKED = Asked(2, "cpu", "float32", "host", "single", {"layout": "channels_last"})
ANSWER = {
    "threads_at_once": 1.9, "threads_busy": 2, "counted": True, "samples_ms": [20.0], "wall_s": 1.0, "cpu_s": 1.9,
    "late_share": 0.0,
    "evidence": {"device": "cpu", "threads": 2, "layout": "channels_last"},
}  # fmt: skip


def states(**changes: object) -> dict[str, str]:
    answer = ANSWER | {key: value for key, value in changes.items() if key != "ratio"}
    return {claim.what: claim.state for claim in prove(ASKED, answer, changes.get("ratio", 2.0))}  # type: ignore[arg-type]


def test_each_claim_is_held_to_what_was_found() -> None:
    many = replace(ASKED, scenario="offline")
    assert set(states().values()) == {"verified", "unverified"}  # the instruction set is not said
    assert states(threads_at_once=2.9, threads_busy=3)["threads"] == "refuted"
    assert states(threads_at_once=2.3, threads_busy=3)["threads"] == "unverified"  # two pools that take turns
    handed_out = (prove(many, ANSWER | {"threads_at_once": count, "threads_busy": 4}, 2.0)[1] for count in (2.9, 3.8))
    assert [claim.state for claim in handed_out] == ["unverified", "refuted"]
    assert states(threads_busy=1)["threads"] == "refuted"
    assert states(threads_busy=1, samples_ms=[0.1])["threads"] == "unverified"
    assert states(counted=False, threads_busy=0)["threads"] == "unverified"
    assert states(evidence=ANSWER["evidence"] | {"threads": 1})["threads"] == "refuted"  # type: ignore[operator]
    assert states(evidence={"device": "cuda"})["device"] == "refuted"
    assert states(evidence={"device": "cpu"})["layout"] == "unverified"
    assert states(ratio=9000.0)["precision"] == "refuted"  # TF32
    halves = Asked(2, "cpu", "float16", "host", "single", {"stored": "float16"})  # float32 rounds as much as they do
    for stored, state in (("float16", "verified"), ("float32", "refuted")):
        found = prove(halves, ANSWER | {"evidence": ANSWER["evidence"] | {"stored": stored}}, 17.0)  # type: ignore[operator]
        assert {claim.what: claim.state for claim in found}.items() >= {"stored": state}.items()
        assert "precision" not in {claim.what for claim in found}
    assert "precision" in {claim.what for claim in prove(halves, ANSWER, 9000.0)}  # where it shows, it is said
    before, after = {1: (0.0, 0.0), 2: (5.0, 9.0)}, {1: (0.9, 0.0), 2: (5.05, 9.0), 3: (0.5, 0.0), 4: (0.05, 0.6)}
    assert busy_threads(before, after, 1.0) == (3, pytest.approx(0.9 + 0.05 + 0.5 + 0.65))


def test_vectors_are_proven_by_a_speed_that_narrower_ones_do_not_reach() -> None:
    def state(*speed: float) -> str:
        found = prove(ASKED, ANSWER, 2.0, Speed(speed[0], 512, *speed[1:]))
        return next(claim.state for claim in found if claim.what == "instruction set")

    assert state(90, 120, 60) == "verified"
    assert state(50, 120, 60) == "unverified"
    assert state(118, 120, 117) == "unverified"  # half the width is as fast here: it leaves no trace


def test_an_interval_covers_the_mean_and_is_open_for_one_process() -> None:
    low, high = interval([10, 11, 10.5, 10.2])
    assert low < 10.4 < high
    assert interval([10]) == (0.0, math.inf)


@pytest.mark.processes
@pytest.mark.slow
def test_the_self_check_counts_what_is_called_wrongly(project: Path, run: Run) -> None:
    answer = run("bench", "selfcheck", "--comparisons", 1, "--pairs", 2, "--seconds", 0.02, "-o", "s.json")
    assert answer.code in (0, 1)
    document = json.loads(Path("s.json").read_text())
    assert [(o["kind"], o["place"], len(o["changes"])) for o in document["outcomes"]] == [
        ("same", "quiet", 1), ("slower", "quiet", 1), ("same", "neighbour", 1), ("slower", "neighbour", 1),
    ]  # fmt: skip
    run("bench", "selfcheck", "--kinds", "same").refused(2, "and where (quiet, neighbour)")


def test_the_published_self_check_says_what_the_docs_say() -> None:
    same = json.loads((EVIDENCE / "selfcheck-same.json").read_text())["outcomes"]
    changes = [change for outcome in same for change in outcome["changes"]]
    assert len(changes) == 400
    assert not {"faster", "slower"} & set(changes)
    slower = json.loads((EVIDENCE / "selfcheck-slower.json").read_text())["outcomes"]
    told = [change for outcome in slower for change in outcome["changes"]]
    assert (told.count("slower"), len(told)) == (98, 100)
    assert not math.isnan(slower[0]["foreign_share"])


@pytest.mark.slow
@pytest.mark.processes
def test_a_race_ends_with_a_choice(project: Path, run: Run) -> None:
    answer = run("bench", "recommend", "-o", "r.json")
    assert answer.code == 0, answer
    assert "deploy " in answer.out
    assert "at first" in answer.out
