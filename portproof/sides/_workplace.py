"""What a side's process holds, and who answers the tasks that it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from portproof.frameworks._model import Model
from portproof.ports._port import Port
from portproof.runners import RunnerInfo, RunnerJob
from portproof.sides._wire import find_task, pack, unpack_arguments


def is_eager(info: RunnerInfo) -> bool:
    """Whether a runner is the framework itself."""
    return info.path == "portproof.runners._eager:Eager"


class Workplace:
    """What all tasks of one side of one port share: its job, and the models that were built for it.

    Args:
        port: with its keyword arguments filled in.
        side: ``"paddle"``, ``"torch"``, or what exported files are run or interpreted in: ``"runtime"``,
            ``"interpreter"``.
        module: path of the part that is judged, "" for all of it.
        device: ``"cpu"`` or ``"cuda"``.
        threads: compute threads of this process.

    Attributes:
        job: the side and its weights; tasks put another in its place, so nobody keeps a copy.
        runners: the framework's own, by precision.
        passed: folder of recorded taps to the job that the float64 model had when it was run on them, and what that run
            says of calls without their values; whoever needs that need not run it again.
        open: closes what was opened.
    """

    def __init__(self, port: Port, side: str, module: str = "", device: str = "cpu", threads: int = 1) -> None:
        self.job = RunnerJob(port, side, module=module, device=device, threads=threads)
        self.runners: dict[str, Any] = {}
        self.passed: dict[Path, tuple[RunnerJob, Any]] = {}
        self.open = contextlib.ExitStack()
        self._answering: dict[type, Any] = {}

    def answer(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Run a task and return its result, both as JSON has them; one object answers all tasks of a class."""
        home, task = find_task(name)
        if home not in self._answering:
            self._answering[home] = home(self)
        return pack(task(self._answering[home], **unpack_arguments(task, arguments)))

    def runner(self, precision: str) -> Any:
        """Return the framework's own runner, built once a precision."""
        if precision not in self.runners:
            from portproof.runners._eager import Eager

            runner = self.open.enter_context(Eager(replace(self.job, precision=precision)))
            self.runners[precision] = runner
        return self.runners[precision]

    def model(self, precision: str) -> Model:
        """Return the side's model in a precision."""
        model: Model = self.runner(precision).model
        return model

    def shapes(self, folder: Path) -> Any:
        """Return what the float64 model's run on recorded taps says of calls; None: not on these, with its weights."""
        job, shapes = self.passed.get(folder, (None, None))
        return shapes if job is self.job else None

    def build(self, info: RunnerInfo, precision: str, options: dict[str, Any], stack: contextlib.ExitStack) -> Any:
        """Return a runner on the weights at hand: the framework's own, which the other tasks share, or another."""
        if is_eager(info):
            return self.runner(precision)
        job = replace(
            self.job,
            side=info.side,
            precision=precision,
            artefact=options.get("artefact"),
            optimise=options.get("optimise", True),
            settings=options.get("settings") or {},
            rows=options.get("rows"),
        )
        return stack.enter_context(info.load()(job))

    def close(self) -> None:
        """Release the models."""
        self.open.close()
