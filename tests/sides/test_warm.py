"""Sessions that are forked from warm parents answer as those in processes of their own, and leave nothing."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from portproof._errors import BadInput, WorkerDied
from portproof._machine import process_status
from portproof.graphs._tasks import GraphTasks
from portproof.ports._locate import find_project
from portproof.sides._patience import PATIENCE_VARIABLE
from portproof.sides._process import Place, WorkerSession
from portproof.sides._tasks import Tasks
from portproof.sides._warm import Kept, forking_from

#: Convolutions, so that more than one thread computes something.
PORT = """
from portproof import Input, Port

def torch_model():
    from torch import nn
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(8 * 28 * 28, 5))

def paddle_model():
    from paddle import nn
    return nn.Sequential(nn.Conv2D(3, 16, 3), nn.ReLU(), nn.Conv2D(16, 8, 3), nn.Flatten(), nn.Linear(8 * 28 * 28, 5))

ROWS = Input(("batch", 3, 32, 32))
CONV = Port(name="conv", torch="conv:torch_model", paddle="conv:paddle_model", inputs={"x": ROWS})
"""

pytestmark = pytest.mark.processes


@pytest.fixture
def place(project: Path) -> Place:
    """Where a port with convolutions is."""
    (project / "conv.py").write_text(PORT)
    return Place(find_project(), "conv:CONV", {})


def outputs(place: Place, side: str, threads: int, folder: Path) -> dict[str, np.ndarray]:
    """Return what a side answers to a few rows in both precisions."""
    folder.mkdir()
    rows = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    save_file({"x": rows}, folder / "inputs.safetensors")
    runner = {"torch": "torch-eager", "paddle": "paddle-dygraph"}[side]
    session = WorkerSession(place, side, "", "cpu", threads)
    try:
        session.call(Tasks.run, runner, folder / "inputs.safetensors", folder / "out", ["float64", "float32"])
    finally:
        session.close()
    return {p: load_file(folder / f"out/{p}.safetensors")["out"] for p in ("float64", "float32")}


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_a_forked_side_computes_what_a_new_process_does(place: Place, tmp_path: Path, side: str) -> None:
    with Kept() as kept, forking_from(kept):
        forked = [outputs(place, side, threads, tmp_path / f"forked{threads}") for threads in (2, 1)]
    new = [outputs(place, side, threads, tmp_path / f"new{threads}") for threads in (2, 1)]
    for mine, theirs in zip(forked, new, strict=True):
        for precision, found in mine.items():
            np.testing.assert_array_equal(found, theirs[precision])


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_a_graph_is_interpreted_on_the_kernels_that_a_parent_has(place: Place, tmp_path: Path, side: str) -> None:
    """A run in which Paddle's model alone has changed starts no process that imports torch, for its export."""
    weight = np.random.default_rng(1).standard_normal((5, 3, 3, 3)).astype(np.float32)
    rows = np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["out"])
    sizes = ("x", ["batch", 3, 3, 3]), ("out", ["batch", 5, 1, 1])
    given, put_out = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in sizes)
    graph = onnx.helper.make_graph([node], "conv", [given], [put_out], [onnx.numpy_helper.from_array(weight, "w")])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "conv.onnx")
    save_file({"x": rows}, tmp_path / "inputs.safetensors")
    with Kept() as kept, forking_from(kept):
        sessions = [WorkerSession(place, who, "", "cpu", 1) for who in (side, "interpreter")]
        sessions[0].call(Tasks.hello)
        files = (tmp_path / name for name in ("conv.onnx", "inputs.safetensors", "out.safetensors"))
        sessions[1].call(GraphTasks.interpret, *files)
        parents = [kept.parent(who, sys.executable, {}, "cpu") for who in (side, "interpreter")]
        assert parents[0] is parents[1]
        for session in sessions:
            session.close()
    expected = np.einsum("bchw,ochw->bo", rows.astype(np.float64), weight.astype(np.float64))
    np.testing.assert_allclose(load_file(tmp_path / "out.safetensors")["out"][..., 0, 0], expected, rtol=1e-12)


def test_a_changed_module_is_imported_anew_and_errors_are_told(project: Path, place: Place) -> None:
    with Kept() as kept, forking_from(kept):
        for text, told in (("raise ValueError('first')\n", "first"), ("raise ValueError('other')\n", "other")):
            (project / "conv.py").write_text(text)
            session = WorkerSession(place, "torch", "", "cpu", 1)
            with pytest.raises(BadInput, match=told):
                session.call(Tasks.hello)
            session.close()


def test_a_parent_that_is_stopped_by_itself_is_given_up_and_another_started(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "1")
    with Kept() as kept, forking_from(kept):
        session = WorkerSession(place, "torch", "", "cpu", 1)
        assert session.call(Tasks.hello)["torch"]
        stopped = process_status("PPid", session._process.pid)
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        session.close()  # its end is not told any more
        for forked in (False, True):
            session = WorkerSession(place, "torch", "", "cpu", 1)
            assert session.call(Tasks.hello)["torch"]
            assert (process_status("PPid", session._process.pid) not in (stopped, os.getpid())) == forked
            session.close()
        assert process_status("PPid", stopped) is None


def test_one_that_is_killed_is_said_and_the_next_is_there(place: Place) -> None:
    with Kept() as kept, forking_from(kept):
        session = WorkerSession(place, "torch", "", "cpu", 1)
        session.call(Tasks.hello)
        os.kill(session._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="signal 9"):
            session.call(Tasks.hello)
        session.close()
        session = WorkerSession(place, "torch", "", "cpu", 1)
        assert session.call(Tasks.hello)["torch"]
        parent = process_status("PPid", session._process.pid)
        assert parent is not None
        os.kill(parent, signal.SIGKILL)  # sessions are started by themselves then
        session.close()
        session = WorkerSession(place, "torch", "", "cpu", 1)
        assert session.call(Tasks.hello)["torch"]
        session.close()


def test_nothing_is_left_when_nobody_asks_any_more(place: Place) -> None:
    with Kept() as kept, forking_from(kept):
        session = WorkerSession(place, "torch", "", "cpu", 1)
        session.call(Tasks.hello)
        child = session._process.pid
        parent = process_status("PPid", child)
    end = time.monotonic() + 10
    while process_status("PPid", child) is not None and time.monotonic() < end:
        time.sleep(0.02)
    assert process_status("PPid", child) is None
    assert process_status("PPid", parent or 0) is None
    session.close()
