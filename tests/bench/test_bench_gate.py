"""A gate runs two versions of a project next to each other, and says whether this one is slower."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run

# It times, and two versions of one module cannot be had in one process.
pytestmark = pytest.mark.processes

QUICK = ("bench", "gate", "--seconds", 0.05)


@pytest.fixture
def versions(project: Path) -> Path:
    """The small project with its first version committed."""
    name = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "."), (*name, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *command], check=True, cwd=project)
    return project / "tiny.py"


def slow_down(file: Path) -> None:
    """Make the torch side sleep in its forward."""
    text = file.read_text().replace(
        "    from torch import nn\n",
        "    from torch import nn\n    import time\n"
        "    class Slow(nn.Linear):\n"
        "        def forward(self, x):\n            time.sleep(0.002)\n            return super().forward(x)\n",
    )
    before, after = text.split("return nn.Sequential(nn.Linear(8, 8)", 1)
    file.write_text(f"{before}return nn.Sequential(Slow(8, 8){after}")


@pytest.mark.slow
def test_a_version_that_became_slower_is_told_and_one_that_did_not_is_let_through(versions: Path, run: Run) -> None:
    answer = run(*QUICK, "--pairs", 3, "--runners", "torch-eager", "--fail-if-slower", "900%")
    assert answer.code == 0, answer
    assert "3 pairs of fresh processes" in answer.out
    slow_down(versions)
    answer = run(*QUICK, "--pairs", 3, "--fail-if-slower", "100%")
    rows = {line.split()[0]: line for line in answer.out.splitlines() if "slower" in line or "to" in line}
    assert answer.code == 1, answer
    assert "slower than allowed" in rows["torch-eager"]
    assert "slower than allowed" not in rows["paddle-dygraph"]


@pytest.mark.slow
def test_the_other_version_may_be_another_checkout(versions: Path, run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "-q", str(tmp_path), str(other)], check=True)
    slow_down(other / "tiny.py")
    answer = run(*QUICK, "--pairs", 3, "--runners", "torch-eager", "--base", other, "tiny.py")
    assert answer.code == 0, answer
    assert "faster" in answer.out


def test_a_version_without_parity_has_no_number(versions: Path, run: Run) -> None:
    versions.write_text(versions.read_text().replace("nn.ReLU()", "nn.Tanh()", 1))
    answer = run(*QUICK, "--pairs", 2, "--runners", "paddle-dygraph")
    assert answer.code == 1
    assert "now: Paddle dygraph, batch 1: divergent" in answer.out


def test_mistakes_are_one_line(versions: Path, run: Run, tmp_path: Path) -> None:
    run(*QUICK, "--base", "nowhere").refused(2, "takes a revision that git knows or a folder, found 'nowhere'")
    run(*QUICK, "--base=--output=x").refused(2, "--base takes a revision")
    assert not Path("x").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    run(*QUICK, "--base", empty).refused(2, "has no pyproject.toml with [tool.portproof]")
    run(*QUICK, "--fail-if-slower", "5").refused(2, "--fail-if-slower takes a percentage")
