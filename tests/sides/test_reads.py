"""What a process reads, heard in a process of its own; and that a change of any of it is seen."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from portproof.sides import _reads
from portproof.sides._kept import Digests
from portproof.sides._reads import FILE, TICK_NS, Read, look, read_of

MODEL = """
import json, os
import helper
from pathlib import Path
from safetensors.numpy import load_file

FOLDER = Path(__file__).parent
settings = json.loads((FOLDER / "settings.json").read_text())
weights = load_file(FOLDER / "weights.safetensors")
more = (FOLDER / "local.json").exists()
shards = sorted(os.listdir(FOLDER / "shards"))
"""
LISTENER = """
import json, sys
import safetensors
from portproof.sides._reads import Reading
reading = Reading()
sys.path.append({folder!r})
{code}
print(json.dumps(reading.report()))
"""
Listen = Callable[..., tuple[list[Read], str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with all that it reads."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "helper.py").write_text("WIDTH = 8\n")
    (tmp_path / "settings.json").write_text("{}")
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "weights.safetensors")
    (tmp_path / "shards").mkdir()
    (tmp_path / "site-packages" / "thing-1.0.dist-info").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def listen(folder: Path) -> Listen:
    """Run code in a process that is followed; return what it read, and why nothing may be kept."""

    def run(code: str = "import model", *, at_once: bool = False) -> tuple[list[Read], str]:
        if not at_once:
            time.sleep(2 * TICK_NS / 1e9)
        script = LISTENER.format(folder=str(folder), code=textwrap.dedent(code))
        path = [os.environ.get("PYTHONPATH", ""), str(folder / "site-packages")]
        done = subprocess.run(
            [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONDONTWRITEBYTECODE": ""},
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        return [read_of(read) for read in found["reads"]], found["why_not"]

    return run


CHANGES: dict[str, Callable[[Path], object]] = {
    "the model's code": lambda folder: (folder / "model.py").write_text(MODEL + "\n"),
    "a helper that it imports": lambda folder: (folder / "helper.py").write_text("WIDTH = 9\n"),
    "its configuration": lambda folder: (folder / "settings.json").write_text("[]"),
    "its weights": lambda folder: save_file({"a": np.ones(3, np.float32)}, folder / "weights.safetensors"),
    "a file that it looked for": lambda folder: (folder / "local.json").write_text("{}"),
    "a folder that it listed": lambda folder: (folder / "shards" / "0").write_text(""),
    "a module before another's place": lambda folder: (folder / "json.py").write_text(""),
    "a version": lambda folder: (folder / "site-packages/thing-1.0.dist-info").rename(
        folder / "site-packages/thing-1.1.dist-info"
    ),
    "an installation of the same version": lambda folder: os.utime(
        folder / "site-packages/thing-1.0.dist-info", (1, 1)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_is_read_is_seen(folder: Path, listen: Listen, change: str) -> None:
    reads, why_not = listen()
    assert why_not == ""
    assert Digests().hold(reads)
    CHANGES[change](folder)
    assert not Digests().hold(reads)


def test_content_counts_and_not_the_time_of_a_file_nor_what_else_comes(folder: Path, listen: Listen) -> None:
    reads, _ = listen()
    (folder / "report.html").write_text("")
    os.utime(folder / "helper.py", (1, 1))
    assert Digests().hold(reads)


def test_a_large_file_is_known_by_its_signature(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reads, "_LARGE", 4)
    before = look(FILE, str(folder / "helper.py"))
    assert look(FILE, str(folder / "helper.py")) == before
    os.utime(folder / "helper.py", (1, 1))
    assert look(FILE, str(folder / "helper.py")).digest != before.digest


def test_what_the_process_writes_itself_is_its_own(listen: Listen, folder: Path) -> None:
    made = "import tempfile; f = tempfile.NamedTemporaryFile('w+', prefix='its-own-')"
    reads, why_not = listen(f"{made}; f.write('x'); f.flush(); open(f.name).read()")
    assert why_not == ""
    assert not [read for read in reads if "its-own-" in read.path]
    (folder / "there").mkdir()
    (folder / "there" / "x").write_text("1")
    reads, _ = listen("import os; os.makedirs('there', exist_ok=True); open('there/x').read()")
    assert str(folder / "there" / "x") in {read.path for read in reads}


def test_nothing_is_kept_of_what_asks_others_or_was_just_written(listen: Listen, folder: Path) -> None:
    _, why_not = listen("import subprocess; subprocess.run(['true'])")
    assert "another process" in why_not
    _, why_not = listen("import socket; socket.getaddrinfo('localhost', 80)")
    assert "another process or machine" in why_not
    _, why_not = listen("open('new', 'a').close(); import os; os.utime('settings.json'); open('settings.json').read()")
    assert "just now" in why_not


def test_a_source_that_changed_twice_in_a_second_is_not_trusted(listen: Listen, folder: Path) -> None:
    helper = folder / "helper.py"
    listen()  # compiles it
    seconds = helper.stat().st_mtime_ns // 10**9
    helper.write_text("WIDTH = 7\n")
    os.utime(helper, ns=(seconds * 10**9 + 999_000_000,) * 2)  # Python takes what it compiled before
    compiled = next((folder / "__pycache__").glob("helper.*"))
    os.utime(compiled, ns=(seconds * 10**9,) * 2)
    _, why_not = listen()
    assert "changed twice in a second" in why_not
