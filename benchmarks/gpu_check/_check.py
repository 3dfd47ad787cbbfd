"""The second half: the steps one after the other, parity side by side, and what they found kept after each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.gpu_check._bundle import unpack
from benchmarks.gpu_check._page import markdown
from benchmarks.gpu_check._rows import Findings, Row, Step
from benchmarks.gpu_check._steps import STEPS
from portproof._disk import write_text
from portproof._machine import host, package_versions, thread_budget
from portproof.frameworks import load_framework

Watch = Callable[[str], None]

#: The seconds that each step may take on a GPU, at most. Together they are more than the whole may take: the last ones
#: get what is left.
LIMITS = {
    "doctor": 40.0, "parity, torch": 90.0, "parity, compiled": 130.0, "parity, other ports": 110.0,
    "parity, ONNX Runtime": 110.0, "misconfigured, provider": 30.0, "misconfigured": 60.0, "against itself": 75.0,
    "latency": 300.0, "latency, lower precision": 200.0,
}  # fmt: skip
#: Steps that time nothing run side by side.
_SIDE_BY_SIDE = tuple(name for name in STEPS if name.startswith("parity"))
_PACKAGES = ("torch", "triton", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "nvidia-ml-py")


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        bundle: file of the first half.
        device: ``cuda`` or ``cpu``.
        out: folder of ``gpu-check.json`` and ``gpu-check.md``.
        budget_s: for all steps together.
        steps: names; all of them by default.
    """

    bundle: Path
    device: str
    out: Path
    budget_s: float
    steps: tuple[str, ...] = tuple(STEPS)


class Check:
    """A run of the second half.

    Args:
        plan: what to run.
        watch: told what begins and what ended.
    """

    def __init__(self, plan: Plan, watch: Watch) -> None:
        self._plan, self._watch = plan, watch
        self._begun = time.perf_counter()
        self._lock = threading.Lock()
        environment = {**host(), "packages": package_versions(*_PACKAGES)}
        self._findings = Findings(plan.device, environment, {})

    def run(self) -> Findings:
        """Run every step.

        Raises:
            Unavailable: the device is not there; nothing has been written.
            BadInput: the bundle is none.
        """
        plan = self._plan
        load_framework("torch").use_device(plan.device)
        with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
            folder = Path(scratch)
            self._watch("unpacking the bundle")
            manifest = unpack(plan.bundle, folder)
            self._findings.bundle = manifest["environment"]
            plan.out.mkdir(parents=True, exist_ok=True)
            together = [name for name in plan.steps if name in _SIDE_BY_SIDE]
            self._step("doctor", folder)
            with ThreadPoolExecutor(min(3, max(1, thread_budget() // 2))) as pool:
                list(pool.map(lambda name: self._step(name, folder), together))
            for name in plan.steps:
                if name not in (*together, "doctor"):
                    self._step(name, folder)
        self._keep()
        return self._findings

    def _step(self, name: str, folder: Path) -> None:
        """Run one step in a process of its own; whatever becomes of it, the others go on."""
        if name not in self._plan.steps:
            return
        left = self._plan.budget_s - (time.perf_counter() - self._begun)
        limit = min(LIMITS[name], left)
        if limit < 5:
            self._ended(Step(name, "left out", 0.0, limit, "no time was left"))
            return
        self._watch(name)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.gpu_check._steps", name, str(folder), self._plan.device]
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            # It is told a little less than it has, so that it can end by itself.
            command.append(str(0.9 * limit))
            with subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True, env=_environment(),
            ) as process:  # fmt: skip
                late = threading.Timer(limit, _end, [process.pid])
                late.start()
                assert process.stdout is not None
                try:
                    for line in process.stdout:
                        self._told(line)
                    code = process.wait()
                finally:
                    was_late = not late.is_alive()
                    late.cancel()
                    _end(process.pid)
            seconds = time.perf_counter() - begun
            if code == 0:
                self._ended(Step(name, "done", seconds, limit))
            elif was_late:
                self._ended(Step(name, "cut off", seconds, limit, f"it took more than {limit:.0f} s"))
            else:
                self._ended(Step(name, "failed", seconds, limit, _last_line(log, code)))

    def _told(self, line: str) -> None:
        if not line.endswith("\n"):
            return  # it was ended while it wrote
        told: dict[str, Any] = json.loads(line)
        with self._lock:
            if "row" in told:
                self._findings.rows.append(Row(**told["row"]))
            else:
                self._findings.documents[told["document"]] = told["value"]
            self._keep()

    def _ended(self, step: Step) -> None:
        with self._lock:
            self._findings.steps.append(step)
            self._keep()
        self._watch(f"{step.name}: {step.state} in {step.seconds:.0f} s{f': {step.note}' if step.note else ''}")

    def _keep(self) -> None:
        self._findings.seconds = round(time.perf_counter() - self._begun, 1)
        out = self._plan.out
        write_text(out / "gpu-check.json", json.dumps(self._findings.to_json(), indent=1))
        write_text(out / "gpu-check.md", markdown(self._findings))


def _environment() -> dict[str, str]:
    """Return the environment of a step. The processes that it starts import nothing of the working directory, and
    on a bare machine this checkout is not installed."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _end(group: int) -> None:
    """End a step with all processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _last_line(log: IO[str], code: int) -> str:
    log.seek(0)
    said = [line.strip() for line in log.read().splitlines() if line.strip()]
    return said[-1][:300] if said else f"it ended with exit code {code}"
