"""``portproof doctor``: what is here, what truly loads, and the line that installs what is missing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from portproof._machine import cgroup_quota, host
from portproof.ports._locate import Project

#: Package, the extra that installs it, and what it is for.
_PACKAGES = (
    ("torch", "torch", "the torch side"),
    ("paddlepaddle", "paddle", "the Paddle side"),
    ("paddlepaddle-gpu", "", "the Paddle side on a GPU"),
    ("onnx", "onnx", "exports"),
    ("onnxscript", "onnx", "exports"),
    ("paddle2onnx", "paddle2onnx", "the Paddle export"),
    ("onnxruntime", "cpu", "running exports on the CPU"),
    ("onnxruntime-gpu", "gpu", "running exports on a GPU"),
    ("openvino", "openvino", "running exports in OpenVINO"),
    ("llvmlite", "bench", "measuring the processor's peak"),
    ("scipy", "bench", "comparing benchmarks"),
    ("pillow", "images", "photographs"),
    ("scikit-learn", "images", "photographs that come with it"),
)

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
    """What ``doctor`` found."""

    host: dict[str, Any]
    quota: float | None
    packages: tuple[Package, ...]
    providers: dict[str, str]
    interpreters: dict[str, str]
    project: str | None

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return {"schema_version": 1, **asdict(self)}


def examine(project: Project) -> Findings:
    """Look at this environment and the interpreters of a project, which are started."""
    packages = tuple(
        Package(name, _version(name), purpose, f"pip install 'portproof[{extra}]'" if extra else _PADDLE_GPU)
        for name, extra, purpose in _PACKAGES
    )
    interpreters = {side: _interpreter(python) for side, python in project.python.items()}
    root = str(project.root) if project.root else None
    return Findings(host(), cgroup_quota(), packages, _providers(), interpreters, root)


_PADDLE_GPU = "see paddlepaddle.org.cn"


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
