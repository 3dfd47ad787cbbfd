"""Where nothing optional is installed, every command does what it can, or says in one line all that it needs."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement

from portproof._errors import EXTRAS, Unavailable, install_line, require_packages
from portproof.cli import _app
from tests.cli.test_bounds import commands
from tests.conftest import write_project
from tests.test_wheel import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BOTH, EXPORTS = ["torch", "paddle"], ["onnx", "onnxscript"]


def _closure(requirements: list[str]) -> Iterator[str]:
    """Yield the names of distributions that others need, here."""
    waiting, seen = [Requirement(text) for text in requirements], set[str]()
    while waiting:
        wanted = waiting.pop()
        if wanted.name in seen or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(wanted.name)
        try:
            found = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        yield wanted.name
        waiting += map(Requirement, found.requires or [])


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has what portproof itself needs and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (target,) = folder.glob("lib/python*/site-packages")
    for name in _closure(PROJECT["dependencies"]):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or [] if ".." not in file.parts}:
            if not (target / top).exists():
                (target / top).symlink_to(found.locate_file(top))  # type: ignore[arg-type]
    (target / "portproof_source.pth").write_text(str(ROOT))
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A port project with files for every command."""
    from safetensors.numpy import save_file

    from tests.fuzz_documents import DOCUMENTS

    folder = tmp_path_factory.mktemp("place")
    write_project(folder)
    for kind in ("bench", "costs", "capture", "report", "history"):
        (folder / kind).mkdir()
        made = DOCUMENTS[kind].encode(DOCUMENTS[kind].seeds(folder / kind)[0])
        (folder / kind / ("manifest.json" if kind == "capture" else "x.json")).write_bytes(made)
    (folder / "graph.onnx").write_bytes(DOCUMENTS["graph"].seeds(folder)[0])
    (folder / "images").mkdir()
    (folder / "images/a.jpg").write_bytes(DOCUMENTS["picture"].seeds(folder)[0])
    save_file({"w": __import__("numpy").ones((2, 3), "float32")}, folder / "w.safetensors", {"portproof.side": "torch"})
    columns = "torch,paddle,transform,torch_shape,paddle_shape,dtype"
    (folder / "map.csv").write_text(f"{columns}\nw,w,transpose,2x3,3x2,float32\n")
    return folder


#: A command, and what it says is missing: nothing where it needs nothing.
CASES: dict[str, list[str]] = {
    "verify": BOTH,
    "verify --watch": ["watchfiles"],
    "verify --report a.html --quick": [*BOTH, "jinja2"],
    "verify tiny.py:torch_model tiny.py:paddle_model --input 4,8": BOTH,
    "capture --runner torch-eager -o c": ["torch"],
    "capture --runner onnxruntime-torch -o c": ["torch", "onnxruntime", *EXPORTS],
    "compare capture capture/other": [],
    "match graph.onnx graph.onnx": ["onnx", "torch"],
    "convert w.safetensors out.pdparams --map map.csv": [],
    "convert w.safetensors other.pdparams": BOTH,
    "export --from torch -o out.onnx": ["torch", *EXPORTS],
    "export --from paddle -o out.onnx": ["paddle", *EXPORTS, "onnxoptimizer", "paddle2onnx"],
    "account": BOTH,
    "map": BOTH,
    "faults --count 2": BOTH,
    "train --data digits -o t": [*BOTH, "sklearn", "matplotlib"],
    "train --data images -o t": [*BOTH, "PIL", "matplotlib"],
    "agree --images images --report a.html": [
        "distributed", "fsspec", "scipy", "PIL", *BOTH, "onnx", "onnxruntime", "onnxscript", "onnxoptimizer",
        "paddle2onnx", "jinja2",
    ],
    "agree --images images --runners torch-eager": ["distributed", "fsspec", "scipy", "PIL", *BOTH],
    "deploy --images images -o d": ["distributed", "fsspec", "scipy", "PIL", *BOTH, "jinja2", "matplotlib"],
    "plan costs/x.json": [],
    "diff report/x.json report/whole.json": [],
    "cache": [],
    "history kept --add report/x.json --revision r": [],
    "history other --add bench/x.json --revision r": ["scipy"],
    "history history --report a.html": ["jinja2"],
    "faults --count 2 --report a.html": [*BOTH, "jinja2"],
    "bench run": ["scipy", *BOTH],
    "bench gate": ["scipy", *BOTH],
    "bench selfcheck": ["scipy", *BOTH],
    "bench recommend": ["scipy", *BOTH],
    "bench recommend bench/x.json": ["scipy"],
    "bench compare bench/x.json bench/whole.json": ["scipy"],
    "bench report bench/x.json": ["scipy", "jinja2", "matplotlib"],
    "bench validate bench/x.json": [],
    "ports": [],
    "doctor": [],
    "schema bench": [],
    "init new": [],
    "init --from-models tiny.py:torch_model tiny.py:paddle_model --input 4,8": BOTH,
    "explain floors": [],
}  # fmt: skip


#: Those that the fast suite has; a command takes a second or two.
_FEW = ("verify --report", "match", "agree --images images --report", "plan", "bench report", "bench validate")


@pytest.mark.parametrize(
    "command", [pytest.param(c, marks=() if c.startswith(_FEW) else pytest.mark.slow) for c in CASES]
)
def test_a_command_says_all_that_is_missing_in_one_line(bare: Path, place: Path, command: str) -> None:
    done = subprocess.run(
        [bare, "-m", "portproof", *command.split()], cwd=place, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert "No module named" not in said, said
    assert "Traceback" not in said, said
    if not CASES[command]:
        assert done.returncode == 0, said
        return
    assert done.returncode == 4, said
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, said
    missing, _, rest = done.stderr.removeprefix("portproof: ").partition(" not installed in this environment")
    assert set(re.findall(r"\w+", missing)) - {"is", "are"} == {*CASES[command]}
    (extras,) = re.findall(r"pip install 'portproof\[([\w,]+)\]'", rest)
    assert {package for extra in extras.split(",") for package in EXTRAS[extra]} >= {*CASES[command]}


def test_every_command_was_tried() -> None:
    known = {" ".join(name) for name, _ in commands(typer.main.get_command(_app.app))}
    assert {name for name in known if not any(case.startswith(name) for case in CASES)} == set()


def test_extras_bring_what_they_are_said_to() -> None:
    named = packages_distributions()
    for extra, packages in EXTRAS.items():
        brings = {Requirement(text).name.lower() for text in PROJECT["optional-dependencies"][extra]}
        for package in packages:
            owners = {owner.lower().replace("_", "-") for owner in named.get(package, [])}
            assert not owners or owners & brings, (extra, package)


def test_the_fewest_extras_are_named() -> None:
    assert install_line(["distributed", "scipy", "PIL"]) == "pip install 'portproof[cluster]'"
    assert install_line(["onnx"]) == "pip install 'portproof[onnx]'"
    assert install_line(["paddle2onnx", "onnx"]) == "pip install 'portproof[paddle2onnx]'"
    assert install_line(["jinja2"]) == "pip install 'portproof[report]'"
    said = r"^nowhere1, nowhere2 are not installed .*, for this: pip install nowhere1 nowhere2$"
    with pytest.raises(Unavailable, match=said):
        require_packages("this", "json", "nowhere1", "nowhere2")
