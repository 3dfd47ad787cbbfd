"""One of every page that the engine writes, from values that need no run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from portproof._numbers import picture
from portproof.agree._images import Images
from portproof.agree._page import page as agree_page
from portproof.agree._result import Agreement, Cost, Looked, Rate, RunnerAgreement, Unreadable
from portproof.bench._html import page as bench_page
from portproof.bench._result import BenchResult, read_result
from portproof.deploy._page import page as deploy_page
from portproof.deploy._result import Asked, Candidate, Deployment, Held, Latency, Neighbour, Seen
from portproof.faults._campaign import FaultReport, Planted
from portproof.faults._kinds import Fault
from portproof.faults._page import page as faults_page
from portproof.faults._sight import Answer
from portproof.judge._report import Culprit, Hop, ModuleDetail, ModulePicture, PlantedFault, Report, Sight, Worst
from portproof.lockstep._campaign import Planting, TrainingFaults
from portproof.lockstep._page import page as training_faults_page
from portproof.render._history import Kept, Point, tracks
from portproof.render._page import page as report_page
from portproof.render._timeline import page as history_page
from portproof.training._page import page as training_page
from portproof.training._plot import plot_curves
from portproof.training._trained import TrainAgreement, Trained

ROOT = Path(__file__).parents[2]
MACHINE = {"portproof": "0.1", "python": "3.11", "system": "Linux x86_64", "processor": "a processor"}

#: The parts of a small network: two blocks of branches, and what is before and behind them.
MODULES = (
    "stem.0", "stem.1", "stem", *(f"block{b}.{p}.{n}" for b in (1, 2) for p in ("left", "right") for n in (0, 1)),
    "block1.left", "block1.right", "block1", "block2.left", "block2.right", "block2", "head", "",
)  # fmt: skip
EDGES = tuple(
    (f"{one}.1" if one != "head" else one, f"{two}.0" if two != "head" else two)
    for one, two in (
        *(("stem", f"block1.{p}") for p in ("left", "right")),
        *((f"block1.{p}", f"block2.{q}") for p in ("left", "right") for q in ("left", "right")),
        *((f"block2.{p}", "head") for p in ("left", "right")),
    )
) + tuple((f"block{b}.{p}.0", f"block{b}.{p}.1") for b in (1, 2) for p in ("left", "right"))


def seen(seed: int, channels: int = 64) -> ModulePicture:
    """Return a module's picture in which no two neighbours are alike."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((4, channels, 5, 5))
    made = picture(values * (1 + 1e-7 * rng.standard_normal(values.shape) ** 5), values)
    assert made is not None
    return ModulePicture(**made)


def report(wrong: tuple[str, ...] = ("block1",)) -> Report:
    """Return a report of a network in which some modules are at fault, be they wholes or parts."""
    worst = Worst("out", 1e12 if wrong else 1.2, 0.5, 0.5, 1e15)
    verdict = "divergent" if wrong else "equivalent"
    hops = (
        Hop("semantics", "torch float64 (oracle)", "Paddle float64", "float64", "sensitised", verdict, worst),
        Hop("numerics", "", "torch eager float32", "float32", "sensitised", "equivalent", Worst("out", 1.3, 0, 0, 3)),
        Hop("runtime", "", "torch export, ONNX Runtime", "float32", "sensitised", "unavailable", None, "not installed"),
    )
    culprits = tuple(Culprit("paddle", path, "computes", "forward", "its output differs", 1e12) for path in wrong)
    details = tuple(
        ModuleDetail(path, path, "Conv2d", 1e12 if path in wrong else 0.5 * (i % 5), 1e-15, 1.0, picture=seen(i))
        for i, path in enumerate(MODULES)
    )
    sight = Sight(1, 1, 1, faults=(PlantedFault("bias off in 'head'", ("head",), ("head",), True),))
    return Report(
        "net", verdict, hops, culprits, sight=sight, details=details, edges=EDGES, weights=("sensitised",),
        inputs=("noise",), notes=("a note",), environment={**MACHINE, "packages": {"torch": "2"}},
        seconds={"total": 3.0, "replay": 2.0},
    )  # fmt: skip


def bench() -> BenchResult:
    """Return a result of a benchmark."""
    return read_result(ROOT / "benchmarks/results/short.json")


def agreement() -> Agreement:
    """Return an agreement with a flip and an unreadable image."""
    rate, looked = Rate(9, 0, 1, 0.0, 0.2, 0.2), Looked(1, "a.jpg", 9.0, 3.0, 1, 2)
    ratios = dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), 1.0)
    calm = RunnerAgreement(
        "a",
        "torch eager",
        "float32",
        "equivalent",
        rate,
        rate,
        ratios,
        0,
        0.9,
        0.9,
        (),
        (),
        Cost(0, 0, 10, 0.3),
        Cost(0, 1, 10, 0.3),
    )
    bad = RunnerAgreement(
        "b",
        "Paddle dygraph",
        "float32",
        "divergent",
        rate,
        rate,
        ratios,
        1,
        0.7,
        0.8,
        (looked,),
        (looked,),
        Cost(1, 0, 10, 0.4),
        Cost(2, 0, 10, 0.5),
    )
    return Agreement(
        "net", "divergent", "torch float64", "out", "sensitised", 10, (Unreadable(0, "b.jpg", "cut"),), 1, "f" * 64,
        10, 10, 0.9, 0.9, 1e-7, 1.0, 10, 1.0, (calm, bad), None, ("a note",),
        {"processor": "a processor", "versions": {"torch": "2"}, "batch": 1, "threads": 1},
    )  # fmt: skip


