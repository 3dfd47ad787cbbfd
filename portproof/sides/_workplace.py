"""What a side's process holds, and who answers the tasks that it is given."""

from __future__ import annotations

import contextlib
import importlib
import operator
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from portproof.frameworks._model import Model
from portproof.ports._port import Port
from portproof.runners import RunnerInfo, RunnerJob

#: What stands before a task's first dot, and who answers it: imported where it is first asked for, because a side's
#: process needs little of all that it could do, and because what is below imports nothing from above.
_ANSWERS = {
    "": "portproof.sides._tasks:Tasks",
    "agree": "portproof.agree._tasks:AgreeTasks",
    "bench": "portproof.bench._tasks:BenchTasks",
    "faults": "portproof.faults._tasks:FaultTasks",
    "gradients": "portproof.lockstep._gradient_tasks:GradientTasks",
    "graphs": "portproof.graphs._tasks:GraphTasks",
    "replay": "portproof.replay._tasks:ReplayTasks",
    "training": "portproof.training._tasks:TrainingTasks",
    "trajectory": "portproof.lockstep._trajectory_tasks:TrajectoryTasks",
}


class Workplace:
    """What all tasks of one side of one port share: its job, and the models that were built for it.

    Args:
        port: with its keyword arguments filled in.
        side: ``"paddle"``, ``"torch"``, or ``"runtime"`` for runners of exported files.
        module: path of the part that is judged, "" for all of it.
        device: ``"cpu"`` or ``"cuda"``.
        threads: compute threads of this process.

    Attributes:
        job: the side and its weights; tasks put another in its place, so nobody keeps a copy.
        runners: the framework's own, by precision.
        open: closes what was opened.
        rounded: see :meth:`Tasks.rounded`.
    """

    def __init__(self, port: Port, side: str, module: str = "", device: str = "cpu", threads: int = 1) -> None:
        self.job = RunnerJob(port, side, module=module, device=device, threads=threads)
        self.runners: dict[str, Any] = {}
        self.open = contextlib.ExitStack()
        self.rounded: dict[str, int] = {}
        self._answering: dict[str, Any] = {}

    def answer(self, task: str) -> Callable[..., Any]:
        """Return what answers a task: ``"load"``, which every side can, or ``"replay.record"`` of a package."""
        package, _, name = task.partition(".") if "." in task else ("", "", task)
        if package not in self._answering:
            module, _, kind = _ANSWERS[package].partition(":")
            self._answering[package] = getattr(importlib.import_module(module), kind)(self)
        answering: Callable[..., Any] = operator.attrgetter(name)(self._answering[package])
        return answering

    def runner(self, precision: str) -> Any:
        """Return the framework's own runner, built once a precision."""
        if precision not in self.runners:
            from portproof.runners._eager import Eager

            runner = self.open.enter_context(Eager(replace(self.job, precision=precision)))
            if precision == "float64" and len(self.job.port.sides) == 2:
                self.rounded = runner.model.framework.round_settings(runner.model.root)
            self.runners[precision] = runner
        return self.runners[precision]

    def model(self, precision: str) -> Model:
        """Return the side's model in a precision."""
        model: Model = self.runner(precision).model
        return model

    def build(self, info: RunnerInfo, precision: str, options: dict[str, Any], stack: contextlib.ExitStack) -> Any:
        """Return a runner on the weights at hand: the framework's own, which the other tasks share, or another."""
        if info.path == "portproof.runners._eager:Eager":
            return self.runner(precision)
        artefact = options.get("artefact")
        job = replace(
            self.job,
            side=info.side,
            precision=precision,
            artefact=Path(artefact) if artefact else None,
            optimise=options.get("optimise", True),
            settings=options.get("settings", {}),
            rows=options.get("rows"),
        )
        return stack.enter_context(info.load()(job))

    def close(self) -> None:
        """Release the models."""
        self.open.close()
