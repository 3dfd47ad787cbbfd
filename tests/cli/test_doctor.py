"""What ``doctor`` says of an environment: every package that may be needed, and builds that do not fit."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from portproof.cli import _doctor
from portproof.cli._doctor import build_of
from tests.conftest import ROOT, Run

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def test_every_package_that_an_extra_can_need_is_looked_for() -> None:
    needed = {Requirement(text).name.lower() for listed in EXTRAS.values() for text in listed} - {"portproof"}
    looked = {name for name, _, _ in _doctor._PACKAGES} | {n for names in _doctor._DEVELOPING.values() for n in names}
    assert {name.lower() for name in looked} == needed | {"paddlepaddle-gpu"}
    for name, extra, _ in _doctor._PACKAGES:
        if extra and name != "torchvision":
            assert name in {Requirement(text).name for text in EXTRAS[extra]}, name
    for extra, names in _doctor._DEVELOPING.items():
        assert set(names) <= {Requirement(text).name for text in EXTRAS[extra]}


def _package(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "__init__.py").write_text("raise ImportError('operator torchvision::nms does not exist')\n")
    (folder / name / "version.py").write_text(text)


CPU, CUDA = "__version__ = '{}+cpu'\ncuda: Optional[str] = None\n", "__version__ = '{}+cu130'\ncuda = '13.0'\n"


@pytest.mark.parametrize(
    ("torch", "vision", "words"),
    [
        (CPU, CUDA, "built for CUDA 13.0 and torch for the CPU, .* 'torchvision==[0-9.]+\\+cpu'"),
        (CUDA, CPU, "built for the CPU and torch for CUDA 13.0, .* torchvision==[0-9.]+$"),
        (CPU, CPU, ""),
        (CUDA, CUDA, ""),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\n", "__version__ = '0.28.0+cpu'\n", "CUDA 12.8"),
        ("__version__ = '2.13.0'\n", CPU, ""),
    ],
)
def test_a_torchvision_built_for_another_torch_is_said_with_the_line_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: str, vision: str, words: str
) -> None:
    """Neither is imported: what does not fit cannot be."""
    _package(tmp_path, "torch", torch.format("2.13.0"))
    _package(tmp_path, "torchvision", vision.format("0.28.0"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("torch", "torchvision"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    said = " ".join(_doctor._mismatches())
    assert re.search(words, said) if words else said == "", said


def test_what_says_nothing_of_its_build_is_no_mismatch() -> None:
    assert build_of("json") is None
    assert build_of("nowhere_at_all") is None


def test_doctor_says_what_is_here_and_what_developing_needs(run: Run) -> None:
    answer = run("doctor")
    assert answer.code == 0
    assert re.search(r"^torchvision +\d", answer.out, re.MULTILINE)
    assert re.search(r"^for working on portproof: pytest \d", answer.out, re.MULTILINE)
    assert max(map(len, answer.out.splitlines())) <= 100
