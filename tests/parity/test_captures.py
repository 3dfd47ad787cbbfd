"""Captures are all that passes between the sides, so the sides may live in two environments."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from portproof.judge._report import HOLDS
from tests.conftest import Run

#: Distributions and import names that make up each framework.
FRAMEWORK = {"torch": ("torch", "torchgen", "functorch"), "paddle": ("paddle", "paddlepaddle", "paddle2onnx")}


def environment_without(framework: str, folder: Path) -> Path:
    """Make a virtual environment that has everything installed here but one framework; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = Path(subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith(FRAMEWORK[framework]) and not (target / entry.name).exists():
            (target / entry.name).symlink_to(entry)
    import portproof

    (target / "portproof_source.pth").write_text(str(Path(portproof.__file__).parents[1]))
    assert subprocess.run([python, "-c", f"import {framework}"], capture_output=True, check=False).returncode != 0
    return python


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("environments")
    return {
        "torch": environment_without("paddle", folder / "torch"),
        "paddle": environment_without("torch", folder / "paddle"),
    }


def portproof(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "portproof", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_side_is_captured_in_an_environment_without_the_other_and_compared(
    project: Path, environments: dict[str, Path]
) -> None:
    torch, paddle = environments["torch"], environments["paddle"]
    made = portproof(torch, "capture", "tiny", "--runner", "torch-eager", "-o", "a")
    assert made.returncode == 0, made.stderr
    made = portproof(paddle, "capture", "tiny", "--runner", "paddle-dygraph", "--like", "a", "-o", "b")
    assert made.returncode == 0, made.stderr
    compared = portproof(paddle, "compare", "a", "b", "--json", "-")
    assert compared.returncode == 0, compared.stderr
    document = json.loads(compared.stdout)
    assert {hop["kind"] for hop in document["hops"]} == {"semantics", "numerics", "batch"}
    assert document["verdict"] in HOLDS


def test_verify_runs_each_side_in_its_own_interpreter(project: Path, run: Run, environments: dict[str, Path]) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write(f'[tool.portproof.python]\ntorch = "{environments["torch"]}"\npaddle = "{environments["paddle"]}"\n')
    answer = run("verify", "--json", "-")
    assert answer.code == 0, answer
    assert len([hop for hop in json.loads(answer.out)["hops"] if hop["kind"] == "export"]) == 2


def test_a_framework_that_is_not_there_exits_4_and_names_the_line_that_installs_it(
    project: Path, environments: dict[str, Path]
) -> None:
    done = portproof(environments["paddle"], "verify", "tiny", "--quick")
    assert done.returncode == 4
    assert "torch is not installed" in done.stderr
    assert "pip install 'portproof[torch]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def captures(project: Path, run: Run) -> Path:
    assert run("capture", "--runner", "torch-eager", "-o", "a").code == 0
    assert run("capture", "--runner", "paddle-dygraph", "--like", "a", "-o", "b").code == 0
    return project


def test_an_export_is_captured_and_compared(captures: Path, run: Run) -> None:
    assert run("capture", "--runner", "onnxruntime-paddle", "--like", "a", "-o", "c").code == 0
    assert run("compare", "a", "c").code == 0
    run("compare", "c", "c").refused(2, "both captures are of onnxruntime-paddle")


def test_a_fault_in_one_side_is_seen_offline(captures: Path, run: Run) -> None:
    file = captures / "tiny.py"
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.GELU()"))
    assert run("capture", "--runner", "paddle-dygraph", "--like", "a", "-o", "b", "--force").code == 0
    answer = run("compare", "a", "b")
    assert answer.code == 1
    assert "verdict: divergent" in answer.out


def test_captures_that_cannot_be_compared(captures: Path, run: Run) -> None:
    run("compare", "a", "nowhere").refused(2, "'nowhere' is no capture")
    run("compare", "a", "a").refused(2, "both captures are of torch-eager")
    assert run("capture", "--runner", "paddle-dygraph", "-o", "own").code == 0
    run("compare", "a", "own").refused(2, "other weights")
    assert run("capture", "--runner", "paddle-dygraph", "--seed", 1, "-o", "seed").code == 0
    run("compare", "a", "seed").refused(2, "other inputs")
    manifest = captures / "b" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"port": "tiny"', '"port": "other"'))
    run("compare", "a", "b").refused(2, "port 'tiny'", "'other'")
    run("capture", "--runner", "torch-eager", "--like", "b", "-o", "x").refused(2, "port 'other'")
    manifest.write_text("{")
    run("compare", "a", "b").refused(2, "is damaged")
    shutil.rmtree(captures / "b")
    (captures / "b").mkdir()
    (captures / "b" / "notes.txt").write_text("mine")
    run("capture", "--runner", "torch-eager", "-o", "b").refused(2, "no capture")
    run("capture", "--runner", "nothing", "-o", "x").refused(2, "no runner 'nothing'")


def test_a_capture_that_lost_a_file_is_damaged_and_not_a_verdict(captures: Path, run: Run) -> None:
    file = captures / "b" / "float64.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    run("compare", "a", "b").refused(2, "is damaged")
