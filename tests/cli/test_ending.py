"""How a command ends: exit 1 says "does not hold" and nothing else, and what ends it from outside leaves nothing."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from portproof.cli import _app
from tests.cli.test_bounds import commands
from tests.conftest import Run

COMMAND = [sys.executable, "-P", "-m", "portproof"]
#: Each is what some library, or the interpreter, takes for an order to end with 0 or 1.
UNFORESEEN = (KeyError("x"), EOFError(), BrokenPipeError(32, "Broken pipe"), SystemExit(1), SystemExit(0),
              RecursionError(), StopIteration(), typer.Abort(), AssertionError("\x1b]52;c;aGk=\x07"))  # fmt: skip


def test_an_unexpected_exception_is_70_in_every_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    group = typer.main.get_command(_app.app)
    monkeypatch.setattr(typer.main, "get_command", lambda _: group)
    tried = 0
    for path, command in commands(group):
        monkeypatch.setattr(command, "params", [])
        for error in UNFORESEEN if path == ("ports",) else UNFORESEEN[:1]:

            def raising(error: BaseException = error) -> None:
                raise error

            monkeypatch.setattr(command, "callback", raising)
            answer = run(*path)
            assert answer.code == 70, (path, error, answer)
            assert "a bug in portproof" in answer.err.splitlines()[-1]
            assert type(error).__name__ in answer.err.splitlines()[-1]
            assert "issue" in answer.err.splitlines()[-1]
            assert "\x1b" not in answer.err
            tried += 1
    assert tried > 20 + len(UNFORESEEN)


@pytest.mark.parametrize("command", [["plan"], ["bench", "validate"], ["convert", "a.npz"], ["verify"], ["init"]])
def test_a_name_that_no_file_can_have_is_no_bug(project: Path, run: Run, command: list[str]) -> None:
    run(*command, f"{'x' * 300}.py").refused(2, "xxx")


def as_anybody() -> None:
    """Give away what lets root read files that are closed to it (PR_CAPBSET_DROP of prctl)."""
    if os.geteuid() == 0:
        for right in (1, 2):
            ctypes.CDLL(None).prctl(24, right)


@pytest.mark.processes
def test_a_file_that_cannot_be_read_is_no_bug(project: Path) -> None:
    for name in ("a.json", "a.safetensors", "a.onnx", "a.jpg", "map.csv"):
        Path(name).write_bytes(b"x")
        Path(name).chmod(0)
    Path("closed").mkdir(0)
    for command in (["plan", "a.json"], ["bench", "validate", "a.json"], ["match", "a.onnx", "a.onnx"],
                    ["convert", "a.safetensors", "out.npz", "--map", "map.csv"], ["compare", "closed", "closed"],
                    ["schema", "doctor"]):  # fmt: skip
        done = subprocess.run([*COMMAND, *command], capture_output=True, text=True, preexec_fn=as_anybody)
        if command[0] == "schema":
            assert done.returncode == 0, done
        else:
            assert done.returncode == 2, (command, done)
            assert "Traceback" not in done.stderr


def test_a_port_that_leaves_by_itself_is_bad_input(project: Path, run: Run) -> None:
    for code in ("0", "1", "'bye'"):
        Path("leaves.py").write_text(f"import sys\nsys.exit({code})\n")
        run("verify", "leaves.py:A").refused(2, "leaves.py", "SystemExit")
        run("verify", "leaves:A").refused(2, "leaves", "SystemExit")


def piped(arguments: Sequence[str], **more: Any) -> tuple[int, str]:
    """Run a command whose standard output nobody reads; returns its exit code and what it said."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run([*COMMAND, *arguments], stdout=nobody, stderr=subprocess.PIPE, text=True, **more)
    return done.returncode, done.stderr


@pytest.mark.processes
def test_a_pipe_that_nobody_reads_is_141_or_the_verdict_where_a_file_has_it(project: Path) -> None:
    assert piped(["ports"]) == (141, "")
    assert piped(["schema", "doctor"]) == (141, "")
    assert piped(["doctor", "--json", "-"]) == (141, "")
    assert piped(["doctor", "--json", "found.json"]) == (0, "")
    assert Path("found.json").read_text().startswith("{")
    assert piped(["no-such-command"])[0] == 2


@pytest.mark.processes
def test_standard_output_that_is_closed_or_full(project: Path) -> None:
    def closed(*arguments: str, streams: str = ">&-") -> subprocess.CompletedProcess[str]:
        line = f'exec "$@" {streams}'
        return subprocess.run(["bash", "-c", line, "bash", *COMMAND, *arguments], stderr=subprocess.PIPE, text=True)

    done = closed("ports")
    assert (done.returncode, done.stderr) == (0, "")
    assert closed("ports", streams="<&- >&- 2>&-").returncode == 0
    done = closed("ports", streams=">/dev/full")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


def _heeding() -> None:
    """Heed signals that a shell in the background, or nohup, lets its children ignore; those are ignored rightly."""
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sent, signal.SIG_DFL)


@pytest.mark.processes
@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_command_from_outside_leaves_nothing(
    project: Path, sent: signal.Signals, send: Callable[[int, int], None]
) -> None:
    """A model that never is built keeps the command, its side's process and its folder waiting."""
    Path("tiny.py").write_text(Path("tiny.py").read_text().replace("from torch import nn", "while True: pass"))
    scratch = project / "scratch"
    scratch.mkdir()
    before = children_of(os.getpid())
    with subprocess.Popen(
        [*COMMAND, "verify", "--quick", "--json", "out.json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "TMPDIR": str(scratch)}, start_new_session=True, preexec_fn=_heeding,
    ) as running:  # fmt: skip
        try:
            wait_for(lambda: children_of(running.pid) and list(scratch.glob("portproof-*/in-use")))
            below = children_of(running.pid)
            send(running.pid, sent)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert (running.returncode, out) == (128 + sent, "")
    assert err == "portproof: interrupted\n"
    assert list(scratch.iterdir()) == []
    assert not Path("out.json").exists()
    wait_for(lambda: not [child for child in below if Path(f"/proc/{child}").exists()])
    assert children_of(os.getpid()) == before


@pytest.mark.processes
def test_what_an_interruption_leaves_half_made_prints_nothing() -> None:
    code = """
import os, signal, sys
from portproof.cli._ending import end_well

class Half:
    def __del__(self):
        raise AttributeError("half made")

def command():
    half = Half()
    os.kill(os.getpid(), signal.SIGINT)

sys.exit(end_well(command))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "portproof: interrupted\n")


def test_a_side_s_process_leaves_it_to_its_parent_what_a_signal_means() -> None:
    """`timeout` and a closing terminal signal all processes at once; a training keeps what it has learned first."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "portproof.sides._worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for sent in (None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if sent is not None:
                worker.send_signal(sent)
            worker.stdin.write('{"task": "nothing", "arguments": {}}\n')
            worker.stdin.flush()
            assert "error" in worker.stdout.readline()
        worker.stdin.close()
        assert worker.wait(60) == 0


@pytest.mark.processes
def test_what_nohup_starts_outlives_the_terminal(project: Path) -> None:
    line = "trap '' HUP; exec \"$@\""
    code = """
import os, signal
from portproof.cli import _app
def doctor(): os.kill(os.getpid(), signal.SIGHUP)
next(c for c in _app.app.registered_commands if c.name == "doctor").callback = doctor
_app.main()
"""
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-c", code, "doctor"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def children_of(process: int) -> list[int]:
    """Return the processes below one."""
    return [int(child) for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()]  # fmt: skip


def wait_for(what: Any) -> None:
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < 60
        time.sleep(0.05)
