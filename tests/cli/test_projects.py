"""A project file names code and interpreters that run: read where a port is needed, and it says what it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_ending import COMMAND
from tests.conftest import ROOT, Run

RESULT = min((ROOT / "benchmarks" / "results").glob("*.json"))
MAP = "torch,paddle,transform,torch_shape,paddle_shape,dtype\n" + "".join(
    f"{name},{name},{'transpose' if 'weight' in name else 'copy'},{shape},{other},float32\n"
    for name, shape, other in (("0.weight", "8x8", "8x8"), ("0.bias", "8", "8"), ("2.weight", "3x8", "8x3"),
                               ("2.bias", "3", "3"))
)  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor", "--json", "-"),
        ("convert", "torch.safetensors", "out.pdparams", "--map", "map.csv"),
        ("convert", "torch.safetensors", "out.pdparams", "--map", "map.csv", "--verify"),
        ("convert", "torch.safetensors", "--map", "map.csv", "--suggest", "out.csv"),
        ("convert", "torch.safetensors", "out.pdparams", "--like", "like.pdparams"),
        ("bench", "validate", RESULT),
        ("bench", "recommend", RESULT),
        ("bench", "report", RESULT, "--html", "out.html"),
        ("bench", "compare", RESULT, RESULT),
        ("history", "kept", "--add", RESULT, "--revision", "r"),
        ("schema", "doctor"),
        ("init", "made"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_what_needs_no_port_reads_no_project(checkpoint: Path, run: Run, arguments: tuple[object, ...]) -> None:
    Path("map.csv").write_text(MAP)
    assert run("convert", "torch.safetensors", "like.pdparams", "--map", "map.csv").code == 0
    with Path("pyproject.toml").open("a") as file:
        file.write('python = {paddle = "./started"}\n')
    Path("started").write_text("#!/bin/sh\ntouch was-started\n")
    Path("started").chmod(0o700)
    Path("tiny.py").write_text("open('was-imported', 'w')\n")
    answer = run(*arguments)
    assert answer.code in (0, 3), answer
    Path("pyproject.toml").write_text("[tool.portproof]\nports = 3\n")
    answer = run(*arguments, *(["--force"] if set(arguments) & {"--map", "--like", "--html"} else []))
    assert answer.code in (0, 3) or arguments[0] == "init", answer
    assert "pyproject" not in answer.err
    assert not Path("was-started").exists()
    assert not Path("was-imported").exists()


def test_an_interpreter_is_named_before_it_starts(project: Path, run: Run) -> None:
    with Path("pyproject.toml").open("a") as file:
        file.write(f'[tool.portproof.python]\npaddle = "{sys.executable}"\ntorch = "./odd\\u001b[2Jname"\n')
    said = f"portproof: the paddle side runs in {sys.executable}, as {project}/pyproject.toml says"
    odd = r"./odd\x1b[2Jname"
    for arguments in (("verify", "--quick"), ("account",), ("doctor", "--project"), ("map",)):
        err = run(*arguments).err
        assert said in err.splitlines()
        assert "\x1b" not in err
        assert odd.removeprefix("./") in err
    done = "".join(run("doctor", "--project").out.split())  # a long path is wrapped wherever the line ends
    assert f"paddlerunsin{sys.executable}(Python" in done
    assert "whichdoesnotstart" in done


@pytest.mark.processes
def test_it_is_named_before_and_not_after(project: Path) -> None:
    """The interpreter writes to the terminal, too: what it is called has to stand above that."""
    Path("first").write_text("#!/bin/sh\necho I ran > started\nexit 1\n")
    Path("first").chmod(0o700)
    with Path("pyproject.toml").open("a") as file:
        file.write('[tool.portproof.python]\ntorch = "./first"\n')
    reading, writing = os.pipe()
    with subprocess.Popen([*COMMAND, "verify", "--quick"], stderr=writing, stdout=subprocess.DEVNULL) as running:
        os.close(writing)
        with os.fdopen(reading) as said:
            assert said.readline().startswith("portproof: the torch side runs in ")
        running.wait(60)
    assert Path("started").exists()


@pytest.mark.parametrize(
    "text",
    ["tool = 3", "tool = [", "[tool]\nportproof = 3", "[tool.portproof]\npython = 3", "[tool.portproof]\nship = 3",
     "[tool.portproof.python]\ntorch = 3", "[tool.portproof]\nports = [3]", "[tool.portproof]\nports = [':']",
     "[tool.portproof]\nports = ['a\\u0000:b']", "[tool.portproof]\nports = ['a/b:c']",
     "[tool.portproof]\nports = ['..:c']"],
)  # fmt: skip
def test_a_project_file_that_is_none(project: Path, run: Run, text: str) -> None:
    Path("pyproject.toml").write_text(text + "\n")
    answer = run("verify")
    assert answer.code == 2, answer
    assert answer.err.count("\n") == 1
    assert "bug" not in answer.err
