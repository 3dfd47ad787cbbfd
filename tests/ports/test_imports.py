"""A folder from elsewhere: what it can make a command import, and what it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from portproof import BadInput
from portproof.ports._locate import TRUST_VARIABLE, find_project

EVIL = "import pathlib\npathlib.Path('ran').write_text('x')\nraise SystemExit(99)\n"
PORT = """
from portproof import Input, Port
from models import Paddle, Torch

PORT = Port("mine", Paddle, Torch, {"x": Input(("batch", 4))})
"""
MODELS = """
def Torch():
    import torch
    return torch.nn.Linear(4, 2)

def Paddle():
    import paddle
    return paddle.nn.Linear(4, 2)
"""


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process, in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "portproof", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | variables,
    )  # fmt: skip


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """A folder with modules of the names of those that everybody imports."""
    for name in ("numpy", "torch", "paddle", "json", "typer", "rich", "safetensors"):
        (tmp_path / f"{name}.py").write_text(EVIL)
    return tmp_path


def test_no_command_runs_a_module_of_the_folder_that_it_is_started_in(downloaded: Path) -> None:
    for arguments in (["doctor", "--json", "-"], ["ports"], ["verify", "nothing"]):
        done = run(downloaded, *arguments)
        assert done.returncode != 99, done.stderr
    assert not (downloaded / "ran").exists()
    assert json.loads(run(downloaded, "doctor", "--json", "-").stdout)


def test_a_port_s_own_modules_come_first_and_the_rest_of_its_folder_last(downloaded: Path) -> None:
    (downloaded / "models.py").write_text(MODELS)
    (downloaded / "my_port.py").write_text(PORT)
    done = run(downloaded, "verify", "./my_port.py:PORT", "--quick", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (downloaded / "ran").exists()


def test_a_module_that_is_named_wins_over_one_that_is_installed(tmp_path: Path) -> None:
    installed = tmp_path / "site"
    installed.mkdir()
    (installed / "models.py").write_text("def Torch(): ...\n")  # some package that ships a common name
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "models.py").write_text(MODELS)
    (folder / "my_port.py").write_text(PORT)
    path = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"), str(Path.cwd()))))
    done = run(folder, "verify", "./my_port.py:PORT", "--quick", "--quiet", PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_a_project_names_modules_of_the_project_s_folder(tmp_path: Path) -> None:
    """As in a clone of this project beside an installed one: both have a ``torch_impl``."""
    installed = tmp_path / "site"
    for folder in (installed, tmp_path / "mine"):
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "__init__.py").write_text("")
    (installed / "models" / "net.py").write_text("def Torch(): ...\n")
    (tmp_path / "mine" / "models" / "net.py").write_text(MODELS)
    (tmp_path / "mine" / "ports").mkdir()
    (tmp_path / "mine" / "pyproject.toml").write_text('[tool.portproof]\nports = ["ports.my_port:PORT"]\n')
    named = PORT.replace("from models import Paddle, Torch\n", "").replace(
        "Paddle, Torch,", '"models.net:Paddle", "models.net:Torch",'
    )
    (tmp_path / "mine" / "ports" / "my_port.py").write_text(named)
    path = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"), str(Path.cwd()))))
    for port in ("ports/my_port.py", "mine"):
        done = run(tmp_path / "mine", "verify", port, "--quick", "--quiet", PYTHONPATH=path)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_user_s_project_is_refused_until_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[tool.portproof]\nports = ["tiny:TINY"]\n')
    assert find_project(tmp_path).ports == ("tiny:TINY",)
    os.chown(file, 12345, -1)
    with pytest.raises(BadInput, match=rf"belongs to another user \(id 12345\).*export {TRUST_VARIABLE}={tmp_path}"):
        find_project(tmp_path / "below" / "it")
    monkeypatch.setenv(TRUST_VARIABLE, str(tmp_path))
    assert find_project(tmp_path).ports == ("tiny:TINY",)
    file.write_text("[tool.other]\n")  # no business of ours
    monkeypatch.delenv(TRUST_VARIABLE)
    assert find_project(tmp_path).ports == ()
