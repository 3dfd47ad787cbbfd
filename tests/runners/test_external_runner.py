"""A runner that lives outside this repository verifies and benches, and a wrong one prints no number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "external_runner"

#: Runners that are not what they say, each in a way of its own.
WRONG = """
import time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from portproof.runners import RunnerInfo
from onnx.reference import ReferenceEvaluator

def info(name, **more):
    path = "wrong_runners:" + name.title().replace("-", "")
    return RunnerInfo(name, "torch", name, path, needs=(), process="runtime", artefact="onnx", **more)

HONEST, DOUBLED, FALLBACK = info("honest"), info("doubled"), info("fallback", claims={"provider": "Fast"})
LAYOUT, TENSORCORES = info("layout", claims={"layout": "channels_last"}), info("tensorcores")
UNSYNCHRONISED, SWAPPED = info("unsynchronised"), info("swapped")

class Honest:
    others = 1

    def __init__(self, job):
        self.job = job

    def __enter__(self):
        self.pool = ThreadPoolExecutor(max(1, self.others))
        self.evaluator = ReferenceEvaluator(str(self.job.artefact))
        return self

    def __exit__(self, *_):
        self.pool.shutdown()

    def evidence(self):
        return {"device": "cpu", "threads": self.job.threads}

    def run(self, inputs):
        end = time.perf_counter() + 0.012  # a call that is long enough to be shared among threads
        names = list(self.job.port.outputs)
        found = self.evaluator.run(names, dict(inputs))
        self.work(end)
        return dict(zip(names, found))

    def work(self, end):
        helping = [self.pool.submit(self.spin, end) for _ in range(self.others)]
        self.spin(end)
        [helper.result() for helper in helping]

    def spin(self, end):
        array = np.ones(1 << 16, np.float32)
        while time.perf_counter() < end:
            np.sqrt(array, out=array)  # lets other threads run meanwhile

class Doubled(Honest):
    others = 3

class Swapped(Honest):
    others = 0

class Fallback(Honest):
    def evidence(self):
        return super().evidence() | {"provider": "Slow"}

class Layout(Honest):
    def evidence(self):
        return super().evidence() | {"layout": "channels_first"}

class Tensorcores(Honest):
    def run(self, inputs):
        coarse = {n: (a.view(np.uint32) & 0xFFFFE000).view(np.float32) for n, a in super().run(inputs).items()}
        return coarse  # as TF32 keeps ten bits

class Unsynchronised(Honest):
    def bind(self, inputs):
        self.queue = ThreadPoolExecutor(1)
        def call():
            self.last = self.queue.submit(self.run, inputs)
            time.sleep(0.001)
        return call

    def synchronise(self):
        self.last.result()
"""


def command(folder: Path, project: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run portproof with one more folder of packages, as a user's environment would have it."""
    path = os.pathsep.join([str(folder), str(project)])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "portproof", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path}, cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_example_installs_verifies_and_benches(project: Path, tmp_path: Path) -> None:
    assert len((EXAMPLE / "portproof_onnx_reference.py").read_text().splitlines()) <= 80
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    source = tmp_path / "source"  # a build leaves files beside its source
    subprocess.run(["cp", "-r", str(EXAMPLE), str(source)], check=True)
    subprocess.run([*pip, str(source)], check=True, capture_output=True)
    assert "onnx-reference" in command(site, project, "ports").stdout
    verified = command(site, project, "verify", "--no-modules", "--runners", "onnx-reference")
    assert verified.returncode == 0, verified
    assert "ONNX reference evaluator, float32" in verified.stdout
    timed = command(site, project, "bench", "run", "--runners", "onnx-reference", "--processes", 2, "--seconds", 0.1)
    assert timed.returncode in (0, 3), timed
    assert "ONNX reference evaluator" in timed.stdout


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A folder of installed packages with runners that are not what they say."""
    site = tmp_path / "site"
    about = site / "wrong_runners-1.dist-info"
    about.mkdir(parents=True)
    (site / "wrong_runners.py").write_text(WRONG)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong-runners\nVersion: 1\n")
    names = ("honest", "doubled", "swapped", "fallback", "layout", "tensorcores", "unsynchronised")
    points = "\n".join(f"{name} = wrong_runners:{name.upper()}" for name in names)
    (about / "entry_points.txt").write_text(f"[portproof.runners]\n{points}\n")
    return site


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        ("fallback", "provider: Fast was asked for, Slow found"),
        pytest.param("doubled", "threads: 4 busy of 2", marks=pytest.mark.slow),
        pytest.param("swapped", "threads: 1 busy of 2", marks=pytest.mark.slow),
        pytest.param("layout", "layout: channels_last was asked for, channels_first found", marks=pytest.mark.slow),
        pytest.param("tensorcores", "no parity, no number", marks=pytest.mark.slow),
    ],
)
def test_a_runner_that_is_not_what_it_says_prints_no_number(project: Path, wrong: Path, runner: str, said: str) -> None:
    options = ("bench", "run", "--threads", 2, "--processes", 1, "--seconds", 0.5, "--runners", f"honest,{runner}")
    found = command(wrong, project, *options)
    lines = found.stdout.splitlines()
    assert found.returncode == 1, found
    number = {name: next(line for line in lines if line.startswith(name)).split()[1] for name in ("honest", runner)}
    assert number[runner] == "-"
    assert float(number["honest"]) > 5  # the same runner, unbroken, has its number
    assert any(said in line for line in " ".join(lines).split(f"{runner}, batch 1: ")), found.stdout


@pytest.mark.slow
def test_a_clock_that_does_not_wait_prints_no_number(project: Path, wrong: Path) -> None:
    options = ("bench", "run", "--processes", 1, "--seconds", 0.2, "--boundary", "device")
    found = command(wrong, project, *options, "--runners", "unsynchronised")
    assert found.returncode == 1, found
    assert "of a call was still to be done when it had returned" in " ".join(found.stdout.split())
