"""Shared pieces: the command line called as a person calls it, and a small port project on disk."""

import contextlib
import importlib
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from portproof.cli._app import main

ROOT = Path(__file__).parents[1]

PORT_FILE = """
from portproof import Input, Port

def torch_model(classes=3):
    from torch import nn
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, classes))

def paddle_model(classes=3):
    from paddle import nn
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, classes))

TINY = Port(name="tiny", torch="tiny:torch_model", paddle="tiny:paddle_model", inputs={"x": Input(("batch", 8))})
"""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    def refused(self, code: int, *words: str) -> None:
        """Check that it ended with one line on standard error that has these words, and nothing else."""
        assert self.code == code, self
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err, self.err


Run = Callable[..., Answer]


@contextlib.contextmanager
def as_a_new_process_has_it() -> Iterator[None]:
    """Import the project in the working directory anew, and leave the modules of this one as they were."""
    here = Path.cwd()
    names = set() if here == ROOT else {path.stem for path in here.iterdir() if path.suffix == ".py" or path.is_dir()}

    def is_project_s(module: str) -> bool:
        return module.partition(".")[0] in names or module.startswith("_portproof_file_")

    kept = {name: module for name, module in sys.modules.items() if is_project_s(name)}
    path, finders, writes = list(sys.path), list(sys.meta_path), sys.dont_write_bytecode
    for name in kept:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.dont_write_bytecode = True  # a file that is changed twice within a second would be read as it was
    try:
        yield
    finally:
        for name in [name for name in sys.modules if is_project_s(name)]:
            del sys.modules[name]
        sys.modules.update(kept)
        sys.path[:], sys.meta_path[:], sys.dont_write_bytecode = path, finders, writes


def write_project(folder: Path) -> None:
    """Write a port project with one small port."""
    (folder / "tiny.py").write_text(PORT_FILE)
    (folder / "pyproject.toml").write_text('[tool.portproof]\nports = ["tiny:TINY"]\n')


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A port project with one small port, as the working directory."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in [name for name in sys.modules if name == "tiny" or name.startswith("_portproof_file_")]:
        del sys.modules[name]
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in this process."""

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["portproof", *map(str, arguments)])
        capsys.readouterr()
        bound = resource.getrlimit(resource.RLIMIT_DATA)  # a command bounds its process's memory; this one goes on
        try:
            with as_a_new_process_has_it(), pytest.raises(SystemExit) as ended:
                main()
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, bound)
        said = capsys.readouterr()
        return Answer(int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def checkpoint(project: Path) -> Path:
    """A torch checkpoint of the small port, as safetensors."""
    rng = np.random.default_rng(3)
    shapes = {"0.weight": (8, 8), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    tensors["0.bias"][:2] = np.array([0x80000000, 0x7FC12345], np.uint32).view(np.float32)  # -0 and a NaN's payload
    save_file(tensors, project / "torch.safetensors", {"portproof.side": "torch"})
    return project / "torch.safetensors"
