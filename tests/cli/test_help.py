"""The command line about itself: its version, its help, and what the exit code of a failing run means."""

from pathlib import Path

import pytest

import portproof
from tests.conftest import Run


def test_the_version_is_said(run: Run) -> None:
    answer = run("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"portproof {portproof.__version__}\n", "")


@pytest.mark.parametrize("command", [(), ("verify",), ("bench",), ("bench", "run")])
def test_help_has_a_short_option_and_plain_places(run: Run, command: tuple[str, ...]) -> None:
    short, long = run(*command, "-h"), run(*command, "--help")
    assert (short.code, short.out) == (0, long.out)
    assert "[[" not in long.out


def test_a_failing_run_says_what_its_exit_code_means_and_the_verdict_is_last(project: Path, run: Run) -> None:
    assert "exit code" not in run("verify", "--quick", "--no-modules").out
    file = project / "tiny.py"
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.Tanh()", 1))
    answer = run("verify", "--quick", "--no-modules")
    assert answer.code == 1
    assert answer.out.splitlines()[-2:] == [
        "exit code 1: does not hold; docs/failures.md says how to read it", "verdict: divergent"
    ]  # fmt: skip
    assert run("verify", "--quick", "--no-modules", "--quiet").out == "verdict: divergent\n"
