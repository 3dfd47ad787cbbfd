"""The command line about itself: version, help, completion, words, and what the exit code of a failing run means."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import portproof
from portproof.cli import _app
from portproof.cli._explain import lines_of
from portproof.cli._explanations import ALIASES, EXPLANATIONS
from portproof.cli._help import examples_of
from portproof.judge._report import HOLDS
from portproof.render._words import ADVICE, EXITS
from tests.cli.test_bounds import commands
from tests.conftest import Run

GROUP = typer.main.get_command(_app.app)
COMMANDS = dict(commands(GROUP))
WORDS = {word: text for listed in EXPLANATIONS.values() for word, text in listed.items()}


def test_the_version_is_said(run: Run) -> None:
    answer = run("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"portproof {portproof.__version__}\n", "")


@pytest.mark.parametrize("command", [(), ("verify",), ("bench",), ("bench", "run")])
def test_help_has_a_short_option_and_plain_places(run: Run, command: tuple[str, ...]) -> None:
    short, long = run(*command, "-h"), run(*command, "--help")
    assert (short.code, short.out) == (0, long.out)
    assert "[[" not in long.out


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_help_fits_every_terminal_and_cuts_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in [(), ("bench",), *COMMANDS]:
        shown = run(*name, "-h").out
        assert max(map(len, shown.splitlines())) <= min(columns, 100), name
        assert not re.search(r"\w\.\.\.$", shown, re.MULTILINE), name


def test_verify_comes_first_and_every_command_is_listed_with_its_whole_sentence(run: Run) -> None:
    shown = " ".join(run("-h").out.split())
    said = [" ".join((GROUP.commands[name].help or "").partition("\n\n")[0].split()) for name in GROUP.commands]
    places = [shown.index(sentence) for sentence in said]
    assert places[list(GROUP.commands).index("verify")] == min(places)
    assert shown.index("Is it right?:") < shown.index("Weights and graphs:") < shown.index("To begin with:")


def test_every_command_has_two_examples_that_the_command_line_takes(tmp_path: Path) -> None:
    for name, command in [((), GROUP), (("bench",), GROUP.commands["bench"]), *COMMANDS.items()]:
        examples = examples_of(command)
        assert len(examples) == 2, name
        for example in itertools.chain.from_iterable(line.split("&&") for line in examples):
            program, *words = shlex.split(example.partition(">")[0])
            if program == "portproof":
                _parse(words)


def _parse(words: list[str]) -> None:
    """Read a command line without running it, or anything that it names."""
    group, path = GROUP, 1
    if words[0] == "bench":
        group, path = GROUP.commands["bench"], 2
    command = group.commands[words[path - 1]]
    kept = {parameter: parameter.callback for parameter in command.params}
    for parameter in command.params:
        parameter.callback = None
    try:
        command.make_context(words[path - 1], words[path:])
    finally:
        for parameter, callback in kept.items():
            parameter.callback = callback


def test_a_failing_run_says_what_its_exit_code_means_and_the_verdict_is_last(project: Path, run: Run) -> None:
    assert "exit code" not in run("verify", "--quick", "--no-modules").out
    file = project / "tiny.py"
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.Tanh()", 1))
    answer = run("verify", "--quick", "--no-modules")
    assert answer.code == 1
    assert answer.out.splitlines()[-2:] == [
        "exit code 1: does not hold; `portproof explain divergent` says how to read it", "verdict: divergent"
    ]  # fmt: skip
    assert run("verify", "--quick", "--no-modules", "--quiet").out == "verdict: divergent\n"


def test_the_words_of_a_report_are_explained(run: Run) -> None:
    for word in (*HOLDS, *EXITS, *ADVICE, "0", "1", "2", "3", "4", "70", "130", "floors", "hop", "oracle", "sight"):
        assert word in WORDS, word
    assert set(ALIASES.values()) <= set(WORDS)
    for word in ("sensitised", "Sensitized", "organised-otherwise", "noise floor", "exit code 3", "max_abs"):
        answer = run("explain", *word.split())
        assert (answer.code, answer.err) == (0, "")
        assert 2 <= len(answer.out.splitlines()) <= 11, answer.out
    listed = run("explain").out
    assert all(word in " ".join(listed.split()) for word in WORDS)


def test_an_explanation_is_ten_lines_at_most_and_fits_a_narrow_terminal() -> None:
    for word, text in WORDS.items():
        assert len(lines_of(text, 100)) <= 10, word
        assert max(map(len, lines_of(text, 50))) <= 50, word


@pytest.mark.parametrize(
    ("shell", "words"), [("bash", "complete -o default"), ("zsh", "#compdef"), ("fish", "complete")]
)
def test_a_shell_s_completion_is_installed(tmp_path: Path, shell: str, words: str) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = _portproof("--install-completion", shell, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert any(words in file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    shown = _portproof("--show-completion", shell, environment=environment)
    assert (shown.returncode, words in shown.stdout) == (0, True)
    refused = _portproof("--install-completion", environment={**environment, "SHELL": "/bin/odd"})
    assert refused.returncode == 2


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_completion_says_what_a_command_does_on_one_line(project: Path, shell: str) -> None:
    asked = {"_PORTPROOF_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "portproof ver",
             "_TYPER_COMPLETE_FISH_ACTION": "get-args", "COLUMNS": "60"}  # fmt: skip
    done = _portproof(environment={**os.environ, **asked})
    assert (done.returncode, done.stderr, len(done.stdout.strip().splitlines())) == (0, "", 1)
    assert "hop by hop" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [("portproof ver", {"verify"}), ("portproof verify --qui", {"--quick", "--quiet"}),
     ("portproof bench re", {"recommend", "report"}), ("portproof explain sens", {"sensitised"}),
     ("portproof verify ti", {"tiny"}), ("portproof verify other:", {"other:X"}), ("portproof schema b", {"bench"}),
     ("portproof capture --runner torch-j", {"torch-jit"})],
)  # fmt: skip
def test_a_line_is_completed_and_nothing_of_the_project_is_run(project: Path, line: str, expected: set[str]) -> None:
    (project / "pyproject.toml").write_text('[tool.portproof]\nports = ["tiny:TINY", "other:X"]\n')
    (project / "tiny.py").write_text((project / "tiny.py").read_text() + "\nraise SystemExit('run')\n")
    words = line.split()
    environment = {**os.environ, "_PORTPROOF_COMPLETE": "complete_bash", "COMP_WORDS": line,
                   "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    done = _portproof(environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == expected


def _portproof(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "portproof", *arguments], capture_output=True, text=True, env=environment
    )
