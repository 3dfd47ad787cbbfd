"""What goes over the line: tasks by their names, values by their annotations."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portproof._numbers import Difference
from portproof.agree._tasks import PictureTasks
from portproof.faults._effect import Effect
from portproof.faults._kinds import Fault
from portproof.faults._sight import Answer
from portproof.graphs._tasks import GraphTasks
from portproof.lockstep._tasks import GradientTasks, TrajectoryTasks
from portproof.replay._taps import TapDifference
from portproof.replay._tasks import ReplayTasks
from portproof.sides._tasks import Description, Tasks
from portproof.sides._wire import find_task, name_of, pack, pack_arguments, spoken, unpack, unpack_arguments
from portproof.training._tasks import TrainingTasks

_DIFFERENCE = Difference(3, 0.5, math.inf, 1.0, 2.0, 3.0, None, 1.0, 0.0, "NaN at 1 place")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Path("a/b"), Path),
        (None, Path | None),
        (TapDifference("a.b", 0, "returned", 1, _DIFFERENCE, 0.25, {"bins": [1, 2]}), TapDifference),
        ([[Fault("dropped", ("a", "b"))]], list[list[Fault]]),
        (Effect(True, "a", None), Effect),
        (
            Answer((Fault("k", ("m",)),), frozenset("ab"), frozenset("a"), True, frozenset(), True, "t", 2.0, ("why",)),
            Answer,
        ),
        ({1: "one"}, dict[int, str]),
        ((("", "Linear", {"bias": True}),), tuple[tuple[str, str, dict[str, Any]], ...]),
        (Description((), (("", "Linear", {}),), {"": ("a.py", 1, "Net")}), Description),
    ],
)
def test_a_value_comes_back_as_it_was(value: Any, kind: Any) -> None:
    assert unpack(json.loads(json.dumps(pack(value))), kind) == value


def test_arguments_go_by_name_and_a_wrong_one_is_refused_before_it_is_sent() -> None:
    packed = pack_arguments(ReplayTasks.record, ({"a": "b"},), {"inputs": Path("x"), "folder": Path("y")})
    assert packed == {"pairs": {"a": "b"}, "inputs": "x", "folder": "y"}
    assert unpack_arguments(ReplayTasks.record, packed)["folder"] == Path("y")
    with pytest.raises(TypeError, match="folders"):
        pack_arguments(ReplayTasks.record, ({},), {"inputs": Path("x"), "folder": Path("y"), "folders": Path("y")})


def test_a_name_leads_back_to_its_task_and_no_other_name_to_anything() -> None:
    assert find_task(name_of(ReplayTasks.record)) == (ReplayTasks, ReplayTasks.record)
    for name in (
        "os:system", "portproof._disk:save_arrays", "portproof.sides._session:Sessions.open", "_tasks:Tasks.run",
        "portproof.sides._tasks:Tasks._run", "portproof.sides._tasks:Tasks.__init__",
        "portproof.sides._tasks:load_file",
    ):  # fmt: skip
        with pytest.raises(ValueError, match="names no task"):
            find_task(name)


def test_what_people_are_told_of_a_task() -> None:
    tasks = (
        Tasks.capture, ReplayTasks.record, GraphTasks.match, TrainingTasks.run, GradientTasks.gradients,
        TrajectoryTasks.step, PictureTasks.read,
    )  # fmt: skip
    assert [spoken(task) for task in tasks] == [
        "capture", "record", "match", "training.run", "gradients.gradients", "trajectory.step", "pictures.read",
    ]  # fmt: skip


def test_naming_tasks_imports_no_framework() -> None:
    """The process that asks names what every side does, and runs none of it."""
    code = (
        "import sys, portproof.parity._verify, portproof.bench._run, portproof.agree._work, portproof.training._train, "
        "portproof.lockstep._campaign, portproof.faults._campaign; "
        "print([m for m in ('torch', 'paddle', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
