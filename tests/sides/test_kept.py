"""A port's sides answered from the store: what changed is run again, and reports are the same but for times."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from portproof._disk import save_arrays
from portproof._errors import BadInput
from portproof.ports._locate import find_port, find_project
from portproof.sides import _kept
from portproof.sides._kept import KeptSession
from portproof.sides._session import Sessions
from portproof.sides._tasks import Tasks
from tests.conftest import PORT_FILE, Run

pytestmark = pytest.mark.processes

Asked = Callable[[], tuple[list[str], list[str]]]


@pytest.fixture(autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("PORTPROOF_CACHE", "1GB")
    monkeypatch.setattr(_kept, "TICK_NS", 0)


def opened() -> Sessions:
    return Sessions(find_port("tiny", find_project()), keep=True)


def asked(sessions: Sessions, seed: int = 0, *, again: bool = False) -> KeptSession:
    """Ask the Paddle side for some answers."""
    session = sessions.open("paddle")
    assert isinstance(session, KeptSession)
    rows = sessions.folder / "rows.safetensors"
    save_arrays(rows, {"x": np.random.default_rng(seed).standard_normal((16, 8)).astype(np.float32)})
    out = sessions.folder / "weights.safetensors"
    session.call(Tasks.describe)
    session.call(Tasks.sensitise, rows, out, seed)
    session.call(Tasks.load, out)
    session.call(Tasks.run, "paddle-dygraph", rows, sessions.folder / "ran", ["float64", "float32"])
    if again:
        session.call(Tasks.save_state, sessions.folder / "state.safetensors")
    return session


def test_what_changed_is_asked_again_and_told_what_it_missed(project: Path) -> None:
    (project / "helper.py").write_text("CLASSES = 3\n")
    source = PORT_FILE.replace("from paddle import nn", "from paddle import nn\n    import helper", 1)
    (project / "tiny.py").write_text(source)
    with opened() as sessions:
        first = asked(sessions)
        state = first.call(Tasks.save_state, sessions.folder / "s.safetensors")
        expected = (sessions.folder / "s.safetensors").read_bytes()
        ran = (sessions.folder / "ran" / "float64.safetensors").read_bytes()
    assert state is None
    assert first.why_not == ""
    assert first.taken == []
    with opened() as sessions:
        second = asked(sessions)
        assert second.made == []
        assert (sessions.folder / "ran" / "float64.safetensors").read_bytes() == ran
        # Only now is a process needed, and it has the weights that it was never told to load.
        second.call(Tasks.save_state, sessions.folder / "t.safetensors", precision="float64")
        second.call(Tasks.save_state, sessions.folder / "s.safetensors")
        assert second.made == ["save_state"]
        assert (sessions.folder / "s.safetensors").read_bytes() == expected
    (project / "helper.py").write_text("CLASSES = 4\n")
    with opened() as sessions:
        assert asked(sessions).taken == []
    (project / "helper.py").write_text("CLASSES = 3\n")
    with opened() as sessions:
        assert asked(sessions).made == []  # undone: what it was is known
        (project / "helper.py").write_text("CLASSES = 5\n")
        with pytest.raises(BadInput, match=r"helper\.py' was changed while this ran"):
            sessions.kept[0].call(Tasks.tables, sessions.folder / "rows.safetensors", sessions.folder / "t")


def without_times(file: str) -> dict[str, object]:
    report = json.loads(Path(file).read_text())
    del report["seconds"], report["kept"]
    return dict(report)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_reports_are_the_same_with_and_without_the_store(project: Path, run: Run, broken: bool) -> None:
    if broken:
        (project / "tiny.py").write_text(PORT_FILE[::-1].replace("ReLU"[::-1], "GELU"[::-1], 1)[::-1])
    for name, more in (("without", "--no-cache"), ("cold", "--force"), ("warm", "--force")):
        assert run("verify", "--json", f"{name}.json", more).code == int(broken)
    assert without_times("without.json") == without_times("cold.json") == without_times("warm.json")
    kept = json.loads(Path("warm.json").read_text())["kept"]
    assert not any(found["asked"] for found in kept.values())
    assert all(found["taken"] for found in kept.values())
    assert json.loads(Path("without.json").read_text())["kept"] == {}