def deployment() -> Deployment:
    """Return a deployment with a candidate of every fate, one of which did not hold."""
    latency, cost = Latency(20.0, 19.0, 21.0, 22.0, None, 5), Cost(1, 0, 400, 0.0118)
    plain = Candidate(
        "torch-eager", "torch eager", "torch", "float32", "equivalent", None, latency, cost, 300 << 20, 27 << 20, 1.4,
        "frontier", None, allowed=True,
    )  # fmt: skip
    beaten = replace(plain, runner="paddle-dygraph", title="Paddle dygraph", side="paddle", place="dominated",
                     latency=replace(latency, median_ms=90.0), beaten_by="torch-eager")  # fmt: skip
    wrong = Candidate("wrong-int8", "int8, a wrong zero point", "torch", "int8", "divergent", "1e9 noise floors out")
    held = Held(False, 21.0, 6, (Neighbour("paddle-dygraph", True, "faster", 0.9, 0.85, 0.95, 4.5),))
    return Deployment(
        "net", Asked(0.02, "p99=30ms", 840.0, 1, "cpu", 2),
        Seen(400, 5000, "f" * 64, 400, 0.98, "torch float64", "out", "given (w.pt)"), (plain, beaten, wrong),
        "torch-eager", ("the lowest",), ("run it again",), False, held, ("a note",), {"wall": 60.0},
        {**MACHINE, "packages": {"torch": "2"}},
    )  # fmt: skip


def planted() -> FaultReport:
    """Return a campaign with one fault of every fate."""

    def one(seed: int, *, effective: bool, caught: bool, named: str) -> Planted:
        where = frozenset({"head"})
        fault = Fault("bias zeroed", ("head",))
        why = () if effective else ("too small",)
        said = frozenset({named} - {""})
        return Planted(seed, "torch", Answer((fault,), where, where, caught, said, effective, "out", 1.0, why))

    fates = ((True, True, "head"), (True, True, "stem"), (True, False, ""), (False, False, ""), (False, True, "head"))
    all_of = [one(n, effective=e, caught=s, named=m) for n, (e, s, m) in enumerate(fates)]
    return FaultReport("net", tuple(all_of), MACHINE, 12.0)


def trained() -> tuple[Trained, str]:
    """Return a training in which one runner disagrees, and its curves."""
    log = [{"step": i, "epoch": i / 9, "loss": 2.0 / (i + 1), "accuracy": i / 10} for i in range(10)]
    rows = {"torch": log, "paddle": log}
    tests = {side: [{"step": 9, "out": 0.9}] for side in rows}
    agrees = TrainAgreement("torch", "Paddle", 100, {"out": 0}, {"out": 0.9})
    differs = TrainAgreement("torch", "torch export, ONNX Runtime", 100, {"out": 3}, {"out": 0.9})
    found = Trained(
        "net", "digits", {"batch": 16, "steps": 9, "seed": 0}, {s: tests[s][-1] for s in rows},
        dict.fromkeys(rows, 60.0), True, (agrees, differs), "onnx is not installed", (), MACHINE,
    )  # fmt: skip
    return found, plot_curves("net", rows, tests)


def records() -> list[Kept]:
    """Return three revisions' records of a verdict and of times; the last is slower, and was divergent before."""
    found, days = [], (("equivalent", 1.0, 9.0), ("divergent", 1e9, 9.1), ("equivalent", 1.1, 12.0))
    for day, (verdict, ratio, time) in enumerate(days):
        when, revision = f"2026-01-0{day + 1}T00:00:00+00:00", f"abc{day}"
        point = Point("torch float64 to Paddle float64", verdict, ratio)
        culprits = ("head [paddle]",) if verdict == "divergent" else ()
        versions = {"torch": f"2.{day}"}
        found.append(Kept("verify", "net", revision, when, verdict, "sensitised", (point,), culprits, versions))
        timed = Point("torch-eager, batch 1", "equivalent", time, time - 0.2, time + 0.2, "torch")
        found.append(Kept("bench", "net", revision, when, "equivalent", "cpu", (timed,), (), versions))
    return found


def every_page(folder: Path) -> dict[str, str]:
    """Return each page by its name; the images of one are written into ``folder``."""
    for number in range(2):
        Image.new("RGB", (16, 16), (number * 99, 9, 9)).save(folder / f"{number}.jpg")
    training_faults = TrainingFaults("net", (
        Planting("torch", "sgd", "momentum", 1, 1, "momentum differs", True),
        Planting("paddle", "adam", "eps", 0, None, "", False),
    ), MACHINE)  # fmt: skip
    return {
        "report": report_page(report()),
        "a report that holds": report_page(report(())),
        "bench": bench_page(bench(), bench()),
        "deploy": deploy_page(deployment()),
        "agree": agree_page(agreement(), Images(str(folder))),
        "faults": faults_page(planted()),
        "training faults": training_faults_page(training_faults),
        "training": training_page(*trained()),
        "history": history_page(tracks(records())),
    }
