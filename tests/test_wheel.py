"""What a person has who installed the wheel: in an empty folder, with nothing of this checkout."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_docs import ROOT

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    source = folder / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    for path in subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--others", "--modified", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0"):  # fmt: skip
        if path and (ROOT / path).is_file():  # what is not committed yet
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes((ROOT / path).read_bytes())
    subprocess.run([*command, str(source)], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def tool(installed: Path, tmp_path: Path) -> Tool:
    """Run a module of the installed wheel in an empty folder."""
    environment = os.environ | {"PYTHONPATH": str(installed), "COLUMNS": "100"}

    def run(
        *arguments: str, module: str = "portproof", folder: Path = tmp_path, before: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *arguments]
        path = f"{before}{os.pathsep}{installed}" if before else str(installed)
        return subprocess.run(
            command, capture_output=True, text=True, env=environment | {"PYTHONPATH": path}, cwd=folder, check=False
        )

    where = subprocess.run(
        [sys.executable, "-c", "import portproof; print(portproof.__file__)"],
        capture_output=True, text=True, env=environment, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))
    return run


def test_the_wheel_holds_the_engine_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"portproof"}
    assert "portproof/py.typed" in names
    assert {f"portproof/render/pages/{name}" for name in ("layout.html.jinja", "style.css", "script.js")} <= {*names}
    assert "portproof/render/templates/googlenet/convert/googlenet.csv" in names
    assert not [name for name in names if "/tests/" in name or "__pycache__" in name]


@pytest.mark.slow
def test_the_tutorial_is_a_transcript(tool: Tool, tmp_path: Path) -> None:
    """A new user's port with one mistake, found and mended with nothing but what the tool says."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    files = dict(re.findall(r'```python title="(.+?)"\n(.*?)```', text, re.DOTALL))
    assert files["my_port.py"].count("\n") <= 25
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    broken, mended, tested = re.findall(r"```\n(\$ .*?)```", text, re.DOTALL)

    def played(block: str, code: int) -> str:
        command, _, expected = block.partition("\n")
        words = command.removeprefix("$ ").split()
        done = tool(*words[1:], module=words[0])
        assert done.returncode == code, done
        said = " ".join(done.stdout.split())
        for line in expected.splitlines():
            if line != "...":
                for part in re.split(r"[\d.e+]+", " ".join(line.split())):  # numbers differ from machine to machine
                    assert part.strip() in said, (line, done.stdout)
        return said

    said = played(broken, 1)
    # The message alone says what to change: module 3 is the second convolution, and Paddle's has no padding.
    assert "3 computes: " in said
    assert "padding is 1 in torch and 0 in Paddle" in said
    port = tmp_path / "my_port.py"
    port.write_text(port.read_text().replace("nn.Conv2D(16, 32, 3),", "nn.Conv2D(16, 32, 3, padding=1),"))
    played(mended, 0)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    played(tested, 0)


@pytest.mark.parametrize(
    "source", [(), pytest.param(("--from", "googlenet"), marks=pytest.mark.slow)], ids=["small", "googlenet"]
)
def test_init_writes_a_project_that_holds(tool: Tool, tmp_path: Path, source: tuple[str, ...]) -> None:
    made = tool("init", "my_port", *source)
    assert made.returncode == 0, made
    project = tmp_path / "my_port"
    folders = {path.name for path in project.iterdir() if path.is_dir()}
    assert folders == {"paddle_impl", "torch_impl", "convert", "parity_tests", "benchmarks"}
    assert tool("verify", "--quick", folder=project).returncode == 0
    if not source:
        # Who has only the wheel has no xdist.
        assert tool("-q", "--strict-markers", "-p", "no:xdist", module="pytest", folder=project).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("init", "my-port"), "need a Python name"),
        (("init", "full"), "is there already and is not empty"),
        (("init", "no/such/place"), "is no folder"),
        (("init", "fine", "--from", "resnet"), "--from takes googlenet"),
    ],
)
def test_init_refuses_and_writes_nothing(tool: Tool, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = tool(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_of_the_same_names_do_not_clash(tool: Tool, tmp_path: Path) -> None:
    """A user's own convert/ and benchmarks/ are their own."""
    for name in ("convert", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "port.py").write_text(
        "import benchmarks, convert\nassert convert.MINE and benchmarks.MINE\n"
        + (ROOT / "examples" / "one_file_port.py").read_text()
    )
    assert tool("verify", "port.py", "--quick").returncode == 0


@pytest.mark.parametrize("missing", [pytest.param("paddle", marks=pytest.mark.slow), "torch"])
def test_an_environment_with_one_framework_runs_what_it_can(tool: Tool, tmp_path: Path, missing: str) -> None:
    """The other framework is hidden from every process, as in an environment that never had it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        f"hidden = lambda name: name.partition('.')[0] == '{missing}'\n"
        "importlib.util.find_spec = lambda name, *rest: None if hidden(name) else find(name, *rest)\n"
        f"class Hidden:\n    def find_spec(self, name, *rest):\n        if name.partition('.')[0] == '{missing}':\n"
        f"            raise ModuleNotFoundError(\"No module named '{missing}'\", name='{missing}')\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    (tmp_path / "port.py").write_text((ROOT / "examples" / "one_file_port.py").read_text())
    here = "torch" if missing == "paddle" else "paddle"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return tool(*arguments, before=str(tmp_path))

    refused = run("verify", "port.py", "--quick")
    assert refused.returncode == 4, refused
    assert f"{missing} is not installed" in refused.stderr
    assert f"pip install 'portproof[{missing}]'" in refused.stderr
    runner = {"torch": "torch-eager", "paddle": "paddle-dygraph"}[here]
    assert run("capture", "port.py", "--runner", runner, "-o", "kept").returncode == 0
    alone = (tmp_path / "port.py").read_text().replace(f"    {missing}={missing}_model,\n", "")
    (tmp_path / "alone.py").write_text(alone)
    assert run("verify", "alone.py", "--quick").returncode == 0
    assert run("doctor").returncode == 0
