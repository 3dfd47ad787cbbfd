"""A side in two processes answers as one in one process does, and has two only where a core would wait."""

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof.ports._locate import find_port, find_project
from portproof.sides import _kept, _session
from portproof.sides._apart import ApartSession
from portproof.sides._kept import KeptSession
from portproof.sides._session import Sessions
from portproof.sides._tasks import Tasks

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process is forked"),
]


@pytest.fixture(autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("PORTPROOF_CACHE", "1GB")
    monkeypatch.setattr(_kept, "TICK_NS", 0)


def float64_run(folder: Path, *, cores: int, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, list[list[str]]]:
    """Return what Paddle's side puts out on sensitised weights, and what each of its processes was asked."""
    folder.mkdir()
    monkeypatch.setattr(_session, "thread_budget", lambda: cores)
    rows, out, ran = folder / "rows.safetensors", folder / "weights.safetensors", folder / "ran"
    save_arrays(rows, {"x": np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)})
    with Sessions(find_port("tiny", find_project()), keep=True, apart=True) as sessions:
        session = sessions.open("paddle")
        assert isinstance(session, ApartSession)
        session.call(Tasks.describe)
        session.call(Tasks.sensitise, rows, out, cores)
        session.call(Tasks.prepare, "float64")  # sensitising counts and writes: nobody may do that again
        session.call(Tasks.load, out)
        session.call(Tasks.run, "paddle-dygraph", rows, ran, ["float64"], 0)
        session.call(Tasks.run, "paddle-dygraph", rows, ran, ["float32"], 0)
        assert all(isinstance(each, KeptSession) and not each.taken for each in sessions.kept)
        return load_file(ran / "float64.safetensors")["out"], [each.made for each in sessions.kept]


def test_the_second_process_has_the_weights_of_the_first_and_no_task_is_done_twice(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, asked = float64_run(tmp_path / "apart", cores=2, monkeypatch=monkeypatch)
    first, second, exporting = asked
    assert exporting == []
    assert first == ["describe", "sensitise", "prepare", "load", "run"]
    assert second[-1:] == ["run"]
    assert second[:-1] in (["load"], [])  # the first may have told the store already that this is done
    monkeypatch.setenv("PORTPROOF_CACHE", "off")
    with Sessions(find_port("tiny", find_project())) as sessions:
        session, ran = sessions.open("paddle"), tmp_path / "ran"
        session.call(Tasks.load, tmp_path / "apart/weights.safetensors")
        session.call(Tasks.run, "paddle-dygraph", tmp_path / "apart/rows.safetensors", ran, ["float64"], 0)
    np.testing.assert_array_equal(found, load_file(ran / "float64.safetensors")["out"])


def test_without_a_core_for_it_there_is_no_second_process(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, asked = float64_run(tmp_path / "one", cores=1, monkeypatch=monkeypatch)
    assert asked == [["describe", "sensitise", "prepare", "load", "run", "run"], [], []]


def test_an_export_is_made_beside_the_rest_with_the_weights_of_the_first(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_session, "thread_budget", lambda: 1)
    rows, state, weights = (tmp_path / f"{name}.safetensors" for name in ("rows", "state", "weights"))
    save_arrays(rows, {"x": np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)})
    with Sessions(find_port("tiny", find_project()), keep=True, apart=True) as sessions:
        session = sessions.open("paddle")
        session.call(Tasks.save_state, state)
        save_arrays(weights, {name: np.full_like(array, 0.5) for name, array in load_file(state).items()})
        assert session.goes_beside(Tasks.export)
        session.ahead(Tasks.prepare_export)
        session.call(Tasks.load, weights)
        session.call(Tasks.export, rows, tmp_path / "beside.onnx")
        session.call(Tasks.save_state, state)
        session.ahead(Tasks.prepare, "float64")  # nothing else has a core
        first, second, exporting = (each.made for each in sessions.kept)
        assert (first, second) == (["save_state", "load", "save_state"], [])
        assert [one for one in exporting if one != "load"] == ["prepare_export", "export"]
    with Sessions(find_port("tiny", find_project()), keep=True, apart=True) as sessions:
        session = sessions.open("paddle")
        session.call(Tasks.save_state, state)
        session.ahead(Tasks.tables, state, tmp_path / "tables")  # a side that needs no process gets none for this
        assert [each.made for each in sessions.kept] == [[], [], []]
    monkeypatch.setenv("PORTPROOF_CACHE", "off")
    with Sessions(find_port("tiny", find_project())) as sessions:
        session = sessions.open("paddle")
        assert not session.goes_beside(Tasks.export)
        session.call(Tasks.load, weights)
        session.call(Tasks.export, rows, tmp_path / "alone.onnx")
    assert (tmp_path / "beside.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()
