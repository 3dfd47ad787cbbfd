"""``verify --watch``: what a person sees who saves a file, and what is left when they leave."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminals import Terminal
from tests.conftest import ROOT, Run

TORCH = """from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 3)
        self.act = nn.ReLU()

    def forward(self, x):
        x = self.act(self.one(x))
        return self.two(x)
"""
PADDLE = TORCH.replace("from torch", "from paddle").replace("nn.Module", "nn.Layer")
PORT = """from portproof import Input, Port

PORT = Port(name="small", torch="in_torch:Net", paddle="in_paddle:Net", inputs={"x": Input(("batch", 8))})
"""
#: What stands last on the screen when nothing is being done.
READY = "r again .* q quit"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A port whose two models are files of their own, and a place for what is temporary."""
    (tmp_path / "port").mkdir()
    (tmp_path / "scratch").mkdir()
    for name, text in {"in_torch": TORCH, "in_paddle": PADDLE, "port": PORT}.items():
        (tmp_path / "port" / f"{name}.py").write_text(text)
    return tmp_path / "port"


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    """A terminal in which the port is watched."""
    variables = {"TMPDIR": str(folder.parent / "scratch"), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with Terminal(folder, "verify", "port.py", "--watch", variables=variables) as opened:
        yield opened


def nothing_is_left(terminal: Terminal, folder: Path) -> None:
    """Check that what was watched has ended with all its processes, folders and modes of the terminal."""
    assert terminal.modes_now() == terminal.modes
    end = time.monotonic() + 10
    while terminal.processes() and time.monotonic() < end:
        time.sleep(0.05)
    assert terminal.processes() == []
    assert list((folder.parent / "scratch").glob("portproof-*")) == []
    assert {path.name for path in folder.iterdir()} == {"in_torch.py", "in_paddle.py", "port.py"}


@pytest.mark.processes
def test_a_save_is_judged_and_a_mended_fault_is_said(folder: Path, terminal: Terminal) -> None:
    assert "verdict: equivalent" in terminal.shows(READY)
    (folder / "in_paddle.py").write_text(PADDLE.replace("ReLU", "GELU"))
    seen = terminal.shows(READY)
    assert "in_paddle.py saved" in seen
    assert re.search(r"in_paddle\.py:11 .*verdict: divergent act broken; equivalent before; one culprit", seen)

    (folder / "in_paddle.py").write_text(PADDLE.replace("ReLU()", "GELU("))
    assert re.search(r"SyntaxError at line 8.*the last verdict was divergent", terminal.shows(READY))
    (folder / "in_paddle.py").write_text(PADDLE)
    assert "verdict: equivalent act mended; divergent before; no culprit left" in terminal.shows(READY)
    (folder / "in_torch.py").write_text(TORCH)  # what is the same is not judged
    (folder / "in_torch.py").touch()
    assert terminal.draws_nothing(1.5)

    terminal.press("q")
    assert terminal.ends() == 0
    nothing_is_left(terminal, folder)


@pytest.mark.slow
@pytest.mark.processes
def test_keys_and_a_resize_draw_anew(folder: Path, terminal: Terminal) -> None:
    terminal.shows(READY)
    terminal.press("r")
    assert "port small, again" in terminal.shows(READY)
    terminal.resize(60)
    assert "port small, again" in terminal.shows(READY)
    terminal.press("o")
    terminal.shows("the page is .*" + READY)
    (page,) = (folder.parent / "scratch").glob("*/report.html")
    assert "small" in page.read_text()
    terminal.resize(110)
    terminal.shows(READY)
    terminal.press("f")
    seen = terminal.shows(READY)
    assert "the full chain" in seen
    assert "ONNX" in seen
    terminal.press("q")
    assert terminal.ends() == 0
    nothing_is_left(terminal, folder)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("when", ["judging", "waiting"])
def test_ctrl_c_ends_it_and_leaves_nothing(folder: Path, terminal: Terminal, when: str) -> None:
    terminal.shows("at first: judging, 1" if when == "judging" else READY)
    terminal.press("\x03")
    assert terminal.ends() == 128 + signal.SIGINT
    nothing_is_left(terminal, folder)


@pytest.mark.slow
@pytest.mark.processes
def test_a_save_in_the_middle_is_what_is_judged(folder: Path, terminal: Terminal) -> None:
    terminal.shows(READY)
    for _ in range(3):
        (folder / "in_torch.py").write_text(TORCH.replace("ReLU", "Tanh"))
        terminal.shows("in_torch.py saved: judging")
        (folder / "in_torch.py").write_text(TORCH.replace("ReLU", "GELU"))
        seen = terminal.shows("relu where torch has gelu.*" + READY)
        assert "verdict: divergent" in seen
        (folder / "in_torch.py").write_text(TORCH)
        terminal.shows("verdict: equivalent.*" + READY)


@pytest.mark.slow
@pytest.mark.processes
def test_a_module_that_an_import_missed_is_seen_when_it_is_there(folder: Path, terminal: Terminal) -> None:
    terminal.shows(READY)
    (folder / "in_paddle.py").write_text("from parts import Net\n")
    assert "No module named 'parts'" in terminal.shows(READY)
    (folder / "parts.py").write_text(PADDLE.replace("ReLU", "Sigmoid"))
    assert "sigmoid where torch has relu" in terminal.shows(READY)
    (folder / "parts.py").write_text(PADDLE)
    assert "act mended" in terminal.shows(READY)


@pytest.mark.slow
@pytest.mark.processes
def test_it_goes_on_where_a_process_is_killed(folder: Path, terminal: Terminal) -> None:
    terminal.shows(READY)
    for process in terminal.processes():
        if process != terminal.process.pid:
            os.kill(process, signal.SIGKILL)
    (folder / "in_torch.py").write_text(TORCH.replace("ReLU", "Tanh"))
    assert "relu where torch has tanh" in terminal.shows("verdict: divergent.*" + READY)


#: One line changed, on either side: which, and what in place of what.
EDITS = [
    ("nn.ReLU()", "nn.GELU()"), ("nn.ReLU()", "nn.Tanh()"), ("nn.ReLU()", "nn.ReLU6()"), ("nn.ReLU()", "nn.Sigmoid()"),
    ("return self.two(x)", "return self.two(x) * 2"), ("return self.two(x)", "return self.two(x + 1e-6)"),
    ("return self.two(x)", "return self.two(-x)"), ("self.act(self.one(x))", "self.one(self.act(x))"),
    ("self.act(self.one(x))", "self.one(x)"), ("nn.Linear(8, 3)", "nn.Linear(8, 4)"),
    ("nn.Linear(8, 8)", "nn.Linear(8, 9)"), ("return self.two(x)", "return self.two(y)"), ("x = ", "x == "),
    ("self.two = ", "self.to = "), ("return", "retrun"), ("", ""),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.processes
def test_twenty_edits_in_a_row_are_judged_as_they_are_cold(folder: Path, terminal: Terminal) -> None:
    terminal.shows(READY)
    chosen = random.Random(26)
    before = ""
    for _ in range(20):
        name, text = chosen.choice([("in_torch", TORCH), ("in_paddle", PADDLE)])
        edited = text.replace(*chosen.choice(EDITS))
        other = {"in_torch": ("in_paddle", PADDLE), "in_paddle": ("in_torch", TORCH)}[name]
        state = f"{name}: {edited}"
        (folder / f"{other[0]}.py").write_text(other[1])
        (folder / f"{name}.py").write_text(edited)
        if state != before:
            seen = terminal.shows(READY)
            while re.search("saved: judging", terminal._text):
                seen = terminal.shows(READY)
        before = state
        cold = subprocess.run(
            [sys.executable, "-P", "-m", "portproof", "verify", "port.py", "--quick", "--json", "-"],
            cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        if cold.stdout:
            report = json.loads(cold.stdout)
            assert f"verdict: {report['verdict']}" in seen, edited
            for culprit in report["culprits"]:
                assert culprit["module"] in seen
        else:
            told = " ".join(cold.stderr.removeprefix("portproof: ").split())
            assert told in seen, edited


def test_without_a_terminal_it_is_refused(project: Path, run: Run) -> None:
    run("verify", "tiny", "--watch").refused(2, "terminal", "leave it out")
    run("verify", "tiny", "--watch", "--json", "-").refused(2, "--json")
