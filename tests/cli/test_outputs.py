"""What a command writes to: a device, a pipe or an open file is written to; what lies about in memory is left alone."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from portproof.sides._session import scratch_folder
from tests.conftest import Run

SCHEMA = '{\n "schema_version": 1'


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which ``portproof`` is the command."""
    start = f"portproof() {{ '{sys.executable}' -P -m portproof \"$@\"; }}\n"
    return subprocess.run(["bash", "-c", start + line], capture_output=True, text=True, timeout=120)


@pytest.mark.processes
@pytest.mark.parametrize(
    "line",
    [
        "portproof doctor --json /proc/self/fd/1 | cat",
        "portproof doctor --json /dev/stdout > out; code=$?; cat out; exit $code",
        "portproof doctor --json /dev/stdout >> kept; code=$?; cat kept; exit $code",
        "portproof doctor --json /dev/fd/5 5> out; code=$?; cat out; exit $code",
        "portproof doctor --json >(cat > out) ; code=$?; sleep 0.5; cat out; exit $code",
        "ln -s /dev/stdout link; portproof doctor --json link | cat",
        "mkfifo pipe; cat pipe > out & portproof doctor --json pipe; code=$?; wait; cat out; exit $code",
    ],
)
def test_an_open_file_and_a_pipe_are_written_to(project: Path, line: str) -> None:
    Path("kept").write_text("what was there\n")
    done = shell("set -o pipefail; " + line)
    assert (done.returncode, done.stderr) == (0, "")
    assert SCHEMA in done.stdout
    if "kept" in line:
        assert done.stdout.startswith("what was there\n")
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.processes
@pytest.mark.parametrize(
    "line", ["portproof doctor --json /dev/fd/7", "portproof doctor --json /dev/fd/7 7< kept",
             "portproof doctor --json >(exec 0<&-; sleep 1)", f"portproof doctor --json {'x' * 300}"],
)  # fmt: skip
def test_what_cannot_be_written_to_is_one_line(project: Path, line: str) -> None:
    Path("kept").write_text("what was there\n")
    done = shell(line)
    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr
    assert Path("kept").read_text() == "what was there\n"


@pytest.mark.processes
def test_an_export_goes_to_the_command_s_own_output(project: Path) -> None:
    done = shell("portproof export --from torch -o >(cat > got.onnx) ; sleep 0.5")
    assert done.returncode == 0, done
    assert Path("got.onnx").stat().st_size > 300
    done = shell("portproof export --from torch -o /dev/null")
    assert done.returncode == 0, done
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_what_is_written_bit_by_bit_has_to_be_a_file(project: Path, run: Run) -> None:
    os.mkfifo("pipe")
    for target in ("pipe", "/dev/null"):
        run("faults", "-o", target).refused(2, "no file")
        run("train", "--data", "digits", "-o", target).refused(2, "takes the folder")
        run("capture", "--runner", "torch-eager", "-o", target).refused(2, target)
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_what_others_left_in_memory_is_neither_waited_for_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, device, linked, folders, own = (tmp_path / f"portproof-{name}" for name in ("a", "b", "c", "d", "own"))
    for folder in (pipe, device, folders, own):
        folder.mkdir()
    os.mkfifo(pipe / "in-use")
    (device / "in-use").symlink_to("/dev/tty")
    (folders / "in-use").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "in-use").touch()
    linked.symlink_to(tmp_path / "kept")
    (own / "in-use").touch()
    with scratch_folder(str(tmp_path)):
        assert not own.exists()
        assert all(folder.exists() for folder in (pipe, device, linked, folders, tmp_path / "kept" / "in-use"))
    own.mkdir()
    (own / "in-use").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)  # the folder is another user's, and this one may be root
    with scratch_folder(str(tmp_path)):
        assert own.exists()
